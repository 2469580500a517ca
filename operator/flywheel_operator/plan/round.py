"""FlywheelRound: the pipeline carried forward one look at a time, until a verdict, a budget or a failure ends it."""

from __future__ import annotations

from datetime import datetime

from flywheel_api.base import format_time, parse_time
from flywheel_api.conditions import ConditionType, Reason
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import PIPELINE, Runs, Stage, StageDef
from flywheel_operator.plan import budget, endpoints, finish, gate, graph, texts
from flywheel_operator.plan.advance import Step, View, advance, start
from flywheel_operator.plan.conditions import STORE_REASONS, Board
from flywheel_operator.plan.retry import remember
from flywheel_operator.plan.seen import RoundSeen
from flywheel_operator.plan.types import (
    Action,
    Meta,
    Note,
    Plan,
    Problem,
    Record,
    RunState,
    Timings,
    delete,
)

C = ConditionType
_WATCHED = 6  # times the ordinary pause, where a watch tells of every change
FIRST_VISIT = {
    C.PREFLIGHT: "not checked yet",
    C.BUDGET_AVAILABLE: "not checked yet",
    C.STORAGE_READY: "not checked yet",
    C.ENDPOINTS_AVAILABLE: "not used yet",
    C.PROMOTED: "not decided yet",
}


