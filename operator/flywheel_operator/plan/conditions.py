"""Conditions that every kind has, set together so that kstatus never sees a contradiction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from flywheel_api.conditions import Condition, ConditionType, Reason, find_condition, set_condition
from flywheel_operator.model import NodesSeen, Problem

C = ConditionType
REFUSALS = frozenset({Reason.NAME_CONFLICT, Reason.FORBIDDEN, Reason.POD_REFUSED, Reason.API_REFUSES})
"""What the API server may say to an effect, which is tried again meanwhile; a person must act on all but ApiRefuses."""
REFUSED_AGAIN = 15.0  # seconds until an effect that was refused is tried again


class Conditions:
    """Conditions under construction for one object. A condition that is not set again keeps its value."""

    def __init__(self, conditions: Sequence[Condition], generation: int, now: datetime) -> None:
        self._items = self._before = tuple(conditions)
        self._generation = generation
        self._now = now

    def set(self, kind: ConditionType, status: bool | None, reason: str, message: str) -> None:
        """One condition."""
        self._items = set_condition(self._items, kind, status, reason, message, self._generation, self._now)

    def first_visit(self, extra: Mapping[ConditionType, str]) -> None:
        """Every condition that applies exists from the first write on, Unknown until something is known."""
        written = {c.type for c in self._items}
        for kind, message in extra.items():
            if kind.value not in written:
                self.set(kind, None, Reason.PENDING, message)

    def passed(self, store_note: str) -> None:
        """What had to be there before anything starts is there."""
        self.set(C.PREFLIGHT, True, Reason.PASSED, "")
        self.stored(store_note)

    def stored(self, note: str) -> None:
        """The store can be used; `note` is what people should know of it."""
        self.set(C.STORAGE_READY, True, Reason.AVAILABLE, note)

    def missing(self, problem: Problem, of_store: Problem | None) -> None:
        """What has to be there before anything starts is not; `of_store` is what is wrong with the store."""
        self.set(C.PREFLIGHT, False, problem.reason, problem.message)
        if of_store is not None:
            self.not_stored(of_store)

    def not_stored(self, problem: Problem) -> None:
        """The store cannot be used, whatever the word for it: where it was found says so, no list of words."""
        self.set(C.STORAGE_READY, False, problem.reason, problem.message)

    def nodes(self, seen: NodesSeen | None) -> None:
        """Whether nodes can hold what will be made; what was said before stays where nobody looked again."""
        if seen is not None:
            reason = {True: Reason.AVAILABLE, False: Reason.NO_NODE_FITS, None: Reason.PENDING}[seen.fit]
            self.set(C.NODES_FIT, seen.fit, reason, seen.text)

    def working(self, reason: str, message: str) -> None:
        """On its way, nothing for a person to do."""
        self.set(C.READY, False, reason, message)
        self.set(C.RECONCILING, True, reason, message)
        self.set(C.STALLED, False, Reason.NOT_STALLED, "")

    def blocked(self, reason: str, message: str) -> None:
        """A person must act; goes on by itself once that is done."""
        self.set(C.READY, False, reason, message)
        self.set(C.RECONCILING, False, reason, message)
        self.set(C.STALLED, True, reason, message)

    def failed(self, reason: str, message: str) -> None:
        """Ended for good without the result."""
        self.blocked(reason, message)

    def done(self, reason: str, message: str) -> None:
        """Ended for good with a result, or serving."""
        self.set(C.READY, True, reason, message)
        self.set(C.RECONCILING, False, reason, "")
        self.set(C.STALLED, False, Reason.NOT_STALLED, "")

    def refused(self, problem: Problem | None, waiting: bool) -> bool:
        """Keeps a refused effect in sight until it works: `problem` is news, `waiting` says that effects are planned.

        Whether the summary conditions speak of a refusal now.
        """
        if problem is None and waiting:
            problem = self._standing_refusal() or self._still_queued()
        if problem is None:
            return False
        say = self.working if problem.reason in (Reason.API_REFUSES, Reason.QUEUED) else self.blocked
        say(problem.reason, problem.message)
        return True

    def refusal(self, news: Problem | None) -> Problem | None:
        """Why the API server took an effect not, said now or at the last write and not taken back since."""
        return news or self._standing_refusal()

    def _still_queued(self) -> Problem | None:
        """What was queued and is: in the words of before, until it was tried again."""
        before, now = (find_condition(items, C.READY) for items in (self._before, self._items))
        if before is None or now is None or not before.reason == now.reason == Reason.QUEUED:
            return None
        return Problem(Reason.QUEUED, before.message)

    def _standing_refusal(self) -> Problem | None:
        said = find_condition(self._before, C.READY)
        if said is None or said.status == "True" or said.reason not in REFUSALS:
            return None
        return Problem(Reason(said.reason), said.message)

    def result(self) -> list[Condition]:
        """All conditions, in the order of their first visit; what ends as it was before has not moved."""
        before = {c.type: c for c in self._before}
        return [
            c.model_copy(update={"last_transition_time": old.last_transition_time})
            if (old := before.get(c.type)) is not None and old.status == c.status
            else c
            for c in self._items
        ]
