"""What pods name and do not find stops in Preflight with what to do, before a GPU waits for it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from flywheel_api.conditions import Reason
from flywheel_api.pods.template import PodTemplate
from flywheel_operator.observe.events import Words
from flywheel_operator.observe.needs import pods_find
from flywheel_operator.ports.kube_fake import FakeKube

NAMESPACE = "team"
TEMPLATE = PodTemplate.model_validate(
    {
        "volumes": [{"name": "cache", "persistentVolumeClaim": "models"}],
        "secretEnv": [{"name": "WANDB_API_KEY", "secretName": "trackers", "key": "wandb"}],
    }
)


def body(kind: str, name: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}"}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta, **more}


def claim(phase: str) -> dict[str, Any]:
    return body("PersistentVolumeClaim", "models", status={"phase": phase})


def event(reason: str, at: str) -> dict[str, Any]:
    said = {"involvedObject": {"uid": "uid-models"}, "reason": reason, "message": f"said {reason}"}
    return body("Event", reason.lower(), **said, lastTimestamp=at)


SECRET = body("Secret", "trackers", data={"wandb": base64.b64encode(b"key").decode()})
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"


@pytest.mark.parametrize(
    ("there", "reason", "words"),
    [
        ([claim("Bound"), SECRET], None, ""),
        ([claim("Pending"), event("WaitForFirstConsumer", EARLY), SECRET], None, ""),
        ([claim("Pending"), SECRET], None, ""),
        ([SECRET], Reason.VOLUME_NOT_FOUND, "does not exist"),
        ([claim("Lost"), SECRET], Reason.VOLUME_NOT_FOUND, "has lost its volume"),
        ([claim("Pending"), event("FailedBinding", EARLY), SECRET], Reason.VOLUME_NOT_FOUND, "not bound: said Failed"),
        ([claim("Pending"), event("ProvisioningFailed", EARLY), SECRET], Reason.VOLUME_NOT_FOUND, "is not bound"),
        ([claim("Pending"), event("FailedBinding", EARLY), event("WaitForFirstConsumer", LATE), SECRET], None, ""),
        ([claim("Bound")], Reason.SECRET_NOT_FOUND, "WANDB_API_KEY of training.podTemplate"),
        ([claim("Bound"), body("Secret", "trackers", data={})], Reason.SECRET_KEY_MISSING, "has no key 'wandb'"),
    ],
)
async def test_claims_and_secrets_of_a_template(there: list[Any], reason: Reason | None, words: str) -> None:
    kube = FakeKube()
    for obj in there:
        kube.seed(obj)
    templates = {"training.podTemplate": TEMPLATE, "jobTemplate": None}
    problem = await pods_find(kube, Words(), NAMESPACE, templates)
    assert (problem.reason if problem else None) == reason
    assert problem is None or words in problem.message


async def test_a_claim_that_is_not_bound_is_asked_about_four_times_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server reads all Events of the namespace for each question, and Preflight tries every ten seconds."""
    kube, now, asked = FakeKube(), 0.0, 0
    for obj in (claim("Pending"), event("FailedBinding", EARLY), SECRET):
        kube.seed(obj)
    events = kube.events

    async def counted(namespace: str, fields: dict[str, str]) -> list[Any]:
        nonlocal asked
        asked += 1
        return await events(namespace, fields)

    monkeypatch.setattr(kube, "events", counted)
    words = Words(lambda: now)
    for _ in range(60):
        problem = await pods_find(kube, words, NAMESPACE, {"training.podTemplate": TEMPLATE})
        assert problem is not None and "is not bound" in problem.message
        now += 1
    assert asked == 4
