"""Keys before pods get them: fit to be sent, and allowed by the Secret's owner to go where they would."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from flywheel_api.causes import Cause
from flywheel_api.common import SecretKeyRef
from flywheel_api.conditions import Reason
from flywheel_api.hosts import ALLOWED_HOSTS
from flywheel_operator.observe.keys import KeyBook
from flywheel_operator.plan.keys import Key, refusal
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kube_fake import FakeKube
from unit.operator.cases import edited, stage, turns
from unit.operator.world import NS, World, key_secret

KEY = Key(SecretKeyRef(secret_name="teacher", key="token"), "the API key of role Teacher", "https://models.internal/v1")


def secret(value: bytes = b"sk-canary", hosts: str | None = "models.internal") -> dict[str, Any]:
    return key_secret("teacher", hosts, token=base64.b64encode(value).decode())


def annotated(kube: FakeKube, hosts: str | None) -> None:
    """The Secret's owner has changed the annotation."""
    kube.update("Secret", NS, "teacher", metadata=secret(hosts=hosts)["metadata"])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"sk-live-123\r\n", None),
        (b"  sk-live-123", None),
        (b"sk-live\n-canary", "token of Secret 'teacher' .* holds a line break"),
        (b"\xff\xfecanary", "token of Secret 'teacher' .* is not base64 of UTF-8 text"),
        (b"\n", "token of Secret 'teacher' .* is empty"),
    ],
)
async def test_a_key_that_cannot_be_sent_is_refused(value: bytes, says: str | None) -> None:
    kube = FakeKube()
    kube.seed(secret(value))
    problem = await KeyBook(kube).problem(NS, [KEY])
    if says is None:
        assert problem is None
        return
    assert problem is not None and problem.reason is Reason.SECRET_KEY_INVALID
    assert re.match(says, problem.message) and "canary" not in problem.message


@pytest.mark.parametrize(
    ("listed", "url", "goes"),
    [
        ("models.internal", "https://models.internal/v1", True),
        ("Models.Internal", "https://MODELS.internal:8443/v1", True),
        ("other.example, models.internal", "https://models.internal", True),
        ("models.internal:443", "https://models.internal/v1", True),
        ("models.internal:8443", "https://models.internal/v1", False),
        ("models.internal:80", "http://models.internal/v1", True),
        ("models.internal:port", "https://models.internal/v1", False),
        ("*.internal", "https://models.internal/v1", True),
        ("*.internal", "https://internal/v1", False),
        ("*.internal", "https://models.internal.evil.example/v1", False),
        ("*.internal", "https://evil.example/models.internal", False),
        ("*.internal", "https://evil.example\\.models.internal/v1", False),
        ("*.internal", "https://evil.example%2f.models.internal/v1", False),
        ("internal", "https://models.internal/v1", False),
        ("*.internal", "https://user@models.internal/v1", False),
        ("[fd00::1]:8000", "http://[FD00::1]:8000/v1", True),
        ("[fd00::1]", "http://[fd00::2]/v1", False),
        ("*", "https://evil.example/v1", True),
        ("", "https://models.internal/v1", False),
        (" , ", "https://models.internal/v1", False),
    ],
)
def test_a_key_goes_where_its_secret_says(listed: str, url: str, goes: bool) -> None:
    assert (refusal(replace(KEY, url=url), NS, listed) is None) is goes


@pytest.mark.parametrize("hosts", [None, "models.internal"])
async def test_a_secret_that_says_nothing_goes_nowhere_and_its_owner_is_told_how(hosts: str | None) -> None:
    kube = FakeKube()
    kube.seed(secret(hosts=hosts))
    problem = await KeyBook(kube).problem(NS, [replace(KEY, url="https://evil.example/v1")])
    assert problem is not None and problem.reason is Reason.SECRET_NOT_ALLOWED
    assert f"kubectl -n {NS} annotate --overwrite secret teacher '{ALLOWED_HOSTS}=" in problem.message
    assert problem.message.endswith(f"{f'{hosts},' if hosts else ''}evil.example'`") and "canary" not in problem.message


async def test_a_secret_that_the_operator_may_not_read_goes_nowhere() -> None:
    class Closed(FakeKube):
        async def get(self, *_: object) -> None:
            raise Forbidden("no")

    problem = await KeyBook(Closed()).problem(NS, [KEY])
    assert problem is not None and problem.reason is Reason.FORBIDDEN and "rbac.secretNames" in problem.message


async def test_what_was_allowed_is_believed_for_seconds_and_for_that_address_only() -> None:
    kube, now = FakeKube(), 0.0
    kube.seed(secret())
    book = KeyBook(kube, lambda: now)
    assert await book.problem(NS, [KEY]) is None
    annotated(kube, None)
    assert await book.problem(NS, [KEY]) is None
    assert await book.problem(NS, [replace(KEY, url="https://evil.example")]) is not None
    now = 16.0
    assert await book.problem(NS, [KEY]) is not None, "taken back"


