"""Benchmark: 100 and 1,000 rounds with their children live, and as many RayClusters under KubeRay's own operator.

Real are API server, etcd, S3 server and both operators, each a process of its own; played are kubelet, Job controller,
KubeRay (for our rounds) and the stages' programs. Everything shares the cores of one machine, the load too, so the
two operators are compared with each other and not with anybody's figures from elsewhere.

Nothing is asserted about time. One thing is: an operator at rest writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from apiserver.actors import LiveStore
from apiserver.operator_process import install_crds, store_secret
from cluster.apiserver import start_apiserver
from contract.servers import BUCKET, running
from perf import compare
from perf.flips import Owners
from perf.machine import OUT, record
from perf.meter import Meter, public_s3_metrics
from perf.player import ClusterPlayer, RoundPlayer
from perf.rest import Rest
from perf.scale import Limits, Load, begin, measure, playing
from perf.shapes import OURS, flywheel_round, kind_of, live_cluster, ray_cluster
from perf.subjects import Flywheel, KubeRay, Subject, working
from perf.table import show, show_targets

NAMESPACE = "perf"
LIMITS = {100: Limits(ramp=40, rest=15, live=20, burst=15, restart=30)}
LIMITS[1000] = Limits(ramp=210, rest=20, live=20, burst=40, restart=60)
# KubeRay sends 100 requests a second and makes every cluster before it looks at the first one again
THEIR_RAMP = {100: 40.0, 1000: 200.0}
# ours, KubeRay's, and what of them is compared
PAIRS = (
    ("rounds_100", "kuberay_100", ""),
    ("rounds_1000", "kuberay_1000", ""),
    ("rolloutpools_100", "kuberay_100", "ramp"),
    ("rljobs_100", "kuberay_100", "ramp"),
)
EAGER = ("--reconcile-concurrency=10", "--qps=1000", "--burst=2000")


@asynccontextmanager
async def flywheel(plural: str, count: int, folder: Path) -> AsyncIterator[tuple[Load, Subject]]:
    """Our operator and the objects to apply."""
    make, is_live = OURS[plural]
    with public_s3_metrics(), running("minio", folder) as s3, start_apiserver(folder / "api") as api:
        install_crds(api)
        api.kubectl("create", "namespace", NAMESPACE)
        store_secret(api, NAMESPACE, s3)
        async with Rest(api.kubeconfig, NAMESPACE) as rest:
            player = RoundPlayer(rest, LiveStore(s3.client(), BUCKET))
            with working(Flywheel(api.kubeconfig, folder)) as subject:
                meter = Meter(rest, s3.endpoint, subject.pid)
                bodies = [make(n, NAMESPACE) for n in range(count)]
                load = Load(rest, player, Owners(rest, plural, is_live), meter, plural, bodies)
                if make is flywheel_round:  # pools and RLJobs of rounds are looked at too
                    load.found["more_owners"] = sum(kind_of(n) != "jobs" for n in range(count))
                async with playing(load):
                    yield load, subject


@asynccontextmanager
async def ray_clusters(count: int, folder: Path, flags: tuple[str, ...]) -> AsyncIterator[tuple[Load, Subject]]:
    """KubeRay's operator and the clusters to apply."""
    with start_apiserver(folder / "api") as api:
        install_crds(api)
        api.kubectl("create", "namespace", NAMESPACE)
        async with Rest(api.kubeconfig, NAMESPACE) as rest:
            with working(KubeRay(api.kubeconfig, folder, flags)) as subject:
                bodies = [ray_cluster(n, NAMESPACE) for n in range(count)]
                owners = Owners(rest, "rayclusters", live_cluster)
                load = Load(rest, ClusterPlayer(rest), owners, Meter(rest, "", subject.pid), "rayclusters", bodies)
                async with playing(load):
                    yield load, subject


def keep(name: str, result: dict[str, Any]) -> None:
    """For the JSON file, from which the last test makes its table."""
    record(f"scale_{name}", result, quiet=True)
    print(f"\n{show({name: result})}\n\n{show_targets(result.get('targets', []))}\n")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", LIMITS)
async def test_rounds(count: int, tmp_path: Path) -> None:
    async with flywheel("flywheelrounds", count, tmp_path) as (load, subject):
        found = await measure(load, subject, LIMITS[count], lambda: sum(load.owners.running.values()))
    what = "our operator and so many rounds with their children live"
    keep(f"rounds_{count}", {"what": what, "count": count, **found, "targets": compare.of_issue(found, count)})
    at_rest = found["ramp"]["live"] == count  # else it still works, and the table says so
    assert not at_rest or found["rest"]["api_writes"] == 0, f"written at rest: {found['rest']['busiest']}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("plural", ["rolloutpools", "rljobs"])
async def test_one_ray_cluster_each(plural: str, tmp_path: Path) -> None:
    """What is most like a RayCluster among our kinds: an object that stands for one. A round is twenty stages."""
    async with flywheel(plural, 100, tmp_path) as (load, _):
        found = await begin(load, LIMITS[100], lambda: 0)
    what = f"our operator and so many {plural} without any round, one Ray cluster each"
    keep(f"{plural}_100", {"what": what, "count": 100, **found})


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("count", "flags"), [(100, ()), (100, EAGER), (1000, ())], ids=["100", "100-eager", "1000"])
async def test_kuberay(count: int, flags: tuple[str, ...], tmp_path: Path) -> None:
    async with ray_clusters(count, tmp_path, flags) as (load, subject):
        found = await measure(load, subject, replace(LIMITS[count], ramp=THEIR_RAMP[count], rest=5), lambda: 0)
    what = "KubeRay's operator and so many RayClusters (a head and three workers each) under the same load"
    result = {"what": what, "count": count, "flags": list(flags), **found}
    keep(f"kuberay_{count}" + ("_eager" if flags else ""), result)


def test_together() -> None:
    """What the newest runs say beside each other, whenever each was made: is it linear, and who handles more."""
    found = {
        file.stem.removeprefix("scale_"): json.loads(file.read_text()) for file in sorted(OUT.glob("scale_*.json"))
    }
    if not found:
        pytest.skip("no run to compare")
    summary: dict[str, Any] = {"what": "100 rounds against 1,000, and our operator against KubeRay's"}
    if {"rounds_100", "rounds_1000"} <= found.keys():
        summary["of_1000_over_100"] = compare.linearity(found["rounds_100"], found["rounds_1000"])
    for ours, theirs, part in PAIRS:
        if {ours, theirs} <= found.keys():
            summary[f"{ours}_against_kuberay"] = compare.against(found[ours], found[theirs], part)
    record("scale", summary, quiet=True)
    print(f"\n{show(found)}\n")
    for name, result in found.items():
        judged = [*result.get("targets", []), *summary.get(f"{name}_against_kuberay", [])]
        print(f"{name}\n{show_targets(judged)}\n" if judged else "", end="")
    print(f"of 1,000 over of 100, per round: {summary.get('of_1000_over_100')}")
