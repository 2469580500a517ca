"""What pods are told arrives as it was written: a round's page, and whatever a kubelet would take for a variable."""

from __future__ import annotations

import re
from collections.abc import Mapping

import golden
from flywheel_api.rljob import RLJobSpec
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


def main(template: Object) -> Object:
    """A pod's own container."""
    found: Object = template["spec"]["containers"][0]
    return found


def read(text: str, known: Mapping[str, str]) -> str:
    """A text as a kubelet reads it: `$(NAME)` is a variable's value."""
    return re.sub(r"\$(\$|\((\w+)\))", lambda m: "$" if m[1] == "$" else known.get(m[2], m[0]), text)


def environ(container: Object) -> dict[str, str]:
    """A container's environment as a kubelet makes it."""
    known: dict[str, str] = {}
    for variable in container["env"]:
        known[variable["name"]] = read(variable.get("value", "a secret"), known)
    return known


def test_a_training_knows_its_round_on_the_head_only() -> None:
    jobs = [o["spec"]["rayClusterSpec"] for o in objects() if o["kind"] == "RayJob"]
    told = [environ(main(cluster["headGroupSpec"]["template"]))[STAGE_CONFIG_ENV] for cluster in jobs]
    configs = [StageConfig.model_validate_json(text) for text in told]
    assert [c.stage for c in configs] == [Stage.TRAIN_REASONING, Stage.TRAIN_AGENTIC]
    assert {c.owner.kind for c in configs} == {"FlywheelRound"} and all(c.timeline for c in configs)
    workers = [group["template"] for cluster in jobs for group in cluster["workerGroupSpecs"]]
    assert workers and all(STAGE_CONFIG_ENV not in environ(main(worker)) for worker in workers)


def test_no_text_of_a_user_is_read_as_a_secret() -> None:
    prepare = next(o for o in objects() if o["kind"] == "Job")["spec"]["template"]
    head = next(o for o in objects() if o["kind"] == "RayJob")["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    for pod in (prepare, head):
        known = environ(main(pod))
        config = StageConfig.model_validate_json(known[STAGE_CONFIG_ENV])
        assert SECRET in known and config.spec.endpoints[0].model == MODEL


def test_no_address_of_a_model_is_read_as_a_secret() -> None:
    meta, body = golden.load("rljob")
    model = f"s3://models/$({SECRET})"
    (job,) = golden.job_objects(OperatorConfig(), meta, RLJobSpec.model_validate(body | {"model": model}))
    (fetch,) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["initContainers"]
    known = environ(fetch)
    assert SECRET in known and model in [read(word, known) for word in fetch["command"]]
