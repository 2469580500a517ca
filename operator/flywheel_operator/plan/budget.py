"""Hard stops of a round: GPU hours, wall clock and tokens, counted over all attempts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from flywheel_api.base import format_time, parse_decimal, parse_duration, parse_time
from flywheel_api.common import GpuAccount
from flywheel_api.conditions import Reason
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import BudgetSpec, RoleTokens, StageStatus
from flywheel_api.round_status import ChildAccount
from flywheel_operator.model import Problem


def zero(budget: BudgetSpec) -> Problem | None:
    """A budget of nothing stops before anything starts."""
    empty = []
    if budget.gpu_hours is not None and parse_decimal(budget.gpu_hours) <= 0:
        empty.append("gpuHours")
    empty += [f"tokens of {t.role.value}" for t in budget.tokens if int(t.limit) == 0]
    if not empty:
        return None
    text = f"spec.budget allows nothing: {', '.join(empty)} is zero; raise it (budget may be changed at any time)"
    return Problem(Reason.BUDGET_ZERO, text)


def gpu_seconds(account: GpuAccount, now: datetime) -> float:
    """GPU-seconds up to now: of GPUs that pods hold, not of those that they wait for."""
    since = parse_time(account.held_since) if account.held_since else now
    return float(account.gpu_seconds or 0) + max(0.0, (now - since).total_seconds()) * account.held_gpus


def held(account: GpuAccount, gpus: int, now: datetime) -> dict[str, object]:
    """What changes in an account when pods hold another number of GPUs."""
    if gpus == account.held_gpus:
        return {}
    spent = f"{gpu_seconds(account, now):.0f}"
    return {"gpu_seconds": spent, "held_gpus": gpus, "held_since": format_time(now) if gpus else None}


def stage_seconds(stage: StageStatus, now: datetime) -> float:
    """GPU-seconds of a stage: of what is done or gone, and of what carries it out now."""
    return float(stage.gpu_seconds or 0) + (gpu_seconds(stage.held, now) if stage.held else 0.0)


def paid(stage: StageStatus, now: datetime) -> StageStatus:
    """The stage when what carried it out is done or gone: what that spent is the stage's now, once."""
    if stage.held is None:
        return stage
    return stage.model_copy(update={"gpu_seconds": f"{stage_seconds(stage, now):.0f}", "held": None})


def followed(stage: StageStatus, child: ChildAccount | None, now: datetime) -> StageStatus:
    """The stage with its child's account as that is seen now.

    A child that is gone, whoever took it away, spent what it had spent and held, up to the look that misses it.
    """
    if stage.held is not None and (child is None or child.uid != stage.held.uid):
        stage = paid(stage, now)
    return stage if child == stage.held else stage.model_copy(update={"held": child})


def time_left(spec: RLJobSpec, status: RLJobStatus, now: datetime) -> timedelta:
    """What an RLJob's own wall clock leaves; a year where it has none."""
    if spec.wall_clock is None:
        return timedelta(days=365)
    began = parse_time(status.started_at) if status.started_at else now
    return began + parse_duration(spec.wall_clock) - now


def tokens_used(stages: Iterable[StageStatus]) -> dict[str, int]:
    """Tokens by role over these stages, all their attempts and what runs now included."""
    used: dict[str, int] = {}
    for stage in stages:
        for entry in stage.tokens:
            used[entry.role] = used.get(entry.role, 0) + int(entry.tokens)
    return used


def token_limit(budget: BudgetSpec, role: str) -> int | None:
    """What a role may use in the round; None without a limit."""
    return next((int(limit.limit) for limit in budget.tokens if limit.role.value == role), None)


def exhausted(
    budget: BudgetSpec, started_at: str | None, gpu_seconds: float, used: Mapping[str, int], now: datetime
) -> Problem | None:
    """What has run out, if anything."""
    if started_at is not None and now > parse_time(started_at) + parse_duration(budget.wall_clock):
        text = (
            f"budget.wallClock {budget.wall_clock} is over: apply a new round with more; the store keeps what is done"
        )
        return Problem(Reason.BUDGET_EXHAUSTED, text)
    if budget.gpu_hours is not None and Decimal(str(gpu_seconds)) / 3600 > parse_decimal(budget.gpu_hours):
        return Problem(Reason.BUDGET_EXHAUSTED, f"budget.gpuHours {budget.gpu_hours} is used up")
    for limit in budget.tokens:
        if used.get(limit.role.value, 0) > int(limit.limit):  # used exactly: whoever asks for more ends by that
            text = f"{used[limit.role.value]} of {limit.limit} tokens of role {limit.role.value} are used"
            return Problem(Reason.BUDGET_EXHAUSTED, text)
    return None


def as_list(used: Mapping[str, int]) -> list[RoleTokens]:
    """The wire form."""
    return [RoleTokens(role=role, tokens=str(count)) for role, count in sorted(used.items())][:8]
