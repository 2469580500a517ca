"""A round that goes on: what its summary says of the stages that run, and when it is looked at again."""

from __future__ import annotations

from collections.abc import Mapping

from flywheel_api.base import parse_time
from flywheel_api.conditions import ConditionType, Reason
from flywheel_api.resources import POOL
from flywheel_api.round import FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import Runs, Stage
from flywheel_operator.model import Plan, Record
from flywheel_operator.plan import attempt, graph, texts
from flywheel_operator.plan.draft import Draft
from flywheel_operator.plan.starts import Starts

C = ConditionType


def go_on(draft: Draft, starts: Starts, said: Mapping[Stage, Reason]) -> Plan[FlywheelRoundStatus]:
    """The plan of a round that has not ended; `said` are the words of stages that do not simply run."""
    running = [s for s in draft.stages.values() if s.state in (StageState.RUNNING, StageState.WAITING)]
    text = "; ".join(s.progress for s in running if s.progress) or _between_stages(starts)
    stage = next((s.name for s in running), None) or draft.status.stage or Stage.PREPARE.value
    draft.change(stage=stage, progress=texts.line(text))
    waiting = texts.waiting_for_endpoints(running, draft.seen.records, draft.status.attempts)
    reason = Reason.ENDPOINT_UNAVAILABLE if waiting else Reason.AVAILABLE
    draft.conditions.set(C.ENDPOINTS_AVAILABLE, not waiting, reason, waiting)
    draft.conditions.set(C.BUDGET_AVAILABLE, True, Reason.AVAILABLE, "")
    idle = not any(s.state is StageState.RUNNING for s in running)
    if draft.spec.suspend and idle:
        text = "suspended: set spec.suspend to false to go on"
        draft.change(progress=text)
        draft.conditions.working(Reason.SUSPENDED, text)
        return draft.answer(None)  # the change of spec wakes it; a resync looks after the wall clock
    if draft.seen.stuck and idle:
        draft.change(progress=draft.seen.stuck)
        draft.conditions.blocked(Reason.PODS_STUCK, draft.seen.stuck)
    elif Reason.POD_REFUSED in said.values():
        draft.conditions.blocked(Reason.POD_REFUSED, text)
    else:
        detail = "; ".join(words for s in running if (words := texts.with_child(s))) or text
        draft.conditions.working(_reason(running, said) or stage, detail)
    return draft.answer(_pause(draft, running))


def _reason(running: list[StageStatus], said: Mapping[Stage, Reason]) -> Reason | None:
    """The word for what everybody waits for; None where the stage's name says enough."""
    if Reason.API_REFUSES in said.values():
        return Reason.API_REFUSES
    at_work = [Stage(s.name) for s in running if s.state is StageState.RUNNING]
    queued = bool(at_work) and all(said.get(stage) is Reason.QUEUED for stage in at_work)
    return Reason.QUEUED if queued else None


def _between_stages(starts: Starts) -> str:
    if starts.pools_exist() or starts.training_holds():
        return "waiting for the pods of the last stage to go, so that one model at a time needs memory"
    return "between stages"


def _pause(draft: Draft, running: list[StageStatus]) -> float:
    """Until something may have moved that no watch tells the round of: a Job's progress, pods of a pool that went."""
    served = any(run.child.kind == POOL.kind for run in draft.seen.runs.values())
    if draft.actions or (draft.seen.pool_pods and not served):
        return draft.times.poll
    return min((_pause_of(draft, status) for status in running), default=draft.times.poll)


def _pause_of(draft: Draft, status: StageStatus) -> float:
    stage, now, poll = Stage(status.name), draft.now, draft.times.poll
    if status.state is StageState.WAITING:
        due = parse_time(status.not_before) if status.not_before else now
        return max(poll, (due - now).total_seconds())
    if status.awaited_since is not None:
        return poll
    if graph.BY_STAGE[stage].runs is not Runs.JOB:
        return attempt.LONGEST_PAUSE  # pools and RLJobs wake the round by their own status
    began = status.queued_since or status.starting_since
    moved = draft.seen.records.get(stage, Record()).advanced_at or (parse_time(began) if began else now)
    return attempt.pause(moved, now, poll)
