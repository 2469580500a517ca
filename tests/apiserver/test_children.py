"""Whatever is admitted, every child that is made from it is: before the real CRDs, ours and KubeRay's (law 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from apiserver.dry_run import DryRun
from apiserver.operator_process import install_crds
from cluster.apiserver import start_apiserver
from cluster.build import module_source
from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus, ModelStatus
from flywheel_api.names import OWN_NAME_LIMIT, child_name
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.resources import ROUND
from flywheel_api.results import PackagedDataset, PackageResult, Split, Track
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus
from flywheel_api.stages import PIPELINE, TRAIN_STAGE, Runs, Stage
from flywheel_operator.model import Act, Action, Meta, PoolSeen, RLJobSeen, RoundSeen
from flywheel_operator.plan import graph, pool
from flywheel_operator.render import rayjob, rayservice
from flywheel_operator.render import round as rounds
from flywheel_operator.settings import OperatorConfig
from golden import rendered
from unit.operator.world import NS
from unit.operator.world import ROUND as TEXT

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]
Object = dict[str, Any]
CONFIG = OperatorConfig(service_account_name="flywheel-jobs")
DIGEST = "sha256:" + "a" * 64
UID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
LONGEST = "x" * (OWN_NAME_LIMIT - 3) + "-r1"


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DryRun]:
    with start_apiserver(tmp_path_factory.mktemp("apiserver")) as api:
        install_crds(api)
        api.kubectl("create", "namespace", NS)
        found = DryRun(api.kubeconfig)
        yield found
        found.close()


def children(name: str, attempt: int) -> list[Object]:
    """Every object that a round of that name makes, and those that its pools and trainings make."""
    meta = Meta(name, NS, UID, 1)
    spec = FlywheelRoundSpec.model_validate(yaml.safe_load(TEXT)["spec"] | {"training": {}})
    sets = [PackagedDataset(track=t, split=s, digest=DIGEST, records=1) for t in Track for s in Split]
    owner = Owner(kind=ROUND.kind, namespace=NS, name=name, uid=UID)
    package = Manifest(owner=owner, stage=Stage.PACKAGE, attempt=1, result=PackageResult(datasets=sets), created_at="")
    stages = {
        stage: entry.model_copy(update={"manifest": DIGEST, "attempt": attempt})
        for stage, entry in graph.stages_of(spec, []).items()
    }
    status = FlywheelRoundStatus(base_model=ModelStatus(uri=DIGEST, digest=DIGEST), stages=list(stages.values()))
    seen = RoundSeen(manifests={Stage.PACKAGE: package})
    found = []
    for definition in PIPELINE:
        if definition.runs is Runs.OPERATOR:
            continue
        child = graph.child_of(meta, definition.stage, attempt)
        action = Action(Act.CREATE, graph.CHILD_KIND[definition.runs], child, definition.stage, attempt)
        body = rounds.child(CONFIG, meta, spec, status, seen, action)
        found.append(body)
        if definition.runs is Runs.POOL:
            found += of_pool(child, RolloutPoolSpec.model_validate(body["spec"]))
        elif definition.runs is Runs.RLJOB:
            found.append(of_rljob(child, attempt, RLJobSpec.model_validate(body["spec"])))
    return found


def of_pool(name: str, spec: RolloutPoolSpec, status: RolloutPoolStatus | None = None) -> list[Object]:
    meta = Meta(name, NS, UID, 1)
    revision = rayservice.revision(CONFIG, spec, DIGEST)
    params = {"revision": revision}
    actions = (
        Action(Act.CREATE, pool.RAYSERVICE, pool.revision_name(meta, revision), params=params),
        Action(Act.APPLY, pool.SERVICE, name, params=params),
    )
    seen = PoolSeen(digest=DIGEST)
    return [rayservice.child(CONFIG, meta, spec, status or RolloutPoolStatus(), seen, action) for action in actions]


def of_rljob(name: str, attempt: int, spec: RLJobSpec) -> Object:
    meta = Meta(name, NS, UID, 1)
    child = child_name(name, UID, TRAIN_STAGE, attempt)
    action = Action(Act.CREATE, "RayJob", child, TRAIN_STAGE, attempt)
    return rayjob.ray_job(CONFIG, meta, spec, RLJobStatus(), RLJobSeen(model=DIGEST), action)


@pytest.mark.parametrize("name", [LONGEST, "support-agent-r12"])
def test_every_child_of_an_admitted_name_is_admitted(dry: DryRun, name: str, attempt: int = 99) -> None:
    spec = yaml.safe_load(TEXT)
    spec["metadata"]["name"] = name
    for body in (spec, *children(name, attempt), of_rljob(name, attempt, rljob()), *of_pool(name, alone())):
        dry.create(body)


@pytest.mark.parametrize("name", rendered())
def test_kuberays_schemas_take_what_the_operator_renders(dry: DryRun, name: str) -> None:
    for body in rendered()[name]:
        body["metadata"]["namespace"] = NS
        del body["metadata"]["ownerReferences"]  # its owner is not there
        dry.create(body)


def test_a_pool_that_keeps_away_from_nodes_is_admitted(dry: DryRun) -> None:
    """The nodes are of its status and of the pods that it makes; a hash of its spec knows none of them."""
    ends = [AttemptStatus(attempt=n, cause=Cause.INFRA, reason="GpuFault", node=f"gpu-{n}") for n in (1, 2)]
    zone = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    own = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [zone]}}}
    spec = RolloutPoolSpec.model_validate({"model": DIGEST, "podTemplate": {"affinity": own}})
    service, _ = of_pool("policy", spec, RolloutPoolStatus(attempts=ends))
    dry.create(service)
    cluster = service["spec"]["rayClusterConfig"]
    worker, head = cluster["workerGroupSpecs"][0]["template"]["spec"], cluster["headGroupSpec"]["template"]["spec"]
    for pod, expected in ((worker, zone["matchExpressions"]), (head, None)):
        required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = required["nodeSelectorTerms"]
        assert term.get("matchExpressions") == expected
        assert sorted(f["values"][0] for f in term["matchFields"]) == ["gpu-1", "gpu-2"]
    made = rayservice.revision(CONFIG, spec, DIGEST, ("gpu-1", "gpu-2")).rpartition("-")[0]
    assert rayservice.revision(CONFIG, spec, DIGEST).rpartition("-")[0] == made


def rljob() -> RLJobSpec:
    """An RLJob without a round."""
    return RLJobSpec.model_validate({"model": DIGEST, "data": {"train": [DIGEST]}, "reward": {"type": "Math"}})


def alone() -> RolloutPoolSpec:
    """A pool without a round."""
    return RolloutPoolSpec.model_validate({"model": DIGEST})


@pytest.mark.parametrize("attempt", [1, 99, 9999])
def test_every_child_of_the_longest_name_is_taken_by_kuberay(attempt: int) -> None:
    """KubeRay's own limits stand in its program, not in its CRDs."""
    source = (module_source("kuberay") / "controllers" / "ray" / "utils" / "constant.go").read_text()

    def number(pattern: str) -> int:
        found = re.search(pattern, source)
        assert found, f"KubeRay's constants have changed their form: {pattern}"
        return int(found.group(1))

    longest = number(r"MaxRayClusterNameLength = (\d+)")
    ray = [o for o in children(LONGEST, attempt) if o["kind"].startswith("Ray")]
    assert {o["kind"] for o in ray} == {"RayJob", "RayService"}
    for body in ray:
        less = number(rf"Max{body['kind']}NameLength = MaxRayClusterNameLength - (\d+)")
        assert len(body["metadata"]["name"]) <= longest - less, body["metadata"]["name"]
