"""The three kinds under reconciliation: which functions observe, plan and render each."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus
from flywheel_operator.model import Timings
from flywheel_operator.observe.attempts import Results
from flywheel_operator.observe.base import Context
from flywheel_operator.observe.events import Words
from flywheel_operator.observe.keys import KeyBook
from flywheel_operator.observe.nodes import NodeBook
from flywheel_operator.observe.pool import see_pool
from flywheel_operator.observe.rljob import see_rljob
from flywheel_operator.observe.round import see_round
from flywheel_operator.observe.stores import Connect, StoreBook
from flywheel_operator.plan.pool import plan_pool
from flywheel_operator.plan.rljob import plan_rljob
from flywheel_operator.plan.round import plan_round
from flywheel_operator.ports.kinds import JOBS, POOLS, RAYJOBS, RAYSERVICES, RLJOBS, ROUNDS, KubeApi
from flywheel_operator.reconcile import Subject
from flywheel_operator.render import rayjob, rayservice
from flywheel_operator.render import round as rounds
from flywheel_operator.render.common import marked
from flywheel_operator.settings import OperatorConfig


def timings(config: OperatorConfig) -> Timings:
    """The planner's share of the configuration."""
    t, job = config.timing, config.job
    return Timings(
        poll=t.poll,
        preflight=t.preflight,
        back_off=t.back_off,
        back_off_limit=t.back_off_limit,
        manifest_grace=t.manifest_grace,
        stage_stall=job.stall_after_seconds,
        stage_startup=job.startup_seconds,
        stage_retries=job.retries,
    )


def subjects(
    kube: KubeApi, connect: Connect, config: OperatorConfig, clock: Callable[[], float] = time.monotonic
) -> dict[str, Subject[Any, Any, Any]]:
    """The kinds by name, over the same ports. `clock` paces looks into the store."""
    stores, results = StoreBook(kube, connect, config.timing.store_probe), Results(config.timing.poll, clock)
    keys, nodes = KeyBook(kube, clock), NodeBook(kube, config, clock)
    context = Context(kube, stores, results, config, Words(clock), nodes, keys)
    times = timings(config)
    made: tuple[Subject[Any, Any, Any], ...] = (
        Subject(
            ROUNDS,
            FlywheelRoundSpec,
            FlywheelRoundStatus,
            partial(see_round, context),
            partial(plan_round, times=times),
            partial(marked, rounds.child, config),
            makes=(JOBS, POOLS, RLJOBS),
        ),
        Subject(
            POOLS,
            RolloutPoolSpec,
            RolloutPoolStatus,
            partial(see_pool, context),
            partial(plan_pool, times=times),
            partial(marked, rayservice.child, config),
            makes=(RAYSERVICES,),
        ),
        Subject(
            RLJOBS,
            RLJobSpec,
            RLJobStatus,
            partial(see_rljob, context),
            partial(plan_rljob, times=times),
            partial(marked, rayjob.ray_job, config),
            makes=(RAYJOBS,),
        ),
    )
    return {subject.resource.kind: subject for subject in made}
