"""The condition EndpointsAvailable: which stages wait for a model endpoint, in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus
from flywheel_api.conditions import ConditionType, Reason
from flywheel_api.round import StageState, StageStatus
from flywheel_api.stages import Stage
from flywheel_operator.plan.conditions import Board
from flywheel_operator.plan.seen import RoundSeen
from flywheel_operator.plan.types import Record


def tell(board: Board, running: Iterable[StageStatus], seen: RoundSeen, attempts: Sequence[AttemptStatus]) -> None:
    """Sets the condition; nothing is lost while a stage waits."""
    waiting = []
    for status in running:
        progress = seen.records.get(Stage(status.name), Record()).progress
        last = next((a for a in reversed(attempts) if a.stage == status.name), None)
        if status.state is StageState.RUNNING and progress is not None and progress.waiting_for:
            waiting.append(f"{status.name} waits for {progress.waiting_for}")
        elif status.state is StageState.WAITING and last is not None and last.cause is Cause.ENDPOINT:
            waiting.append(f"{status.name}: {last.message}")
    if waiting:
        text = "; ".join(waiting) + "; finished items are kept, only missing ones run again"
        board.set(ConditionType.ENDPOINTS_AVAILABLE, False, Reason.ENDPOINT_UNAVAILABLE, text)
    else:
        board.set(ConditionType.ENDPOINTS_AVAILABLE, True, Reason.AVAILABLE, "")
