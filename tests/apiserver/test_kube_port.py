"""The Kubernetes port: the fake answers as the real API server does, and so does the cache over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from apiserver.operator_process import install_crds
from cluster.apiserver import ApiServer, start_apiserver
from flywheel_api.names import LABEL_OWNER_UID
from flywheel_operator.ports.cache import SELECTOR, WATCHED, CachedKube, ReadCache
from flywheel_operator.ports.errors import Conflict
from flywheel_operator.ports.kinds import JOBS, RAYJOBS, ROUNDS, SERVICES, KubeApi
from flywheel_operator.ports.kube import Kube
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.ports.login import Login
from unit.operator.world import NS

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]
Object = dict[str, Any]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with start_apiserver(tmp_path_factory.mktemp("apiserver")) as server:
        install_crds(server, kuberay=False)
        server.kubectl("create", "namespace", NS)
        yield server


@pytest.fixture(params=["fake", "real", "cached"])
async def kube(request: pytest.FixtureRequest) -> AsyncIterator[KubeApi]:
    if request.param == "fake":
        fake = FakeKube()
        fake.api_versions.clear()
        yield fake
    else:
        server: ApiServer = request.getfixturevalue("api")
        server.kubectl("delete", "services,flywheelrounds", "--all", "-n", NS)
        async with Kube(Login(server.kubeconfig)) as real:
            if request.param == "real":
                yield real
                return
            cached = CachedKube(real, ReadCache())
            for resource in WATCHED:
                await cached.relist(resource, None)
            reads = real.reads
            yield cached
            assert real.reads - reads <= 3, "conflicts, and children that are not there; the rest is known from answers"


def service(name: str, selector: str = "a") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NS, "labels": SELECTOR | {LABEL_OWNER_UID: f"uid-of-{name}"}},
        "spec": {"selector": {"app": selector}, "ports": [{"port": 80}]},
    }


async def test_create_happens_once(kube: KubeApi) -> None:
    made = await kube.create(service("once"))
    assert made["metadata"]["uid"]
    with pytest.raises(Conflict):
        await kube.create(service("once"))
    found = await kube.get(SERVICES, NS, "once")
    assert found is not None and found["metadata"]["uid"] == made["metadata"]["uid"]


async def test_lists_by_label(kube: KubeApi) -> None:
    await kube.create(service("one"))
    await kube.create(service("two"))
    found = await kube.list(SERVICES, NS, {LABEL_OWNER_UID: "uid-of-two"})
    assert [(o["kind"], o["metadata"]["name"]) for o in found] == [("Service", "two")]
    assert await kube.list(JOBS, NS, {LABEL_OWNER_UID: "nobody"}) == []


async def test_events_are_found_by_whom_they_are_about(kube: KubeApi) -> None:
    for name in ("mine", "other"):
        about = {"kind": "Job", "apiVersion": "batch/v1", "name": name, "namespace": NS, "uid": f"uid-of-{name}"}
        body = {"apiVersion": "v1", "kind": "Event", "involvedObject": about, "reason": "FailedCreate", "message": name}
        await kube.create(body | {"metadata": {"generateName": "e-", "name": f"e-{id(kube)}-{name}", "namespace": NS}})
    assert [e["message"] for e in await kube.events(NS, {"involvedObject.uid": "uid-of-mine"})][-1:] == ["mine"]
    assert await kube.events(NS, {"involvedObject.uid": "uid-of-nobody"}) == []
    failed = {"involvedObject.kind": "Job", "reason": "FailedCreate"}
    assert {e["message"] for e in await kube.events(NS, failed)} == {"mine", "other"}


async def test_a_type_that_is_not_installed_is_empty(kube: KubeApi) -> None:
    assert await kube.list(RAYJOBS, NS, {LABEL_OWNER_UID: "x"}) == []
    assert await kube.get(RAYJOBS, NS, "x") is None
    assert await kube.served("ray.io/v1") == frozenset()
    assert "services" not in await kube.served("batch/v1")


async def test_apply_changes_and_applying_again_does_not(kube: KubeApi) -> None:
    await kube.apply(service("stable"))
    second = await kube.apply(service("stable", "b"))
    assert second["spec"]["selector"] == {"app": "b"}
    third = await kube.apply(service("stable", "b"))
    assert third["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_delete_takes_exactly_one_incarnation(kube: KubeApi) -> None:
    made = await kube.create(service("mortal"))
    await kube.delete(SERVICES, NS, "mortal", "00000000-0000-4000-8000-00000000dead")
    assert await kube.get(SERVICES, NS, "mortal") is not None
    await kube.delete(SERVICES, NS, "mortal", made["metadata"]["uid"])
    assert await kube.get(SERVICES, NS, "mortal") is None
    await kube.delete(SERVICES, NS, "mortal", made["metadata"]["uid"])


def a_round(name: str) -> Object:
    return {
        "apiVersion": "flywheel.dev/v1alpha1",
        "kind": "FlywheelRound",
        "metadata": {"name": name, "namespace": NS},
        "spec": {
            "campaign": "c",
            "base": {"model": "hf://a/b"},
            "endpoints": [{"role": "Teacher", "url": "http://t/v1", "model": "m"}],
            "reasoning": {"seeds": "builtin://numeracy"},
            "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
        },
    }


async def test_a_status_is_a_compare_and_swap(kube: KubeApi) -> None:
    await kube.create(a_round("swap"))
    first = await kube.get(ROUNDS, NS, "swap")
    assert first is not None
    written = await kube.patch_status(first, {"stage": "Prepare"})
    with pytest.raises(Conflict):
        await kube.patch_status(first, {"stage": "Package"})
    again = await kube.patch_status(written, {"stage": "Prepare"})
    assert again["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"], "the same status is no write"
    gone = await kube.patch_status(again, {"progress": "x"})
    assert gone["status"].get("stage") is None, "a field that is left out goes"
    owned = [e["fieldsV1"] for e in gone["metadata"].get("managedFields", []) if e.get("subresource") == "status"]
    assert owned in ([], [{"f:status": {}}]), "whose each field of a status is would be as long as the status"
