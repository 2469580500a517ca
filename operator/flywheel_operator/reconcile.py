"""Reconcile one key: read, parse, observe, plan, render; then one status write if it differs, then the effects."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from flywheel_api.base import ApiModel, StatusModel
from flywheel_api.common import AttemptStatus
from flywheel_api.conditions import Condition, Reason
from flywheel_api.names import ANNOTATION_PAGE, LABEL_OWNER_UID
from flywheel_operator.execute import Outcome, execute, write_status
from flywheel_operator.logs import get_logger
from flywheel_operator.model import Act, Action, Effect, Meta, Note, Object, Plan, Problem
from flywheel_operator.patience import Patience
from flywheel_operator.plan.conditions import Conditions
from flywheel_operator.ports.errors import Conflict, NotFound
from flywheel_operator.ports.kinds import KubeApi, Resource, owner_uid
from flywheel_operator.queue import Key, NotBefore

log = get_logger(__name__)
_AT_ONCE = 0.05
_DECISIONS = 3  # of one look
_LEAVING = 15.0  # seconds between looks at what an object that is being deleted leaves behind


class Seen(Protocol):
    """An observation: any of the frozen values of `model`."""

    @property
    def refused(self) -> Problem | None:
        """What the API server said to the last effects."""


Sp = TypeVar("Sp", bound=ApiModel)
St = TypeVar("St", bound=StatusModel)
O = TypeVar("O", bound=Seen)  # noqa: E741 (an observation)


@dataclass(frozen=True)
class Subject(Generic[Sp, St, O]):
    """A kind under reconciliation: its models, what observes, plans and renders it, and the kinds that it makes."""

    resource: Resource
    spec: type[Sp]
    status: type[St]
    see: Callable[[Meta, Sp, St, datetime], Awaitable[O]]
    plan: Callable[[Meta, Sp, St, O, datetime], Plan[St]]
    render: Callable[[Meta, Sp, St, O, Action], Object]
    makes: tuple[Resource, ...]


def utc_now() -> datetime:
    """The operator's clock."""
    return datetime.now(UTC)


