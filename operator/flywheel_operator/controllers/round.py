"""FlywheelRound."""

from dataclasses import dataclass
from typing import Any

from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus
from flywheel_operator.controllers.base import Context
from flywheel_operator.plan.types import Plan
from flywheel_operator.ports.kinds import ROUNDS


@dataclass(frozen=True)
class RoundController:
    context: Context
    resource = ROUNDS
    spec_model = FlywheelRoundSpec
    status_model = FlywheelRoundStatus

    async def decide(self, meta: Any, spec: Any, status: Any, now: Any) -> Any:
        return Plan(status), None

    def render(self, meta: Any, spec: Any, action: Any, seen: Any) -> Any:
        raise NotImplementedError
