"""FlywheelRound: the pipeline carried forward one look at a time, until a verdict, a budget or a failure ends it."""

from __future__ import annotations

from datetime import datetime

from flywheel_api.base import format_time, parse_time
from flywheel_api.conditions import ConditionType, Reason
from flywheel_api.resources import POOL
from flywheel_api.results import Verdict
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import PIPELINE, Runs, Stage, StageDef
from flywheel_operator.model import (
    Action,
    Meta,
    Note,
    Plan,
    Problem,
    Record,
    RoundSeen,
    RunState,
    Timings,
    Training,
    delete,
)
from flywheel_operator.plan import budget, content, graph, results, texts
from flywheel_operator.plan.conditions import REFUSED_AGAIN, STORE_REASONS, Conditions
from flywheel_operator.plan.retry import remember
from flywheel_operator.plan.stage import Step, View, advance, reuse, start
from flywheel_operator.plan.starts import Starts

C = ConditionType
_AT_ONCE = 0.05
_WATCHED = 6  # times the ordinary pause, where a watch tells of every change
FIRST_VISIT = {
    C.PREFLIGHT: "not checked yet",
    C.BUDGET_AVAILABLE: "not checked yet",
    C.STORAGE_READY: "not checked yet",
    C.ENDPOINTS_AVAILABLE: "not used yet",
    C.PROMOTED: "not decided yet",
}


def plan_round(
    meta: Meta,
    spec: FlywheelRoundSpec,
    status: FlywheelRoundStatus,
    seen: RoundSeen,
    now: datetime,
    times: Timings,
) -> Plan[FlywheelRoundStatus]:
    """The next status and the effects that follow from it."""
    return _Planner(meta, spec, status, seen, now, times).plan()


