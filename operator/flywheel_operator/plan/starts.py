"""Who may start: dependencies, back-off, suspension, and one model at a time where memory is short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel_api.base import parse_time
from flywheel_api.resources import POOL
from flywheel_api.round import StageState, StageStatus
from flywheel_api.stages import Runs, Stage, StageDef
from flywheel_operator.model import Record, RoundSeen, RunState
from flywheel_operator.plan import graph

_IDLE = timedelta(minutes=10)  # GPUs that nobody asks are given back: a pool takes about as long to start anew
_QUEUE_GRACE = timedelta(minutes=5)  # many a queue lets go in seconds, and a pool takes minutes to come back


@dataclass(frozen=True)
class Starts:
    """The rules over the stages as they stand now."""

    stages: Mapping[Stage, StageStatus]
    seen: RoundSeen
    suspended: bool
    now: datetime
    gpus: bool = False  # whether the round's pools hold any
    unasked: frozenset[Stage] = frozenset()

    def _users(self, pool: Stage) -> tuple[Stage, ...]:
        """Stages that ask a pool in this round."""
        return tuple(user for user in graph.users_of(pool) if user not in self.unasked)

    def may_start(self, definition: StageDef) -> bool:
        """Whether the next attempt of a stage may begin now."""
        status = self.stages[definition.stage]
        if self.suspended or not graph.ready(definition, self.stages):
            return False
        if status.not_before is not None and self.now < parse_time(status.not_before):
            return False
        if definition.runs is Runs.POOL:
            return (
                self._wanted(definition.stage) and not self.training_holds() and not self._other_pool(definition.stage)
            )
        if definition.stage not in self.seen.content:
            return False  # what it is made of was not looked at yet
        if definition.runs is Runs.RLJOB:
            return not self.training_holds() and not self.pools_exist()
        return self._served(definition)

    def _served(self, definition: StageDef) -> bool:
        """Whether the pool that a Job asks, if it asks one, answers."""
        if definition.pool is None or definition.stage in self.unasked or definition.pool in self.unserved():
            return True
        run = self.seen.runs.get(definition.pool)
        serving = run is not None and run.state is RunState.RUNNING and not run.child.deleting
        return serving and self.stages[definition.pool].state is StageState.SUCCEEDED

    def unserved(self) -> frozenset[Stage]:
        """Serving stages that the round has not got: somebody else's endpoint plays the policy."""
        return frozenset(
            s for s in graph.POOLS if self.stages[s].state is StageState.SKIPPED and not self.stages[s].progress
        )

    def _wanted(self, pool: Stage) -> bool:
        """Whether a stage that needs a pool is sure to run: its result is not in the store, or cannot be there."""
        users = [graph.BY_STAGE[user] for user in self._users(pool)]
        return any(self._will_run(u) and (not self.gpus or graph.ready(u, self.stages)) for u in users)

    def _long_idle(self, pool: Stage) -> bool:
        """Whether GPUs of a pool have had nobody to answer for a while: whoever asks next waits for others' work."""
        users = [self.stages[user] for user in self._users(pool)]
        open_ = [u for u in users if u.state not in graph.DONE]
        ended = max((u.finished_at for u in users if u.finished_at is not None), default=None)
        if (
            not self.gpus
            or ended is None
            or any(graph.ready(graph.BY_STAGE[Stage(u.name)], self.stages) for u in open_)
        ):
            return False
        return self.now - parse_time(ended) > _IDLE

    def _held(self, stage: Stage) -> bool:
        """Whether somebody holds a stage back, for who knows how long: a queue, a quota (law 8)."""
        since = self.stages[stage].queued_since
        running = self.stages[stage].state is StageState.RUNNING
        return running and since is not None and self.now - parse_time(since) > _QUEUE_GRACE

    def _will_run(self, definition: StageDef) -> bool:
        if self.stages[definition.stage].state in graph.DONE or self._held(definition.stage):
            return False
        if graph.ready(definition, self.stages):
            return self.seen.records.get(definition.stage, Record()).manifest is None
        # an input that is being made is a new one: nobody can have made anything of it yet
        before = graph.before(definition.stage)
        return any(self.stages[s].state is StageState.RUNNING and not self._held(s) for s in before)

    def training_holds(self) -> bool:
        """Whether an RLJob has, or will have, pods."""
        return any(run.holds for s, run in self.seen.runs.items() if graph.BY_STAGE[s].runs is Runs.RLJOB) or any(
            c.kind == "RLJob" for c in self.seen.strays
        )

    def pools_exist(self) -> bool:
        """Whether any pool of the round, or a pod of one, is still there."""
        pools = any(run.child.kind == POOL.kind for run in self.seen.runs.values())
        return pools or self.seen.pool_pods > 0 or any(c.kind == POOL.kind for c in self.seen.strays)

    def _other_pool(self, stage: Stage) -> bool:
        """One model at a time needs memory: another pool, or what is left of one, must be gone first."""
        others = any(run.child.kind == POOL.kind for s, run in self.seen.runs.items() if s is not stage)
        strays = any(c.kind == POOL.kind for c in self.seen.strays)
        return others or strays or (stage not in self.seen.runs and self.seen.pool_pods > 0)

    def pool_needed_again(self, definition: StageDef) -> bool:
        """A pool that somebody deleted, or that a suspension or a queue let go, while stages still need it."""
        return definition.stage not in self.seen.runs and self.may_start(definition)

    def pool_idle(self, stage: Stage) -> bool:
        """Whether a pool may go: no stage needs it any more, or it would only wait.

        So it is at the stage boundary of a suspension, and while whatever would need it is held back by a queue, or is
        far from its turn.
        """
        running = any(self.stages[s].state is StageState.RUNNING for s in self._users(stage))
        if self.pool_over(stage) or (self.suspended and not running) or self._long_idle(stage):
            return True
        return any(self._held(s) for s in self.stages) and not self._wanted(stage)

    def pool_over(self, stage: Stage) -> bool:
        """Whether every stage that asks a pool is done."""
        return all(self.stages[s].state in graph.DONE for s in self._users(stage))

    def pool_never_needed(self, definition: StageDef) -> bool:
        """Whether every stage that asks a pool is done before the pool was started."""
        return self.stages[definition.stage].attempt == 0 and self.pool_over(definition.stage)
