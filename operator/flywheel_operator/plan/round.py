"""FlywheelRound: the pipeline carried forward one look at a time, until a verdict, a budget or a failure ends it."""

from __future__ import annotations

from datetime import datetime

from flywheel_api.base import format_time
from flywheel_api.conditions import ConditionType, Reason
from flywheel_api.presets import by_round
from flywheel_api.results import Verdict
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus, StageState
from flywheel_api.stages import Stage
from flywheel_operator.model import Meta, Plan, Problem, RoundSeen, Timings
from flywheel_operator.plan import budget, graph
from flywheel_operator.plan.draft import Draft
from flywheel_operator.plan.pipeline import Pipeline
from flywheel_operator.plan.round_ends import settled

C = ConditionType


def plan_round(
    meta: Meta,
    spec: FlywheelRoundSpec,
    status: FlywheelRoundStatus,
    seen: RoundSeen,
    now: datetime,
    times: Timings,
) -> Plan[FlywheelRoundStatus]:
    """The next status and the effects that follow from it. What has ended stays ended (law 5)."""
    draft = Draft(meta, spec, status, seen, now, times)
    if status.finished_at is not None:
        return settled(draft)
    if status.verdict is Verdict.FAILED:
        return Pipeline(draft).close()
    out = budget.zero(spec.budget) or draft.exhausted()
    if draft.stages[Stage.PREFLIGHT].state is not StageState.SUCCEEDED:
        return _preflight(draft, out)
    if out is not None:
        return Pipeline(draft).exhausted(out)
    if seen.store_problem is not None:
        return _store_is_away(draft, seen.store_problem)
    draft.conditions.stored(seen.store_note)
    if seen.problem is not None:
        draft.conditions.blocked(seen.problem.reason, seen.problem.message)
        return draft.answer(times.preflight)
    return Pipeline(draft).plan()


def _store_is_away(draft: Draft, problem: Problem) -> Plan[FlywheelRoundStatus]:
    """Nothing is judged while the store is away: running children go on, the round pauses."""
    draft.say(C.STORAGE_READY, problem)
    draft.conditions.working(problem.reason, problem.message)
    return draft.answer(draft.times.preflight)


# ---- before anything costs money ------------------------------------------------------------------------------------
def _preflight(draft: Draft, out: Problem | None) -> Plan[FlywheelRoundStatus]:
    """The round begins, or says why it cannot."""
    seen = draft.seen
    began = draft.stages[Stage.PREFLIGHT].started_at or format_time(draft.now)
    draft.say(C.BUDGET_AVAILABLE, out)
    problem = seen.problem or seen.store_problem or out
    away = seen.store_problem
    draft.conditions.stored(seen.store_note) if away is None else draft.say(C.STORAGE_READY, away)
    draft.change(estimate=seen.estimate)
    draft.conditions.nodes(seen.nodes)
    if problem is not None or seen.waits_for is not None or seen.base is None:
        return _not_yet(draft, began, problem)
    done = format_time(draft.now)
    draft.set(Stage.PREFLIGHT, state=StageState.SUCCEEDED, started_at=began, finished_at=done, progress=None, attempt=1)
    fell_back = f"round {seen.held} was held: this one trains from its base" if seen.held else None
    passed = [text for text in (fell_back, seen.estimate and seen.estimate.note) if text]
    draft.conditions.set(C.PREFLIGHT, True, Reason.PASSED, "; ".join(passed))
    begins = "; ".join(text for text in (fell_back, f"base model {seen.base.digest[:19]}…, the round starts") if text)
    draft.note("PreflightPassed", begins)
    # the clock of the budget starts here: waiting for a base round or for a fix costs nothing
    draft.change(base_model=seen.base, started_at=done, rollouts=list(seen.rollouts)[:8], held_base=seen.held)
    draft.change(earlier=list(seen.earlier)[-16:], by_round=by_round(draft.spec, seen.number))
    draft.stages = graph.stages_of(draft.spec, draft.stages.values(), seen.base.digest)
    draft.change(stage=Stage.PREPARE.value, progress="the round starts")
    draft.conditions.working(Reason.STARTING, "the round starts")
    return draft.answer(draft.times.poll)


def _not_yet(draft: Draft, began: str, problem: Problem | None) -> Plan[FlywheelRoundStatus]:
    text = problem.message if problem else draft.seen.waits_for or "waiting for the base model"
    if problem and draft.stages[Stage.PREFLIGHT].progress != text[:256]:
        draft.note(problem.reason.value, text, warning=True)
    draft.set(Stage.PREFLIGHT, state=StageState.WAITING, started_at=began, progress=text[:256], attempt=1)
    reason = problem.reason if problem else Reason.WAITING
    draft.conditions.set(C.PREFLIGHT, False, reason, text)
    (draft.conditions.blocked if problem else draft.conditions.working)(reason, text)
    draft.change(stage=Stage.PREFLIGHT.value, progress=text[:1024])
    return draft.answer(draft.times.preflight)
