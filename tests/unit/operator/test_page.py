"""What pods are told arrives as it was written: a round's page, and whatever a kubelet would take for a variable."""

from __future__ import annotations

import re

import golden
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import STAGE_CONFIG_ENV, STORE_ENV, Stage, StageConfig
from flywheel_operator.model import Object
from flywheel_operator.settings import OperatorConfig

SECRET = STORE_ENV["secretKey"]
MODEL = f"$({SECRET}) for 5$ or $$5"


def objects() -> list[Object]:
    """Of a round whose teacher's model has a name that would be another variable's value."""
    meta, body = golden.load("round-8b")
    body["endpoints"][0]["model"] = MODEL
    return golden.round_objects(OperatorConfig(), meta, FlywheelRoundSpec.model_validate(body))


def environ(pod: Object) -> dict[str, str]:
    """The first container's environment as a kubelet makes it: of variables before each, `$(NAME)` is the value."""
    known: dict[str, str] = {}
    for variable in pod["spec"]["containers"][0]["env"]:
        text = variable.get("value", "a secret")
        told = re.sub(r"\$(\$|\((\w+)\))", lambda m: "$" if m[1] == "$" else known.get(m[2], m[0]), text)
        known[variable["name"]] = told
    return known


def test_a_training_knows_its_round_on_the_head_only() -> None:
    jobs = [o["spec"]["rayClusterSpec"] for o in objects() if o["kind"] == "RayJob"]
    told = [environ(cluster["headGroupSpec"]["template"])[STAGE_CONFIG_ENV] for cluster in jobs]
    configs = [StageConfig.model_validate_json(text) for text in told]
    assert [c.stage for c in configs] == [Stage.TRAIN_REASONING, Stage.TRAIN_AGENTIC]
    assert {c.owner.kind for c in configs} == {"FlywheelRound"} and all(c.timeline for c in configs)
    workers = [group["template"] for cluster in jobs for group in cluster["workerGroupSpecs"]]
    assert workers and all(STAGE_CONFIG_ENV not in environ(worker) for worker in workers)


def test_no_text_of_a_user_is_read_as_a_secret() -> None:
    prepare = next(o for o in objects() if o["kind"] == "Job")["spec"]["template"]
    head = next(o for o in objects() if o["kind"] == "RayJob")["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    for pod in (prepare, head):
        config = StageConfig.model_validate_json(environ(pod)[STAGE_CONFIG_ENV])
        assert SECRET in environ(pod) and config.spec.endpoints[0].model == MODEL
