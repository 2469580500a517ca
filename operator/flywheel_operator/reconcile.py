"""Reconcile one key: read fresh, parse, observe, plan, execute, one status write if it differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from flywheel_api.conditions import ConditionType, Reason
from flywheel_operator.controllers.base import Controller, meta_of
from flywheel_operator.execute import Refused, execute, write_status
from flywheel_operator.logs import get_logger
from flywheel_operator.plan.conditions import Board
from flywheel_operator.plan.types import Problem
from flywheel_operator.ports.errors import Conflict, NotFound
from flywheel_operator.ports.kinds import KubeApi, Object
from flywheel_operator.queue import Key

log = get_logger(__name__)
_SUMMARY = frozenset({ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED})
_AT_ONCE = 0.05
_REFUSED_AGAIN = 15.0  # seconds until an effect that was refused is tried again


def utc_now() -> datetime:
    """The operator's clock."""
    return datetime.now(UTC)


class Reconciler:
    """The queue's handler."""

    def __init__(
        self, kube: KubeApi, controllers: Mapping[str, Controller], clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._kube, self._controllers, self._clock = kube, controllers, clock
        self._refused: dict[str, Problem] = {}  # by uid: what the API server refuses; lost at a restart without harm

    async def __call__(self, key: Key) -> float | None:
        """Seconds until the next look, or None. Raises port errors: the queue backs off."""
        controller = self._controllers[key.kind]
        obj = await self._kube.get(controller.resource, key.namespace, key.name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return None  # children go with their owner; what lies in the store stays
        try:
            return await self._reconcile(controller, obj)
        except Conflict:
            return _AT_ONCE  # somebody wrote meanwhile: read again
        except NotFound:
            return 1.0

    async def _reconcile(self, controller: Controller, obj: Object) -> float | None:
        status: Any = controller.status_model.model_validate(obj.get("status") or {})
        try:
            spec = controller.spec_model.model_validate(obj.get("spec") or {})
        except ValidationError as error:
            await self._say(obj, status, Problem(Reason.INVALID_SPEC, _explain(error)))
            return None
        plan, seen = await controller.decide(meta_of(obj), spec, status, self._clock())
        uid = str(obj["metadata"]["uid"])
        known = self._refused.pop(uid, None)
        if known is not None and plan.actions:
            # tried again below; until it works the condition stays as it is, so that nothing flaps
            plan = replace(plan, status=self._still_refused(status, plan.status, known, meta_of(obj).generation))
        try:
            await execute(self._kube, controller, obj, spec, plan, seen)
        except Refused as refused:
            self._refused[uid] = refused.problem
            fresh = await self._kube.get(controller.resource, obj["metadata"]["namespace"], obj["metadata"]["name"])
            if fresh is not None:
                await self._say(
                    fresh, controller.status_model.model_validate(fresh.get("status") or {}), refused.problem
                )
            return _REFUSED_AGAIN
        return plan.requeue if known is None else _AT_ONCE

    async def _say(self, obj: Object, status: Any, problem: Problem) -> None:
        """A condition that tells a person what to mend."""
        await write_status(self._kube, obj, self._with(status, problem, meta_of(obj).generation))

    def _still_refused(self, old: Any, planned: Any, problem: Problem, generation: int) -> Any:
        """The planned status with the conditions as they were said; equal to the old one if only time went by."""
        said = {c.type: c for c in old.conditions if c.type in _SUMMARY}
        kept = planned.model_copy(update={"conditions": [said.get(c.type, c) for c in planned.conditions]})
        found = self._with(kept, problem, generation)
        timeless = found.model_copy(update={"usage": old.usage}) if hasattr(old, "usage") else found
        return old if timeless == old else found

    def _with(self, status: Any, problem: Problem, generation: int) -> Any:
        board = Board(status.conditions, generation, self._clock())
        board.blocked(problem.reason, problem.message)
        return status.model_copy(update={"conditions": board.result(), "observed_generation": generation})


def _explain(error: ValidationError) -> str:
    """The first few problems of a spec in one sentence each."""
    said = [f"spec.{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()[:3]]
    return "; ".join(said) + "; apply a corrected object"