TEACHER = {"role": "Teacher", "url": "https://models.internal/v1", "model": "m", "apiKey": dict(KEY.ref.dump())}
POLICY = {"role": "Policy", "pool": {"gpusPerReplica": 0}}
TRACKER = {"type": "MLflow", "url": "http://mlflow.ml.svc:5000", "apiKey": dict(KEY.ref.dump())}
EXPORT = {"hub": {"repo": "acme/small-2", "token": dict(KEY.ref.dump())}}
HUB = {"model": "hf://acme/small-1", "hub": {"token": dict(KEY.ref.dump())}}


@pytest.mark.parametrize(
    ("changes", "host"),
    [
        ({"spec__endpoints": [TEACHER, POLICY]}, "models.internal"),
        ({"spec__endpoints": [{**TEACHER, "url": "https://evil.example/v1"}, POLICY]}, "evil.example"),
        ({"spec__training__tracking": TRACKER}, "mlflow.ml.svc"),
        ({"spec__base": HUB}, "huggingface.co"),
        ({"spec__export": EXPORT}, "huggingface.co"),
        ({"spec__export": {"hub": {**EXPORT["hub"], "endpoint": "https://evil.example"}}}, "evil.example"),
        ({"spec__base": {**HUB, "hub": {**HUB["hub"], "endpoint": "https://evil.example"}}}, "evil.example"),  # type: ignore[dict-item]
    ],
)
async def test_no_pod_is_made_for_a_key_whose_owner_does_not_let_it_go_there(
    changes: dict[str, Any], host: str
) -> None:
    """The same for every address that the author of a round chooses; it goes on when the owner says so."""
    world = World()
    world.kube.seed(secret(hosts="api.openai.com"))
    world.apply(edited(**changes))
    await turns(world, 3)
    assert world.condition("Preflight")["reason"] == Reason.SECRET_NOT_ALLOWED
    assert f"would go to {host}" in world.condition("Ready")["message"]
    assert not world.of_kind("Job")
    annotated(world.kube, f"api.openai.com {host}")
    world.tick(60)
    await turns(world, 3)
    assert world.condition("Preflight")["status"] == "True"


async def test_an_address_that_is_changed_later_gets_no_key() -> None:
    """An endpoint's url may be changed at any time: the pods of the next stage would carry the key to the new one."""
    world = World()
    world.kube.seed(secret())
    world.apply(edited(spec__endpoints=[TEACHER, POLICY]))
    world.holding.add("MineReasoning")
    await world.run(until="MineReasoning")
    spec = world.get("FlywheelRound", "demo-r1")["spec"]
    away = [{**TEACHER, "url": "https://evil.example/v1"}, POLICY]
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec | {"endpoints": away})
    world.holding.clear()
    await turns(world, 12)
    assert world.condition("Ready")["reason"] == Reason.SECRET_NOT_ALLOWED
    assert stage(world, "SynthesizeReasoning")["state"] == "Pending"
    assert "evil.example" not in str([j["spec"] for j in world.of_kind("Job")])
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec)
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_a_token_that_is_taken_back_exports_nothing() -> None:
    world = World()
    world.kube.seed(secret(hosts="huggingface.co"))
    world.apply(edited(spec__export=EXPORT))
    world.fail["Export"] = (Cause.INFRA, "HubUnavailable")
    await world.run(until="Export")
    annotated(world.kube, "elsewhere.example")
    world.fail.clear()
    for _ in range(4):
        world.tick(60)
        await turns(world, 2)
    assert world.status()["verdict"] == "Promoted", "what is decided is decided"
    assert world.condition("Ready")["reason"] == Reason.SECRET_NOT_ALLOWED and stage(world, "Export")["attempt"] == 1


async def test_an_rljobs_tracker_is_bound_as_well() -> None:
    world = World()
    world.kube.seed(secret(hosts="elsewhere.example"))
    spec = {"model": "s3://flywheel/models/tiny", "data": {"train": ["s3://b/x.parquet"]}, "reward": {"type": "Math"}}
    world.apply(yaml.safe_dump({
        "apiVersion": "flywheel.dev/v1alpha1", "kind": "RLJob", "metadata": {"name": "train", "namespace": NS},
        "spec": spec | {"tracking": TRACKER},
    }))  # fmt: skip
    await turns(world, 4)
    assert world.condition("Ready", "RLJob", "train")["reason"] == Reason.SECRET_NOT_ALLOWED
    assert not world.of_kind("RayJob")
