"""How a round ends: with a verdict, by a stage that failed, or by its budget. What has ended stays ended (law 5)."""

from __future__ import annotations

from flywheel_api.base import format_time, parse_time
from flywheel_api.conditions import ConditionType, Reason
from flywheel_api.results import Verdict
from flywheel_api.round import FlywheelRoundStatus, StageState
from flywheel_api.stages import Stage
from flywheel_api.written import hash_of, moved, written
from flywheel_operator.model import Plan, Problem
from flywheel_operator.plan import graph, results, texts
from flywheel_operator.plan.draft import Draft

C = ConditionType
_OUT = "budget exhausted"


def finish(draft: Draft) -> Plan[FlywheelRoundStatus]:
    """With the gate's verdict."""
    verdict = draft.status.verdict or Verdict.HELD
    promoted = verdict is Verdict.PROMOTED
    text = f"{verdict.value}: {draft.status.score or 'no score'}"
    why = results.reasons(draft.seen.manifests.get(Stage.GATE))
    reason = Reason.PROMOTED if promoted else Reason.HELD
    draft.conditions.done(reason, text)
    draft.conditions.set(C.PROMOTED, promoted, reason, why or text)
    draft.note(verdict.value, f"{text}. {why}" if why else text)
    draft.sweep()
    took = draft.now - (parse_time(draft.status.started_at) if draft.status.started_at else draft.now)
    spent = results.spent(draft.stages, draft.seen.manifests, took)
    draft.change(stage="Done", progress=spent, finished_at=format_time(draft.now))
    return draft.answer(draft.times.poll)


def fail(draft: Draft, stage: Stage, text: str, reason: Reason) -> None:
    """Without a verdict. Whatever runs is ended and paid for; the report is still to come."""
    draft.conditions.failed(reason, text)
    draft.conditions.set(C.PROMOTED, False, Reason.FAILED, "the round failed before a verdict")
    draft.note("Failed", text, warning=True)
    why = _OUT if reason is Reason.BUDGET_EXHAUSTED else f"stopped: {stage} failed"
    for name, status in draft.stages.items():
        if status.state in (StageState.RUNNING, StageState.WAITING):
            draft.account(name)
            draft.set(name, state=StageState.FAILED, finished_at=format_time(draft.now), progress=why)
        elif name in graph.POOLS and status.child is not None:  # one that serves is done, and is paid for all the same
            draft.account(name)
            draft.set(name, child=None, finished_at=format_time(draft.now))
    draft.change(stage=stage.value, progress=texts.line(text), verdict=Verdict.FAILED)


def over(draft: Draft) -> Plan[FlywheelRoundStatus]:
    """A round that has failed, and whose report is made or will never be."""
    draft.sweep()
    draft.change(finished_at=format_time(draft.now))
    return draft.answer(draft.times.poll)


def out_of_budget(draft: Draft, out: Problem) -> None:
    """Whatever runs is ended and paid for. What the API server refused up to now is part of the reason."""
    draft.say(C.BUDGET_AVAILABLE, out)
    if draft.stages[Stage.GATE].state is StageState.SUCCEEDED:
        if draft.stages[Stage.EXPORT].state not in graph.OVER:
            draft.conditions.set(C.EXPORTED, False, Reason.EXPORT_FAILED, out.message)
            draft.account(Stage.EXPORT)
            draft.set(Stage.EXPORT, state=StageState.FAILED, finished_at=format_time(draft.now), progress=_OUT)
        return
    running = [Stage(s.name) for s in draft.stages.values() if s.state is StageState.RUNNING]
    refusal = draft.conditions.refusal(draft.seen.refused)
    text = f"{out.message}; the API server refused to the end: {refusal}" if refusal else out.message
    fail(draft, running[0] if running else Stage.PREFLIGHT, text, Reason.BUDGET_EXHAUSTED)


def settled(draft: Draft) -> Plan[FlywheelRoundStatus]:
    """The round is over: nothing runs again, whatever becomes of its spec and its children."""
    if moved(draft.old.spec_hash, hash_of(written(draft.spec))):
        text = (
            "spec was changed after the round ended: nothing runs again; apply a new round under another name, "
            "it takes over what is done"
        )
        draft.conditions.set(C.RECONCILING, False, Reason.SPEC_CHANGED, text)
    draft.sweep()
    return draft.answer(draft.times.poll if draft.actions else None)
