"""What the round's planner reads of the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel_api.artifacts import Manifest
from flywheel_api.common import ModelStatus
from flywheel_api.stages import Stage
from flywheel_operator.plan.types import Child, Problem, Record, Run


@dataclass(frozen=True)
class RoundSeen:
    """What was observed. Maps are by stage: `runs` and `records` of current attempts, `manifests` of finished ones.

    `strays` are live children that no current attempt accounts for. `gpu_seconds` is what running children have spent.
    `training_holds` says that an RLJob has, or will have, pods.
    """

    problem: Problem | None = None
    store_problem: Problem | None = None
    waits_for: str | None = None
    base: ModelStatus | None = None
    runs: Mapping[Stage, Run] = field(default_factory=dict)
    records: Mapping[Stage, Record] = field(default_factory=dict)
    manifests: Mapping[Stage, Manifest] = field(default_factory=dict)
    models: Mapping[Stage, ModelStatus] = field(default_factory=dict)
    strays: tuple[Child, ...] = ()
    gpu_seconds: Mapping[Stage, float] = field(default_factory=dict)
    pool_pods: int = 0
    training_holds: bool = False
    spec_hash: str = ""
