"""The next status of a round in the making, with what is to be done and told. Nothing here outlives the plan."""

from __future__ import annotations

from datetime import datetime

from flywheel_api.conditions import ConditionType, Reason, find_condition
from flywheel_api.resources import POOL
from flywheel_api.results import Verdict
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus, StageState
from flywheel_api.stages import Stage
from flywheel_api.written import hash_of, is_current, written
from flywheel_operator.model import Action, Meta, Note, Plan, Problem, Record, RoundSeen, RunState, Timings, delete
from flywheel_operator.plan import budget, graph, results, texts
from flywheel_operator.plan.conditions import REFUSED_AGAIN, Conditions

C = ConditionType
FIRST_VISIT = {
    C.PREFLIGHT: "not checked yet",
    C.NODES_FIT: "not checked yet",
    C.BUDGET_AVAILABLE: "not checked yet",
    C.STORAGE_READY: "not checked yet",
    C.ENDPOINTS_AVAILABLE: "not used yet",
    C.PROMOTED: "not decided yet",
}
_UNDER_WAY = (StageState.PENDING, StageState.RUNNING)


class Draft:
    """`old` is the status that was read, `status` and `stages` the next one; `answer` makes a Plan of it."""

    def __init__(
        self,
        meta: Meta,
        spec: FlywheelRoundSpec,
        status: FlywheelRoundStatus,
        seen: RoundSeen,
        now: datetime,
        times: Timings,
    ) -> None:
        self.meta, self.spec, self.seen, self.now, self.times = meta, spec, seen, now, times
        self.old, self.status = status, status
        self.conditions = Conditions(status.conditions, meta.generation, now)
        self.conditions.first_visit(FIRST_VISIT | ({C.EXPORTED: "not promoted yet"} if spec.export else {}))
        self.stages = graph.stages_of(spec, status.stages, status.base_digest)
        if status.finished_at is None:
            self._keep_books()
        self.actions: list[Action] = []
        self.notes: list[Note] = []

    def set(self, stage: Stage, **changes: object) -> None:
        """Fields of a stage's status."""
        self.stages[stage] = self.stages[stage].model_copy(update=changes)

    def change(self, **changes: object) -> None:
        """Fields of the round's status."""
        self.status = self.status.model_copy(update=changes)

    def note(self, reason: str, message: str, warning: bool = False, follows: bool = False) -> None:
        """An Event, or what is told in the one before it."""
        self.notes.append(Note(reason, message, "Warning" if warning else "Normal", follows))

    def say(self, kind: ConditionType, problem: Problem | None) -> None:
        """A condition that is true where there is no problem."""
        reason, message = (problem.reason, problem.message) if problem else (Reason.AVAILABLE, "")
        self.conditions.set(kind, problem is None, reason, message)

    def _keep_books(self) -> None:
        """What running attempts have spent up to now, before anything is decided: whatever goes has been counted."""
        for stage, status in self.stages.items():
            progress = self.seen.records.get(stage, Record()).progress
            if progress is not None and status.state is StageState.RUNNING:
                status = status.model_copy(update={"tokens": results.tokens(status.tokens, progress.tokens)})
            self.stages[stage] = budget.followed(status, self.seen.accounts.get(stage), self.now)

    def account(self, stage: Stage) -> None:
        """What carries a stage out has ended, or is ended: what it spent is the stage's."""
        self.stages[stage] = budget.paid(self.stages[stage], self.now)

    def exhausted(self) -> Problem | None:
        """What of the budget has run out, if anything."""
        used = budget.tokens_used(self.stages.values())
        spent = sum(budget.stage_seconds(s, self.now) for s in self.stages.values())
        return budget.exhausted(self.spec.budget, self.old.started_at, spent, used, self.now)

    def sweep(self, but: Stage | None = None) -> None:
        """Children that run or hold hardware go; Jobs and RLJobs that ended stay, with their logs and curves."""
        done = {a.name for a in self.actions}
        for stage, run in ((stage, run) for stage, run in self.seen.runs.items() if stage is not but):
            ended = run.child.kind != POOL.kind and run.state in (RunState.SUCCEEDED, RunState.ENDED)
            if not ended and not run.child.deleting and run.child.name not in done:
                self.actions.append(delete(run.child))
                self.account(stage)
        self.actions += [delete(c) for c in self.seen.strays if not c.deleting and c.name not in done]

    def _say_refusal(self) -> bool:
        """Whether something was refused. That one stage is held back is its own news while others go on."""
        news, ready = self.seen.refused, find_condition(self.conditions.result(), C.READY)
        if news is not None and news.reason is Reason.QUEUED and ready is not None and ready.reason != Reason.QUEUED:
            return True
        return self.conditions.refused(news, waiting=bool(self.actions))

    def answer(self, requeue: float | None) -> Plan[FlywheelRoundStatus]:
        """The plan. A round that is over, or has failed, needs nobody's help: what is refused then is not said."""
        over = self.status.finished_at is not None or self.status.verdict is Verdict.FAILED
        refused = not over and self._say_refusal()
        self.change(
            observed_generation=self.meta.generation,
            spec_hash=self._spec_hash(),
            base=self.old.base or texts.base(self.spec.base),
            conditions=self.conditions.result(),
            stages=list(self.stages.values()),
        )
        status = results.with_usage(self.old, self.status, self.now)
        again = REFUSED_AGAIN if refused else requeue
        return Plan(status, tuple(self.actions), tuple(self.notes), again, self._more())

    def _spec_hash(self) -> str | None:
        """Made anew for another generation, or by another version of hashes, until the round ends: it is dear."""
        known = self.old.spec_hash
        same = self.old.observed_generation == self.meta.generation and is_current(known)
        return known if self.old.finished_at or same else hash_of(written(self.spec))

    def _more(self) -> bool:
        """Whether a stage or the round has ended: others may follow. One that begins, and words, let nothing follow."""
        before = {s.name: s.state for s in self.old.stages}
        ended = any(s.state not in (before.get(s.name), *_UNDER_WAY) for s in self.stages.values())
        return ended or self.status.finished_at != self.old.finished_at
