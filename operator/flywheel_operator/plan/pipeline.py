"""The stages of a round carried forward, one step each: started, taken over, judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from flywheel_api.artifacts import log_prefix, runs_prefix
from flywheel_api.base import format_time, parse_time
from flywheel_api.conditions import ConditionType, Reason
from flywheel_api.presets import pool_template
from flywheel_api.results import Verdict
from flywheel_api.round import FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import PIPELINE, TRAIN_STAGE, Runs, Stage, StageDef
from flywheel_operator.model import Content, Plan, Problem, Record, Training, delete
from flywheel_operator.plan import content, graph, results, texts
from flywheel_operator.plan.draft import Draft
from flywheel_operator.plan.retry import remember
from flywheel_operator.plan.round_ends import fail, finish, out_of_budget, over
from flywheel_operator.plan.round_goes_on import go_on
from flywheel_operator.plan.stage import Step, View, advance, resume, reuse, start, to_greet
from flywheel_operator.plan.starts import Starts

C = ConditionType
_HELD = "nothing was promoted"


class Pipeline:
    """All stages, each one step on."""

    def __init__(self, draft: Draft) -> None:
        self.draft, self.seen, self.stages = draft, draft.seen, draft.stages
        gpus = pool_template(draft.spec).gpus_per_replica > 0
        self.starts = Starts(draft.stages, draft.seen, draft.spec.suspend, draft.now, gpus, graph.unasked(draft.spec))
        self.failed: tuple[Stage, str, Reason] | None = None
        self.said: dict[Stage, Reason] = {}

    def plan(self) -> Plan[FlywheelRoundStatus]:
        """The first stage that fails for good ends the round."""
        for definition in PIPELINE[1:]:
            self._stage(definition)
            if self.failed is not None:
                fail(self.draft, *self.failed)
                return self.close()
        self._release_pools()
        self._page_so_far()
        if all(self.stages[stage].state in graph.OVER for stage in graph.LAST):
            return finish(self.draft)
        return go_on(self.draft, self.starts, self.said)

    def exhausted(self, out: Problem) -> Plan[FlywheelRoundStatus]:
        """The budget is used up. A verdict that was given stands; what follows it goes without."""
        out_of_budget(self.draft, out)
        return self.close()

    def close(self) -> Plan[FlywheelRoundStatus]:
        """Its end is decided: only the page that tells of it is still made, without the hardware, and not for long."""
        self.draft.sweep(but=Stage.REPORT)
        if not self._page():
            return self.draft.answer(self.draft.times.poll)
        return over(self.draft) if self.draft.status.verdict is Verdict.FAILED else finish(self.draft)

    def _page(self) -> bool:
        """One step of the report; whether it is over."""
        definition, draft = graph.BY_STAGE[Stage.REPORT], self.draft
        status, limit = self.stages[Stage.REPORT], timedelta(seconds=draft.times.stage_stall)
        view = replace(self._view(definition), content=self._content_of_page())
        if status.state in graph.OVER:
            return True
        if status.started_at is not None and draft.now - parse_time(status.started_at) > limit:
            done = format_time(draft.now)
            draft.set(Stage.REPORT, state=StageState.FAILED, finished_at=done, progress="took too long")
        elif status.state is StageState.RUNNING:
            self._take(definition, advance(definition, status, view))
        elif status.not_before is None or draft.now >= parse_time(status.not_before):
            self._take(definition, start(definition, status, view))
        return self.stages[Stage.REPORT].state in graph.OVER

    def _page_so_far(self) -> None:
        """Where a stage that runs has drawn it; the address stays."""
        drawn = (record.progress.report for record in self.seen.records.values() if record.progress is not None)
        if self.draft.status.report is None and (uri := next(filter(None, drawn), None)):
            self.draft.change(report=uri[:1024])

    def _content_of_page(self) -> Content:
        draft, digests = self.draft, graph.digests_of(self.stages)
        return content.of_stage(Stage.REPORT, draft.meta, draft.spec, draft.status, digests, None, {})

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
            skipped = "not needed: what it would serve was done before"
            self.draft.set(stage, state=StageState.SKIPPED, progress=skipped)
        elif graph.ready(definition, self.stages) and not self.draft.spec.suspend:
            self._begin(definition, status)

    def _begin(self, definition: StageDef, status: StageStatus) -> None:
        """A stage whose turn has come: skipped, taken over, or started."""
        view = self._view(definition)
        if content.no_data(definition.stage, content.seen_package(self.seen)):
            self.draft.set(definition.stage, state=StageState.SKIPPED, progress="no training data for this track")
        elif definition.stage is Stage.EXPORT and self.draft.status.verdict is not Verdict.PROMOTED:
            self.draft.set(definition.stage, state=StageState.SKIPPED, progress=_HELD)
            self.draft.conditions.set(C.EXPORTED, False, Reason.HELD, _HELD)
        elif (
            view.record.manifest is not None
            and view.content is not None
            and not (status.attempt and to_greet(status, view))
        ):
            self._take(definition, reuse(status, view))
        elif self.starts.may_start(definition):
            if graph.asks(definition) and not self._greeted():
                return
            self._take(definition, start(definition, status, self._as_it_was(status, view)))
            text = f"{definition.stage} attempt {self.stages[definition.stage].attempt} starts"
            self.draft.note("StageStarted", text, follows=True)

    def _greeted(self) -> bool:
        """Whether the round's endpoints were asked by this round; a Prepare that was taken over is opened again for it.

        Not before somebody will be asked: a round that takes everything over needs no server.
        """
        definition, status = graph.BY_STAGE[Stage.PREPARE], self.stages[Stage.PREPARE]
        if status.attempt > 0 or status.state is not StageState.SUCCEEDED:
            return status.state is StageState.SUCCEEDED
        self._take(definition, start(definition, status, self._as_it_was(status, self._view(definition))))
        self.draft.note("StageStarted", "Prepare was taken over: its endpoints are asked anew")
        return False

    @staticmethod
    def _as_it_was(status: StageStatus, view: View) -> View:
        """A stage with a result keeps what it was made of, even if a file has changed since: others have read it."""
        return view if status.manifest is None else replace(view, content=Content(status.content_key or "", {}))

    def _served(self, definition: StageDef, status: StageStatus) -> None:
        """A pool that serves is watched as long as a stage needs it: one that failed or went is replaced."""
        run = self.seen.runs.get(definition.stage)
        if run is not None and run.ended is not None and not self.starts.pool_idle(definition.stage):
            again = status.model_copy(update={"state": StageState.RUNNING})
            self._take(definition, advance(definition, again, self._view(definition)))
        elif self.starts.pool_needed_again(definition):
            # one that we let go comes back under its name: a Job that was held back meanwhile asks it by that
            anew = resume if status.child is None else start
            self._take(definition, anew(definition, status, self._view(definition)))

    def _view(self, definition: StageDef) -> View:
        stage, seen, draft = definition.stage, self.seen, self.draft
        return View(
            draft.meta,
            draft.now,
            draft.times,
            seen.runs.get(stage),
            seen.records.get(stage, Record()),
            seen.content.get(stage),
            seen.trainings.get(stage),
            self._wanted(stage) if stage in seen.trainings else None,
            draft.conditions.refusal(seen.refused),
        )

    def _wanted(self, stage: Stage) -> Training | None:
        """The RLJob that would be created for a training now."""
        package, draft = content.seen_package(self.seen), self.draft
        if package is None:
            return None
        digests = graph.digests_of(self.stages)
        return Training(content.training_of(stage, draft.spec, draft.status, digests, package), False)

    def _take(self, definition: StageDef, step: Step) -> None:
        stage, old, draft = definition.stage, self.stages[definition.stage], self.draft
        self.stages[stage] = step.status
        draft.actions += step.actions
        if step.said is not None:
            self.said[stage] = step.said
        if step.ended is not None:
            why = f"{step.ended.cause.value}/{step.ended.reason}: {step.ended.message}"
            draft.note("AttemptEnded", f"{stage} attempt {old.attempt} ended by {why}", warning=True)
            known, began = draft.status.attempts, old.attempt_started_at
            log = self._log(definition, old.attempt)
            draft.change(attempts=remember(known, stage, old.attempt, step.ended, began, None, draft.now, log))
            draft.account(stage)
            if step.final:
                self._stage_failed(stage, f"{stage}: {why} ({step.final})", step.reason)
        elif step.status.state is StageState.SUCCEEDED and old.state is not StageState.SUCCEEDED:
            self._succeeded(definition)

    def _log(self, definition: StageDef, attempt: int) -> str | None:
        """Where the output of a stage's attempt is kept; a training keeps it by its own attempts, a pool not at all."""
        if definition.runs is Runs.JOB:
            return log_prefix(self.draft.meta.uid, definition.stage, attempt)
        run = self.seen.runs.get(definition.stage)
        return runs_prefix(run.child.uid, TRAIN_STAGE) if definition.runs is Runs.RLJOB and run is not None else None

    def _stage_failed(self, stage: Stage, text: str, reason: Reason) -> None:
        """A failed export or report does not take a verdict away; any other stage ends the round."""
        if stage not in graph.LAST:
            self.failed = (stage, text, reason)
            return
        self.draft.note(f"{stage}Failed", text, warning=True)
        if stage is Stage.EXPORT:
            self.draft.conditions.set(C.EXPORTED, False, Reason.EXPORT_FAILED, text)

    def _succeeded(self, definition: StageDef) -> None:
        stage, record = definition.stage, self.seen.records.get(definition.stage, Record())
        if definition.runs is Runs.RLJOB:
            self.draft.account(stage)
        self.draft.notes.append(texts.succeeded(self.stages[stage]))
        if record.manifest is None:
            return
        if record.manifest.standin:
            self.draft.change(standin=True)
        if stage is Stage.EXPORT:
            self.draft.conditions.set(C.EXPORTED, True, Reason.AVAILABLE, "")
        self.draft.change(
            **results.taken_over(
                self.stages[stage], record.manifest, self.draft.status, self.seen.model_uri, record.progress
            )
        )

    # ---- pools ----------------------------------------------------------------------------------------------------
    def _release_pools(self) -> None:
        """A pool goes when no stage needs it any more, or would only wait: suspended, or queued behind others."""
        for stage in graph.POOLS:
            run, status = self.seen.runs.get(stage), self.stages[stage]
            if (
                status.attempt
                and status.state in (StageState.RUNNING, StageState.WAITING)
                and self.starts.pool_over(stage)
            ):
                # it went while the last of its stages ended: nobody will ask it again
                done = format_time(self.draft.now)
                self.draft.set(stage, state=StageState.SUCCEEDED, finished_at=done, not_before=None, progress=None)
                status = self.stages[stage]
            if run is None or run.child.deleting or status.state not in (StageState.SUCCEEDED, StageState.RUNNING):
                continue
            if not self.starts.pool_idle(stage):
                continue
            self.draft.actions.append(delete(run.child))
            if status.child is not None:
                self.draft.account(stage)
                self.draft.set(stage, child=None, progress=None)
                if status.state is StageState.SUCCEEDED:
                    self.draft.set(stage, finished_at=format_time(self.draft.now))
                else:
                    self.draft.set(stage, state=StageState.WAITING)
        self.draft.actions += [delete(child) for child in self.seen.strays if not child.deleting]
