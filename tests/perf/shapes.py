"""The objects that the benchmark of scale applies.

They are rounds in three places of their life, pools and RLJobs alone, and RayClusters for KubeRay. Most rounds run two
Jobs against models outside; some serve a model of their own; some train. With their children a thousand of them are
some 7,000 objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]

ONE_IN = 20  # of so many rounds one serves and one trains
HELD_STAGES = frozenset({"EvaluateBase", "MineReasoning"})  # Jobs that run as long as the benchmark
MODEL = "s3://flywheel/flywheel/models/tiny"
OUTSIDE = "http://models.test:9/v1"  # never called: stages are played


def kind_of(number: int) -> str:
    """`serve`, `train` or `jobs`: where round `number` is held."""
    return {0: "serve", 1: "train"}.get(number % ONE_IN, "jobs")


def round_name(number: int) -> str:
    """The shape is in the name, so that whoever plays the children knows it."""
    return f"{kind_of(number)}-{number:04d}"


def held(owner: str, stage: str) -> bool:
    """Whether a Job of a round (or of that name) stays running: training rounds hold in training alone."""
    return stage in HELD_STAGES and not owner.startswith("train-")


def flywheel_round(number: int, namespace: str) -> Object:
    """A round of the reasoning track."""
    kind = kind_of(number)
    policy: Object = {"role": "Policy", "url": OUTSIDE, "model": "policy"}
    if kind == "serve":
        policy = {"role": "Policy", "pool": {"gpusPerReplica": 0}}
    return {
        "apiVersion": "flywheel.dev/v1alpha1",
        "kind": "FlywheelRound",
        "metadata": {"name": round_name(number), "namespace": namespace},
        "spec": {
            "campaign": "perf",
            "base": {"model": MODEL},
            "endpoints": [{"role": "Teacher", "url": OUTSIDE, "model": "teacher"}, policy],
            "reasoning": {"seeds": "builtin://numeracy"},
            "training": {"preset": "smollm2-135m-cpu"},
            "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
            "reuse": "Never",  # every round does all its work, as rounds that differ do
        },
    }


def live_round(obj: Object) -> bool:
    """Whether a round is where it is held and has seen every child that it has there."""
    stages = {s["name"]: s for s in (obj.get("status") or {}).get("stages") or []}
    wanted = {"TrainReasoning"} if obj["metadata"]["name"].startswith("train-") else HELD_STAGES
    return all(stages.get(n, {}).get("state") == "Running" and stages[n].get("child") for n in wanted)


def rollout_pool(number: int, namespace: str) -> Object:
    """Servers of a model without any round: as a RayCluster, one Ray cluster behind one object."""
    spec: Object = {"model": MODEL, "gpusPerReplica": 0}
    return _own("RolloutPool", f"pool-{number:04d}", namespace, spec)


def rl_job(number: int, namespace: str) -> Object:
    """A training without any round; each is another one, so that nobody waits for another's checkpoint."""
    spec: Object = {
        "model": MODEL,
        "data": {"train": ["s3://flywheel/data/train.parquet"]},
        "algorithm": {"maxSteps": 1 + number},
        "reward": {"type": "Math"},
        "gpusPerNode": 0,
    }
    return _own("RLJob", f"job-{number:04d}", namespace, spec)


def at_work(obj: Object) -> bool:
    """Whether a pool or an RLJob says that its Ray cluster runs."""
    return bool((obj.get("status") or {}).get("phase") == "Running")


def _own(kind: str, name: str, namespace: str, spec: Object) -> Object:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "flywheel.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def ray_cluster(number: int, namespace: str) -> Object:
    """A head and three workers, as in KubeRay's own benchmark: five children, as many as a round has."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": f"ray-{number:04d}", "namespace": namespace},
        "spec": {
            "rayVersion": "2.60.0",
            "headGroupSpec": {"rayStartParams": {}, "template": _pod("head")},
            "workerGroupSpecs": [
                {
                    "groupName": "work",
                    "replicas": 3,
                    "minReplicas": 3,
                    "maxReplicas": 3,
                    "rayStartParams": {},
                    "template": _pod("worker"),
                }
            ],
        },
    }


def live_cluster(obj: Object) -> bool:
    """Whether KubeRay has seen every pod run."""
    return bool((obj.get("status") or {}).get("state") == "ready")


def _pod(name: str) -> Object:
    sizes = {"cpu": "1", "memory": "2Gi"}
    container = {"name": f"ray-{name}", "image": "localhost/ray:dev", "resources": {"requests": sizes, "limits": sizes}}
    return {"spec": {"containers": [container]}}


Kind = tuple[Callable[[int, str], Object], Callable[[Object], bool]]
OURS: dict[str, Kind] = {
    "flywheelrounds": (flywheel_round, live_round),
    "rolloutpools": (rollout_pool, at_work),
    "rljobs": (rl_job, at_work),
}
"""By resource: what makes the n-th object in a namespace, and whether one is live."""