def _said(status: StageStatus) -> str:
    """A stage's progress for the condition's message; a training's with its RLJob, where the details are."""
    child, text = status.child, status.progress or ""
    return f"{child.kind} {child.name}: {text}" if text and child is not None and child.kind == "RLJob" else text


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
    def __init__(
        self,
        meta: Meta,
        spec: FlywheelRoundSpec,
        status: FlywheelRoundStatus,
        seen: RoundSeen,
        now: datetime,
        times: Timings,
    ) -> None:
        self.meta, self.spec, self.old, self.seen, self.now, self.times = meta, spec, status, seen, now, times
        self.board = Board(status.conditions, meta.generation, now)
        self.board.first_visit(FIRST_VISIT)
        self.stages = {Stage(s.name): s for s in (status.stages or graph.initial(spec))}
        self.attempts = list(status.attempts)
        self.actions: list[Action] = []
        self.notes: list[Note] = []
        self.failed: tuple[Stage, str] | None = None
        self.blocked = False
        self.changes: dict[str, object] = {}

    def plan(self) -> Plan[FlywheelRoundStatus]:
        """Dispatch: terminal rounds are final whatever happens to their children (law 5)."""
        if self.old.finished_at is not None:
            return self._settled()
        out = budget.zero(self.spec.budget) or self._exhausted()
        if out is not None and self.stages[Stage.PREFLIGHT].state is StageState.SUCCEEDED:
            return self._out_of_budget(out)
        if self.stages[Stage.PREFLIGHT].state is not StageState.SUCCEEDED and not self._preflight(out):
            return self._answer(self.times.preflight)
        if self.seen.store_problem is not None:
            return self._store_away(self.seen.store_problem)
        self.board.set(C.STORAGE_READY, True, Reason.AVAILABLE, "")
        for definition in PIPELINE[1:]:
            self._stage(definition)
            if self.failed is not None:
                return self._fail(*self.failed)
        self._release_pools()
        return self._conclude()

    # ---- before anything costs money ------------------------------------------------------------------------------
    def _preflight(self, out: Problem | None) -> bool:
        stage = self.stages[Stage.PREFLIGHT]
        started = stage.started_at or format_time(self.now)
        self.board.set(
            C.BUDGET_AVAILABLE, out is None, out.reason if out else Reason.AVAILABLE, out.message if out else ""
        )
        problem = self.seen.problem or self.seen.store_problem or out
        store = self.seen.store_problem or (problem if problem and problem.reason in STORE_REASONS else None)
        self.board.set(
            C.STORAGE_READY, store is None, store.reason if store else Reason.AVAILABLE, store.message if store else ""
        )
        if problem is not None or self.seen.waits_for is not None or self.seen.base is None:
            text = problem.message if problem else self.seen.waits_for or "waiting for the base model"
            self._set(Stage.PREFLIGHT, state=StageState.WAITING, started_at=started, progress=text[:256], attempt=1)
            reason = problem.reason if problem else Reason.WAITING
            self.board.set(C.PREFLIGHT, False, reason, text)
            if problem:
                self.board.blocked(reason, text)
                if stage.progress != text[:256]:
                    self.notes.append(Note(reason.value, text, "Warning"))
            else:
                self.board.working(reason, text)
            self.changes |= {"stage": Stage.PREFLIGHT.value, "progress": text[:1024]}
            return False
        done = format_time(self.now)
        self._set(
            Stage.PREFLIGHT, state=StageState.SUCCEEDED, started_at=started, finished_at=done, progress=None, attempt=1
        )
        self.board.set(C.PREFLIGHT, True, Reason.PASSED, "")
        self.notes.append(Note("PreflightPassed", f"base model {self.seen.base.digest[:19]}…, the round starts"))
        # the clock of the budget starts here: waiting for a base round or for a fix costs nothing
        self.changes |= {"base_model": self.seen.base, "started_at": done, "spec_hash": self.seen.spec_hash}
        self.old = self.old.model_copy(update=self.changes)
        return True

    # ---- one stage ------------------------------------------------------------------------------------------------
    def _stage(self, definition: StageDef) -> None:
        stage, status = definition.stage, self.stages[definition.stage]
        if status.state in (StageState.SKIPPED, StageState.FAILED):
            return
        if status.state is StageState.SUCCEEDED:
            if definition.runs is Runs.POOL:
                self._served(definition, status)
            return
        if status.state is StageState.RUNNING:
            self._take(definition, advance(definition, status, self._view(definition)))
        elif gate.may_start(definition, *self._gate()):
            if gate.no_data(definition, self.seen):
                self._set(stage, state=StageState.SKIPPED, progress="no training data for this track")
                return
            self._take(definition, start(definition, status, self._view(definition)))
            self.notes.append(Note("StageStarted", f"{stage} attempt {self.stages[stage].attempt}"))

    def _served(self, definition: StageDef, status: StageStatus) -> None:
        """A pool that serves is watched as long as a stage needs it: one that failed or went is replaced."""
        run = self.seen.runs.get(definition.stage)
        if run is not None and run.ended is not None and not gate.pool_idle(definition.stage, self.stages, False):
            again = status.model_copy(update={"state": StageState.RUNNING})
            self._take(definition, advance(definition, again, self._view(definition)))
        elif gate.pool_needed_again(definition, *self._gate()):
            self._take(definition, start(definition, status, self._view(definition)))

    def _gate(self) -> tuple[dict[Stage, StageStatus], RoundSeen, bool, datetime]:
        return self.stages, self.seen, self.spec.suspend, self.now

    def _view(self, definition: StageDef) -> View:
        stage = definition.stage
        record = self.seen.records.get(stage, Record())
        return View(self.meta, self.now, self.times, self.seen.runs.get(stage), record)

    def _take(self, definition: StageDef, step: Step) -> None:
        stage, old = definition.stage, self.stages[definition.stage]
        self.stages[stage] = step.status
        self.actions += step.actions
        self.blocked = self.blocked or step.blocked
        if step.ended is not None:
            started = old.attempt_started_at
            self.attempts = remember(self.attempts, stage, old.attempt, step.ended, started, None, self.now)
            why = f"{step.ended.cause.value}/{step.ended.reason}: {step.ended.message}"
            said = f"{stage} attempt {old.attempt} ended by {why}"
            self.notes.append(Note("AttemptEnded", said, "Warning"))
            self._account(stage)
        if step.final and step.ended is not None:
            self._stage_failed(
                stage, f"{stage}: {step.ended.cause.value}/{step.ended.reason}: {step.ended.message} ({step.final})"
            )
        elif step.status.state is StageState.SUCCEEDED and old.state is not StageState.SUCCEEDED:
            self._succeeded(definition)

    def _stage_failed(self, stage: Stage, text: str) -> None:
        """A failed report does not take a verdict away; any other stage ends the round."""
        if stage is Stage.REPORT:
            self.notes.append(Note("ReportFailed", text, "Warning"))
        else:
            self.failed = (stage, text)

    def _succeeded(self, definition: StageDef) -> None:
        stage = definition.stage
        status = self.stages[stage]
        if definition.runs is Runs.RLJOB:
            self._account(stage)
        manifest = self.seen.records.get(stage, Record()).manifest
        text = f"{stage} done"
        if status.counts is not None and status.counts.in_ != "0":
            text = f"{stage}: {status.counts.in_} in, {status.counts.out} out, {status.counts.dropped} dropped"
        self.notes.append(Note("StageSucceeded", text))
        if manifest is None:
            return
        if manifest.standin:
            self.changes["standin"] = True
        self.changes |= finish.results(stage, manifest, self._suites(), self._status(), self.seen.models)

    def _suites(self) -> list[str]:
        return [suite.name for suite in self.spec.evaluation.suites]

    def _account(self, stage: Stage) -> None:
        """GPU-seconds of what just ended are added to the stage's."""
        spent = self.seen.gpu_seconds.get(stage, 0.0)
        if spent:
            total = float(self.stages[stage].gpu_seconds or 0) + spent
            self._set(stage, gpu_seconds=f"{total:.0f}")

    # ---- pools ----------------------------------------------------------------------------------------------------
    def _release_pools(self) -> None:
        """A pool goes when no stage needs it any more, or at a suspension's stage boundary."""
        for stage in (Stage.SERVE_BASE, Stage.SERVE_CANDIDATE):
            run = self.seen.runs.get(stage)
            if run is None or run.child.deleting or self.stages[stage].state is not StageState.SUCCEEDED:
                continue
            if gate.pool_idle(stage, self.stages, self.spec.suspend):
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
        text = "; ".join(s.progress for s in running if s.progress) or self._waiting_text()
        stage = next((s.name for s in running), None) or self.old.stage or Stage.PREPARE.value
        self.changes |= {"stage": stage, "progress": text[:1024]}
        endpoints.tell(self.board, running, self.seen, self.attempts)
        self.board.set(C.BUDGET_AVAILABLE, True, Reason.AVAILABLE, "")
        if self.spec.suspend and not any(s.state is StageState.RUNNING for s in running):
            self.changes["progress"] = "suspended: set spec.suspend to false to go on"
            self.board.working(Reason.SUSPENDED, str(self.changes["progress"]))
        elif self.blocked:
            self.board.blocked(Reason.POD_REFUSED, text)
        else:
            self.board.working(stage, "; ".join(said for s in running if (said := _said(s))) or text)
        return self._answer(self._pause(running))

    def _pause(self, running: list[StageStatus]) -> float:
        """Pools and RLJobs wake the round by their own status; only Jobs are polled for, in the store."""
        kinds = {graph.BY_STAGE[Stage(s.name)].runs for s in running if s.state is StageState.RUNNING}
        watched = bool(kinds) and Runs.JOB not in kinds and not self.actions
        return self.times.poll * (_WATCHED if watched else 1)

    def _waiting_text(self) -> str:
        if gate.pools_exist(self.seen) or self.seen.training_holds:
            return "waiting for the pods of the last stage to go, so that one model at a time needs memory"
        return "between stages"

    def _finish(self) -> Plan[FlywheelRoundStatus]:
        verdict = str(self._status().verdict or "Held")
        promoted = verdict == "Promoted"
        text = f"{verdict}: {self._status().score or 'no score'}"
        judged = self.seen.manifests.get(Stage.GATE)
        why = finish.reasons(judged) if judged else ""
        self.board.done(Reason.PROMOTED if promoted else Reason.HELD, text)
        self.board.set(C.PROMOTED, promoted, Reason.PROMOTED if promoted else Reason.HELD, why or text)
        self.notes.append(Note(verdict, f"{text}. {why}" if why else text))
        self._sweep()
        took = self.now - parse_time(self.old.started_at or format_time(self.now))
        spent = finish.spent(self.stages.values(), self.seen.models, took)
        self.changes |= {"stage": "Done", "progress": spent, "finished_at": format_time(self.now)}
        return self._answer(self.times.poll)

    def _fail(self, stage: Stage, text: str, reason: Reason = Reason.FAILED) -> Plan[FlywheelRoundStatus]:
        self.board.failed(reason, text)
        self.board.set(C.PROMOTED, False, Reason.FAILED, "the round failed before a verdict")
        self.notes.append(Note("Failed", text, "Warning"))
        self._sweep()
        self.changes |= {
            "stage": stage.value,
            "progress": text[:1024],
            "verdict": "Failed",
            "finished_at": format_time(self.now),
        }
        return self._answer(self.times.poll)

    def _exhausted(self) -> Problem | None:
        used = budget.tokens_used(self.stages.values())
        spent = sum(float(s.gpu_seconds or 0) for s in self.stages.values()) + sum(self.seen.gpu_seconds.values())
        return budget.exhausted(self.spec.budget, self.old.started_at, spent, used, self.now)

    def _out_of_budget(self, out: Problem) -> Plan[FlywheelRoundStatus]:
        self.board.set(C.BUDGET_AVAILABLE, False, out.reason, out.message)
        stage = next((Stage(s.name) for s in self.stages.values() if s.state is StageState.RUNNING), Stage.PREFLIGHT)
        for name, status in self.stages.items():
            if status.state in (StageState.RUNNING, StageState.WAITING):
                self._account(name)
                self._set(name, state=StageState.FAILED, finished_at=format_time(self.now), progress="budget exhausted")
        return self._fail(stage, out.message, Reason.BUDGET_EXHAUSTED)

    def _store_away(self, problem: Problem) -> Plan[FlywheelRoundStatus]:
        """Nothing is judged while the store is away: running children go on, the round pauses."""
        self.board.set(C.STORAGE_READY, False, problem.reason, problem.message)
        self.board.working(problem.reason, problem.message)
        return self._answer(self.times.preflight)

    def _settled(self) -> Plan[FlywheelRoundStatus]:
        if self.old.spec_hash and self.seen.spec_hash and self.old.spec_hash != self.seen.spec_hash:
            text = "spec was changed after the round ended: nothing runs again; apply a new round under another name"
            self.board.set(C.RECONCILING, False, Reason.SPEC_CHANGED, text)
        self._sweep()
        return self._answer(self.times.poll if self.actions else None)

    def _sweep(self) -> None:
        """Children that run or hold hardware go; Jobs and RLJobs that ended stay, with their logs and curves."""
        done = {a.name for a in self.actions}
        for run in self.seen.runs.values():
            ended = run.child.kind != "RolloutPool" and run.state in (RunState.SUCCEEDED, RunState.ENDED)
            if not ended and not run.child.deleting and run.child.name not in done:
                self.actions.append(delete(run.child))
        self.actions += [delete(c) for c in self.seen.strays if not c.deleting and c.name not in done]

    # ---- small parts ----------------------------------------------------------------------------------------------
    def _set(self, stage: Stage, **changes: object) -> None:
        self.stages[stage] = self.stages[stage].model_copy(update=changes)

    def _status(self) -> FlywheelRoundStatus:
        return self.old.model_copy(update=self.changes)

    def _answer(self, requeue: float | None) -> Plan[FlywheelRoundStatus]:
        self.changes |= {
            "observed_generation": self.meta.generation,
            "base": self.old.base or texts.base(self.spec.base),
            "conditions": self.board.result(),
            "stages": [self.stages[d.stage] for d in PIPELINE],
            "attempts": self.attempts,
        }
        status = finish.with_usage(self.old, self._status(), self.now)
        return Plan(status, tuple(self.actions), tuple(self.notes), requeue)
