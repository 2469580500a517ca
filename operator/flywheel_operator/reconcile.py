"""Reconcile one key: read, parse, observe, plan, render; then one status write if it differs, then the effects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from flywheel_api.base import ApiModel, StatusModel
from flywheel_api.common import AttemptStatus
from flywheel_api.conditions import Condition, Reason
from flywheel_api.names import ANNOTATION_PAGE, LABEL_OWNER_UID
from flywheel_operator.execute import Outcome, execute, write_status
from flywheel_operator.logs import get_logger
from flywheel_operator.model import Act, Action, Effect, Meta, Note, Object, Plan, Problem
from flywheel_operator.plan.conditions import REFUSED_AGAIN, Conditions
from flywheel_operator.ports.errors import Conflict, NotFound, PortError, Retryable
from flywheel_operator.ports.kinds import KubeApi, Resource, owner_uid
from flywheel_operator.queue import Key, NotBefore

log = get_logger(__name__)
_AT_ONCE = 0.05
_DECISIONS = 3  # of one look
_LEAVING = 15.0  # seconds between looks at what an object that is being deleted leaves behind
_SAID_AFTER = timedelta(seconds=30)  # trouble that lasts so long is said: most passes before anybody could read of it


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


@dataclass
class _Memory:
    """What is kept of an object from one look to the next; a restart loses it, and the next looks find it again.

    `refused` is what the API server said to the last effects; while it is `untold`, a look writes it into status and
    does nothing else. `asked` are the seconds of patience that came with it, `trouble` is since when effects have
    failed at every look.
    """

    uid: str
    refused: Problem | None = None
    untold: bool = False
    asked: float = 0.0
    trouble: datetime | None = None


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
    ) -> None:
        self._kube, self._subjects, self._clock, self._ended = kube, subjects, clock, ended
        self._memories: dict[Key, _Memory] = {}

    async def __call__(self, key: Key) -> float | NotBefore | None:
        """Seconds until the next look, or None. Raises port errors: the queue backs off."""
        subject = self._subjects[key.kind]
        obj = await self._kube.get(subject.resource, key.namespace, key.name)
        if obj is None:
            self._memories.pop(key, None)
            return None  # children went with their owner; what lies in the store stays
        try:
            if "deletionTimestamp" in obj["metadata"]:
                return await self._leave(subject, obj["metadata"])
            with self._remembering(key, obj["metadata"]["uid"]) as memory:
                return await self._reconcile(subject, obj, memory)
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
    def _remembering(self, key: Key, uid: str) -> Iterator[_Memory]:
        """What is known of that incarnation, kept on while it says anything: whoever has it has a next look as well."""
        memory = self._memories.pop(key, None)
        if memory is None or memory.uid != uid:
            memory = _Memory(uid)
        try:
            yield memory
        finally:
            if memory.refused is not None or memory.trouble is not None:
                self._memories[key] = memory

    async def _reconcile(
        self, subject: Subject[Any, Any, Any], obj: Object, memory: _Memory
    ) -> float | NotBefore | None:
        meta, now = meta_of(obj), self._clock()
        try:
            status = subject.status.model_validate(obj.get("status") or {})
            spec = subject.spec.model_validate(obj.get("spec") or {})
        except ValidationError as error:
            await self._say_unreadable(obj, error, now)
            return None
        seen, plan = await self._decide(subject, meta, spec, status, memory, now)
        actions = () if memory.untold else plan.actions
        effects = [self._effect(subject, meta, spec, plan, seen, action) for action in actions]
        outcome = await execute(self._kube, obj, plan.status, effects, plan.notes)
        for attempt in _new_attempts(status, plan.status) if outcome.wrote else ():
            self._ended(subject.resource.kind, attempt)
        if memory.untold:  # what was refused is not tried again for having been told
            memory.untold = False
            return _patiently(memory.asked)
        return self._next(plan, outcome, memory, now)

    def _next(self, plan: Plan[Any], outcome: Outcome, memory: _Memory, now: datetime) -> float | NotBefore | None:
        """When the next look comes, by what became of the effects. Raises trouble that may pass by itself."""
        before, asked = memory.refused, _after(outcome.trouble)
        memory.refused = outcome.refused or _lasting(memory, outcome.trouble, now)
        if memory.refused is not None:
            if memory.refused == before or _says(plan.status.conditions, memory.refused):
                return _patiently(asked)
            memory.untold, memory.asked = True, asked
            return _AT_ONCE
        if outcome.trouble is not None:
            raise Retryable(str(outcome.trouble), asked) from outcome.trouble
        return _AT_ONCE if outcome.wrote and plan.more else plan.requeue

    async def _decide(
        self, subject: Subject[Any, Any, Any], meta: Meta, spec: Any, status: Any, memory: _Memory, now: datetime
    ) -> tuple[Any, Plan[Any]]:
        """What is seen, and what follows. A decision that has no effect is not written before the next one (law 11)."""
        notes = tuple[Note, ...]()
        for _ in range(_DECISIONS):
            seen = replace(await subject.see(meta, spec, status, now), refused=memory.refused)
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


def _after(trouble: PortError | None) -> float:
    """Seconds of patience that the other side asked for."""
    return (trouble.after if isinstance(trouble, Retryable) else None) or 0.0


def _lasting(memory: _Memory, trouble: PortError | None, now: datetime) -> Problem | None:
    """Trouble with effects as a person should read of it: it has lasted, or the other side asks for much time."""
    if trouble is None:
        memory.trouble = None
        return None
    since = memory.trouble = memory.trouble or now
    if max(now - since, timedelta(seconds=_after(trouble))) < _SAID_AFTER:
        return None
    return Problem(Reason.API_REFUSES, f"the API server does not take what is needed, it is asked again: {trouble}")


def _patiently(asked: float) -> NotBefore:
    """A pause before what was refused is tried again: what holds it back is mended without news for us."""
    return NotBefore(max(REFUSED_AGAIN, asked), asked)


def _explain(where: str, error: ValidationError) -> str:
    """The first few problems in one sentence each, and what to do."""
    said = [f"{where}.{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()[:3]]
    if where == "spec":
        return "; ".join(said) + "; apply a corrected object"
    return (
        "; ".join(said) + "; it was written by another release: run the operator of that release, or delete the object"
    )