class Reconciler:
    """The queue's handler."""

    def __init__(
        self,
        kube: KubeApi,
        subjects: dict[str, Subject[Any, Any, Any]],
        clock: Callable[[], datetime] = utc_now,
        ended: Callable[[str, AttemptStatus], None] = lambda _kind, _ended: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._kube, self._subjects, self._clock, self._ended = kube, subjects, clock, ended
        self._chance = chance
        self._patience: dict[Key, Patience] = {}

    async def __call__(self, key: Key) -> float | NotBefore | None:
        """Seconds until the next look, or None. Raises port errors: the queue backs off."""
        subject = self._subjects[key.kind]
        obj = await self._kube.get(subject.resource, key.namespace, key.name)
        if obj is None:
            self._patience.pop(key, None)
            return None  # children went with their owner; what lies in the store stays
        try:
            if "deletionTimestamp" in obj["metadata"]:
                return await self._leave(subject, obj["metadata"])
            with self._patient(key, meta_of(obj)) as patience:
                return await self._reconcile(subject, obj, patience)
        except Conflict:
            return _AT_ONCE  # somebody wrote meanwhile: read again
        except NotFound:
            return 1.0

    async def _leave(self, subject: Subject[Any, Any, Any], meta: Object) -> float | None:
        """An object that is being deleted takes its children along; where somebody's finalizer holds it, they go first.

        Whoever deletes with `--cascade=orphan` keeps them.
        """
        if "orphan" in meta.get("finalizers", ()):
            return None
        labels, left = {LABEL_OWNER_UID: meta["uid"]}, 0
        for kind in subject.makes:
            for child in await self._kube.list(kind, meta["namespace"], labels):
                if owner_uid(child) == meta["uid"]:
                    left += 1
                    if "deletionTimestamp" not in (of := child["metadata"]):
                        await self._kube.delete(kind, of["namespace"], of["name"], of["uid"])
        return _LEAVING if left else None

    @contextmanager
    def _patient(self, key: Key, meta: Meta) -> Iterator[Patience]:
        """What that incarnation was refused, kept while there is any: whoever has it has a next look as well."""
        patience = self._patience.pop(key, None)
        if patience is None or patience.uid != meta.uid:
            patience = Patience(meta.uid, meta.generation, self._chance)
        try:
            yield patience
        finally:
            if patience.held:
                self._patience[key] = patience

    async def _reconcile(
        self, subject: Subject[Any, Any, Any], obj: Object, patience: Patience
    ) -> float | NotBefore | None:
        meta, now = meta_of(obj), self._clock()
        try:
            status = subject.status.model_validate(obj.get("status") or {})
            spec = subject.spec.model_validate(obj.get("spec") or {})
        except ValidationError as error:
            await self._say_unreadable(obj, error, now)
            return None
        seen, plan = await self._decide(subject, meta, spec, status, patience.said(), now)
        asked = patience.due(plan.actions, meta.generation, now)
        effects = [self._effect(subject, meta, spec, plan, seen, action) for action in asked]
        outcome = await execute(self._kube, obj, plan.status, effects, plan.notes)
        for attempt in _new_attempts(status, plan.status) if outcome.wrote else ():
            self._ended(subject.resource.kind, attempt)
        patience.learn(asked, outcome.failed, self._clock())
        return self._next(plan, seen.refused, outcome, patience)

    def _next(
        self, plan: Plan[Any], before: Problem | None, outcome: Outcome, patience: Patience
    ) -> float | NotBefore | None:
        """When the next look comes. What is said other than `before` of refusals is written at once."""
        now, said = self._clock(), patience.said()
        if said != before and (said is None or not _says(plan.status.conditions, said)):
            return _AT_ONCE
        if (left := patience.left_alone(now)) > 0:
            return NotBefore(left)
        return _AT_ONCE if outcome.wrote and plan.more else _earlier(plan.requeue, patience.next(now))

    async def _decide(
        self,
        subject: Subject[Any, Any, Any],
        meta: Meta,
        spec: Any,
        status: Any,
        refused: Problem | None,
        now: datetime,
    ) -> tuple[Any, Plan[Any]]:
        """What is seen, and what follows. A decision that has no effect is not written before the next one (law 11)."""
        notes = tuple[Note, ...]()
        for _ in range(_DECISIONS):
            seen = replace(await subject.see(meta, spec, status, now), refused=refused)
            plan = subject.plan(meta, spec, status, seen, now)
            notes += plan.notes
            if plan.actions or not plan.more:
                break
            status = plan.status
        return seen, replace(plan, notes=notes)

    def _effect(
        self, subject: Subject[Any, Any, Any], meta: Meta, spec: Any, plan: Plan[Any], seen: Any, action: Action
    ) -> Effect:
        body = None if action.act is Act.DELETE else subject.render(meta, spec, plan.status, seen, action)
        return Effect(action, body)

    async def _say_unreadable(self, obj: Object, error: ValidationError, now: datetime) -> None:
        """A spec or status that does not parse is a condition, never an exception for ever; nothing else is touched."""
        status = obj.get("status") or {}
        known = []
        for entry in status.get("conditions") or []:
            try:
                known.append(Condition.model_validate(entry))
            except ValidationError:
                continue
        where = "status" if error.title.endswith("Status") else "spec"
        reason = Reason.INVALID_SPEC if where == "spec" else Reason.STATUS_UNREADABLE
        conditions = Conditions(known, meta_of(obj).generation, now)
        conditions.blocked(reason, _explain(where, error))
        wire = {**status, "conditions": [c.dump() for c in conditions.result()]}
        wire["observedGeneration"] = meta_of(obj).generation
        wire.pop("specHash", None)  # of a spec that could be read
        await write_status(self._kube, obj, wire)


def meta_of(obj: Object) -> Meta:
    """Identity of an object."""
    m = obj["metadata"]
    page = (m.get("annotations") or {}).get(ANNOTATION_PAGE, "")
    return Meta(m["name"], m["namespace"], m["uid"], int(m.get("generation", 0)), page)


def _new_attempts(old: Any, new: Any) -> list[AttemptStatus]:
    """Attempts whose end this write was the first to say."""
    known = {(a.stage, a.attempt) for a in old.attempts}
    return [a for a in new.attempts if (a.stage, a.attempt) not in known]


def _says(conditions: list[Condition], problem: Problem) -> bool:
    return any(c.type == "Ready" and c.status == "False" and c.reason == problem.reason for c in conditions)


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((when for when in (one, other) if when is not None), default=None)


def _explain(where: str, error: ValidationError) -> str:
    """The first few problems in one sentence each, and what to do."""
    said = [f"{where}.{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()[:3]]
    if where == "spec":
        return "; ".join(said) + "; apply a corrected object"
    return (
        "; ".join(said) + "; it was written by another release: run the operator of that release, or delete the object"
    )