class _Planner:
    """One decision. `status` is the next one in the making; nothing here outlives the plan."""

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
        self.conditions.first_visit(FIRST_VISIT)
        self.stages = graph.stages_of(spec, status.stages)
        self.starts = Starts(self.stages, seen, spec.suspend, now)
        self.actions: list[Action] = []
        self.notes: list[Note] = []
        self.failed: tuple[Stage, str] | None = None
        self.blocked = False

    def plan(self) -> Plan[FlywheelRoundStatus]:
        """Terminal rounds are final whatever happens to their children (law 5)."""
        if self.old.finished_at is not None:
            return self._settled()
        started = self.stages[Stage.PREFLIGHT].state is StageState.SUCCEEDED
        out = budget.zero(self.spec.budget) or self._exhausted()
        if out is not None and started:
            return self._out_of_budget(out)
        if not started:
            return self._answer(_AT_ONCE if self._preflight(out) else self.times.preflight)
        if self.seen.store_problem is not None:
            return self._store_is_away(self.seen.store_problem)
        self.conditions.set(C.STORAGE_READY, True, Reason.AVAILABLE, "")
        if self.seen.problem is not None:
            self.conditions.blocked(self.seen.problem.reason, self.seen.problem.message)
            return self._answer(self.times.preflight)
        for definition in PIPELINE[1:]:
            self._stage(definition)
            if self.failed is not None:
                return self._fail(*self.failed)
        self._release_pools()
        return self._conclude()

    # ---- before anything costs money ------------------------------------------------------------------------------
    def _preflight(self, out: Problem | None) -> bool:
        """Whether the round may start; writes down why not."""
        began = self.stages[Stage.PREFLIGHT].started_at or format_time(self.now)
        self._say(C.BUDGET_AVAILABLE, out)
        problem = self.seen.problem or self.seen.store_problem or out
        store = self.seen.store_problem or (problem if problem and problem.reason in STORE_REASONS else None)
        self._say(C.STORAGE_READY, store)
        if problem is not None or self.seen.waits_for is not None or self.seen.base is None:
            self._not_yet(began, problem)
            return False
        done = format_time(self.now)
        self._set(
            Stage.PREFLIGHT, state=StageState.SUCCEEDED, started_at=began, finished_at=done, progress=None, attempt=1
        )
        self.conditions.set(C.PREFLIGHT, True, Reason.PASSED, "")
        self.notes.append(Note("PreflightPassed", f"base model {self.seen.base.digest[:19]}…, the round starts"))
        # the clock of the budget starts here: waiting for a base round or for a fix costs nothing
        self._change(base_model=self.seen.base, started_at=done, rollouts=list(self.seen.rollouts)[:8])
        self._change(stage=Stage.PREPARE.value, progress="the round starts")
        self.conditions.working(Reason.STARTING, "the round starts")
        return True

    def _not_yet(self, began: str, problem: Problem | None) -> None:
        text = problem.message if problem else self.seen.waits_for or "waiting for the base model"
        if problem and self.stages[Stage.PREFLIGHT].progress != text[:256]:
            self.notes.append(Note(problem.reason.value, text, "Warning"))
        self._set(Stage.PREFLIGHT, state=StageState.WAITING, started_at=began, progress=text[:256], attempt=1)
        reason = problem.reason if problem else Reason.WAITING
        self.conditions.set(C.PREFLIGHT, False, reason, text)
        (self.conditions.blocked if problem else self.conditions.working)(reason, text)
        self._change(stage=Stage.PREFLIGHT.value, progress=text[:1024])

    # ---- one stage ------------------------------------------------------------------------------------------------
    def _stage(self, definition: StageDef) -> None:
        stage, status = definition.stage, self.stages[definition.stage]
        if status.state in (StageState.SKIPPED, StageState.FAILED):
            return
        if status.state is StageState.SUCCEEDED:
            if definition.runs is Runs.POOL:
                self._served(definition, status)
        elif status.state is StageState.RUNNING:
            self._take(definition, advance(definition, status, self._view(definition)))
        elif definition.runs is Runs.POOL and self.starts.pool_never_needed(definition):
            self._set(stage, state=StageState.SKIPPED, progress="not needed: what it would serve was done before")
        elif graph.ready(definition, self.stages) and not self.spec.suspend:
            self._begin(definition, status)

    def _begin(self, definition: StageDef, status: StageStatus) -> None:
        """A stage whose turn has come: skipped, taken over, or started."""
        view = self._view(definition)
        if content.no_data(definition.stage, content.seen_package(self.seen)):
            self._set(definition.stage, state=StageState.SKIPPED, progress="no training data for this track")
        elif view.record.manifest is not None and view.content is not None:
            self._take(definition, reuse(status, view))
        elif self.starts.may_start(definition):
            self._take(definition, start(definition, status, view))
            self.notes.append(
                Note("StageStarted", f"{definition.stage} attempt {self.stages[definition.stage].attempt}")
            )

    def _served(self, definition: StageDef, status: StageStatus) -> None:
        """A pool that serves is watched as long as a stage needs it: one that failed or went is replaced."""
        run = self.seen.runs.get(definition.stage)
        if run is not None and run.ended is not None and not self.starts.pool_idle(definition.stage):
            again = status.model_copy(update={"state": StageState.RUNNING})
            self._take(definition, advance(definition, again, self._view(definition)))
        elif self.starts.pool_needed_again(definition):
            self._take(definition, start(definition, status, self._view(definition)))

    def _view(self, definition: StageDef) -> View:
        stage, seen = definition.stage, self.seen
        record = seen.records.get(stage, Record())
        return View(
            self.meta,
            self.now,
            self.times,
            seen.runs.get(stage),
            record,
            seen.content.get(stage),
            seen.trainings.get(stage),
            self._wanted(stage) if stage in seen.trainings else None,
        )

    def _wanted(self, stage: Stage) -> Training | None:
        """The RLJob that would be created for a training now."""
        package = content.seen_package(self.seen)
        if package is None:
            return None
        spec = content.training_of(stage, self.spec, self.status.base_digest, graph.digests_of(self.stages), package)
        return Training(spec, running=False)

    def _take(self, definition: StageDef, step: Step) -> None:
        stage, old = definition.stage, self.stages[definition.stage]
        self.stages[stage] = step.status
        self.actions += step.actions
        self.blocked = self.blocked or step.blocked
        if step.ended is not None:
            why = f"{step.ended.cause.value}/{step.ended.reason}: {step.ended.message}"
            self.notes.append(Note("AttemptEnded", f"{stage} attempt {old.attempt} ended by {why}", "Warning"))
            known = list(self.status.attempts)
            self._change(
                attempts=remember(known, stage, old.attempt, step.ended, old.attempt_started_at, None, self.now)
            )
            self._account(stage)
            if step.final:
                self._stage_failed(stage, f"{stage}: {why} ({step.final})")
        elif step.status.state is StageState.SUCCEEDED and old.state is not StageState.SUCCEEDED:
            self._succeeded(definition)

    def _stage_failed(self, stage: Stage, text: str) -> None:
        """A failed report does not take a verdict away; any other stage ends the round."""
        if stage is Stage.REPORT:
            self.notes.append(Note("ReportFailed", text, "Warning"))
        else:
            self.failed = (stage, text)

    def _succeeded(self, definition: StageDef) -> None:
        stage, record = definition.stage, self.seen.records.get(definition.stage, Record())
        if definition.runs is Runs.RLJOB:
            self._account(stage)
        self.notes.append(texts.succeeded(self.stages[stage]))
        if record.manifest is None:
            return
        if record.manifest.standin:
            self._change(standin=True)
        uri = self.seen.model_uri
        self._change(**results.taken_over(stage, record.manifest, self.status, uri))

    def _account(self, stage: Stage) -> None:
        """GPU-seconds of what just ended are added to the stage's."""
        spent = self.seen.gpu_seconds.get(stage, 0.0)
        if spent:
            total = float(self.stages[stage].gpu_seconds or 0) + spent
            self._set(stage, gpu_seconds=f"{total:.0f}")

    # ---- pools ----------------------------------------------------------------------------------------------------
    def _release_pools(self) -> None:
        """A pool goes when no stage needs it any more, or at a suspension's stage boundary."""
        for stage in graph.POOLS:
            run = self.seen.runs.get(stage)
            if run is None or run.child.deleting or self.stages[stage].state is not StageState.SUCCEEDED:
                continue
            if self.starts.pool_idle(stage):
                if self.stages[stage].child is not None:
                    self._account(stage)
                    self._set(stage, child=None, finished_at=format_time(self.now), progress=None)
                self.actions.append(delete(run.child))
        self.actions += [delete(child) for child in self.seen.strays if not child.deleting]

    # ---- ends -----------------------------------------------------------------------------------------------------
    def _conclude(self) -> Plan[FlywheelRoundStatus]:
        report = self.stages[Stage.REPORT].state
        if report in graph.DONE or report is StageState.FAILED:
            return self._finish()
        running = [s for s in self.stages.values() if s.state in (StageState.RUNNING, StageState.WAITING)]
        text = "; ".join(s.progress for s in running if s.progress) or self._between_stages()
        stage = next((s.name for s in running), None) or self.status.stage or Stage.PREPARE.value
        self._change(stage=stage, progress=text[:1024])
        self._endpoints(running)
        self.conditions.set(C.BUDGET_AVAILABLE, True, Reason.AVAILABLE, "")
        if self.spec.suspend and not any(s.state is StageState.RUNNING for s in running):
            text = "suspended: set spec.suspend to false to go on"
            self._change(progress=text)
            self.conditions.working(Reason.SUSPENDED, text)
            return self._answer(None)  # the change of spec wakes it; a resync looks after the wall clock
        if self.blocked:
            self.conditions.blocked(Reason.POD_REFUSED, text)
        else:
            self.conditions.working(stage, "; ".join(said for s in running if (said := texts.with_child(s))) or text)
        return self._answer(self._pause(running))

    def _endpoints(self, running: list[StageStatus]) -> None:
        waiting = texts.waiting_for_endpoints(running, self.seen.records, self.status.attempts)
        if waiting:
            self.conditions.set(C.ENDPOINTS_AVAILABLE, False, Reason.ENDPOINT_UNAVAILABLE, waiting)
        else:
            self.conditions.set(C.ENDPOINTS_AVAILABLE, True, Reason.AVAILABLE, "")

    def _pause(self, running: list[StageStatus]) -> float:
        """Pools and RLJobs wake the round by their own status; only Jobs are polled for, in the store."""
        kinds = {graph.BY_STAGE[Stage(s.name)].runs for s in running if s.state is StageState.RUNNING}
        watched = bool(kinds) and Runs.JOB not in kinds and not self.actions
        return self.times.poll * (_WATCHED if watched else 1)

    def _between_stages(self) -> str:
        if self.starts.pools_exist() or self.starts.training_holds():
            return "waiting for the pods of the last stage to go, so that one model at a time needs memory"
        return "between stages"

    def _finish(self) -> Plan[FlywheelRoundStatus]:
        verdict = self.status.verdict or Verdict.HELD
        promoted = verdict is Verdict.PROMOTED
        text = f"{verdict.value}: {self.status.score or 'no score'}"
        why = results.reasons(self.seen.manifests.get(Stage.GATE))
        reason = Reason.PROMOTED if promoted else Reason.HELD
        self.conditions.done(reason, text)
        self.conditions.set(C.PROMOTED, promoted, reason, why or text)
        self.notes.append(Note(verdict.value, f"{text}. {why}" if why else text))
        self._sweep()
        took = self.now - (parse_time(self.status.started_at) if self.status.started_at else self.now)
        spent = results.spent(self.stages, self.seen.manifests, took)
        self._change(stage="Done", progress=spent, finished_at=format_time(self.now))
        return self._answer(self.times.poll)

    def _fail(self, stage: Stage, text: str, reason: Reason = Reason.FAILED) -> Plan[FlywheelRoundStatus]:
        self.conditions.failed(reason, text)
        self.conditions.set(C.PROMOTED, False, Reason.FAILED, "the round failed before a verdict")
        self.notes.append(Note("Failed", text, "Warning"))
        self._sweep()
        self._change(stage=stage.value, progress=text[:1024], verdict=Verdict.FAILED, finished_at=format_time(self.now))
        return self._answer(self.times.poll)

    def _exhausted(self) -> Problem | None:
        used = budget.tokens_used(self.stages.values())
        spent = sum(float(s.gpu_seconds or 0) for s in self.stages.values()) + sum(self.seen.gpu_seconds.values())
        return budget.exhausted(self.spec.budget, self.old.started_at, spent, used, self.now)

    def _out_of_budget(self, out: Problem) -> Plan[FlywheelRoundStatus]:
        self._say(C.BUDGET_AVAILABLE, out)
        stage = next((Stage(s.name) for s in self.stages.values() if s.state is StageState.RUNNING), Stage.PREFLIGHT)
        for name, status in self.stages.items():
            if status.state in (StageState.RUNNING, StageState.WAITING):
                self._account(name)
                self._set(name, state=StageState.FAILED, finished_at=format_time(self.now), progress="budget exhausted")
        return self._fail(stage, out.message, Reason.BUDGET_EXHAUSTED)

    def _store_is_away(self, problem: Problem) -> Plan[FlywheelRoundStatus]:
        """Nothing is judged while the store is away: running children go on, the round pauses."""
        self._say(C.STORAGE_READY, problem)
        self.conditions.working(problem.reason, problem.message)
        return self._answer(self.times.preflight)

    def _settled(self) -> Plan[FlywheelRoundStatus]:
        if self.meta.generation != self.old.observed_generation:
            text = (
                "spec was changed after the round ended: nothing runs again; apply a new round under another name, "
                "it takes over what is done"
            )
            self.conditions.set(C.RECONCILING, False, Reason.SPEC_CHANGED, text)
        self._sweep()
        return self._answer(self.times.poll if self.actions else None)

    def _sweep(self) -> None:
        """Children that run or hold hardware go; Jobs and RLJobs that ended stay, with their logs and curves."""
        done = {a.name for a in self.actions}
        for run in self.seen.runs.values():
            ended = run.child.kind != POOL.kind and run.state in (RunState.SUCCEEDED, RunState.ENDED)
            if not ended and not run.child.deleting and run.child.name not in done:
                self.actions.append(delete(run.child))
        self.actions += [delete(c) for c in self.seen.strays if not c.deleting and c.name not in done]

    # ---- small parts ----------------------------------------------------------------------------------------------
    def _say(self, kind: ConditionType, problem: Problem | None) -> None:
        reason, message = (problem.reason, problem.message) if problem else (Reason.AVAILABLE, "")
        self.conditions.set(kind, problem is None, reason, message)

    def _set(self, stage: Stage, **changes: object) -> None:
        self.stages[stage] = self.stages[stage].model_copy(update=changes)

    def _change(self, **changes: object) -> None:
        self.status = self.status.model_copy(update=changes)

    def _answer(self, requeue: float | None) -> Plan[FlywheelRoundStatus]:
        over = self.status.finished_at is not None  # a round that is over needs nobody's help
        refused = not over and self.conditions.refused(self.seen.refused, waiting=bool(self.actions))
        self._change(
            observed_generation=self.meta.generation,
            base=self.old.base or texts.base(self.spec.base),
            conditions=self.conditions.result(),
            stages=list(self.stages.values()),
        )
        status = results.with_usage(self.old, self.status, self.now)
        return Plan(status, tuple(self.actions), tuple(self.notes), REFUSED_AGAIN if refused else requeue)
