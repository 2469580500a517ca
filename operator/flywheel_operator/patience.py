"""What the API server did not take of one object's plans: when each effect may be asked for again, and what is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from flywheel_api.conditions import Reason
from flywheel_operator.model import Action, ActionId, Problem
from flywheel_operator.plan.conditions import REFUSED_AGAIN
from flywheel_operator.ports.errors import PortError, Retryable
from flywheel_operator.queue import FIRST_BACK_OFF, JITTER, MAX_ASKED

SAID_AFTER = timedelta(seconds=30)  # trouble that lasts so long is said: most passes before anybody could read of it


@dataclass(frozen=True)
class _Held:
    """An effect that was not taken `times` in a row, for the first time at `since`; it is left alone `until` then.

    `problem`: what a person should read of it, if anything yet.
    """

    since: datetime
    until: datetime
    times: int
    problem: Problem | None


@dataclass
class Patience:
    """Kept of an object from one look to the next; a restart loses it, and the next looks find it again.

    An effect that was refused is not asked for again before its time, whatever events come; everything else of the
    object goes on. Only where the server itself asked for patience is the whole object left alone, until `quiet`.
    `generation` is that of the spec that was last acted on: a spec that was changed since ends our own caution.
    """

    uid: str
    generation: int
    chance: Callable[[], float]
    held: dict[ActionId, _Held] = field(default_factory=dict)
    quiet: datetime | None = None

    def said(self) -> Problem | None:
        """The first that a person should read of; what is only held back says less than the rest."""
        problems = [held.problem for held in self.held.values() if held.problem is not None]
        return min(problems, key=lambda problem: problem.queued, default=None)

    def due(self, planned: Sequence[Action], generation: int, now: datetime) -> list[Action]:
        """Those that may be asked for now. What is not planned any more is not spoken of."""
        if generation != self.generation:
            self.generation = generation
            earliest = max(now, self.quiet or now)
            self.held = {which: replace(held, until=earliest) for which, held in self.held.items()}
        wanted = {action.id for action in planned}
        self.held = {
            which: held if which in wanted else replace(held, problem=None)
            for which, held in self.held.items()
            if which in wanted or held.until > now
        }
        if self.left_alone(now) > 0:
            return []
        return [action for action in planned if action.id not in self.held or self.held[action.id].until <= now]

    def learn(self, asked: Sequence[Action], failed: Mapping[ActionId, Problem | PortError], now: datetime) -> None:
        """What became of the effects that were asked for.

        One that is refused again keeps its place in `held`: each has its own time, and of two, what is said would be
        now of the one and now of the other.
        """
        for action in asked:
            if (answer := failed.get(action.id)) is None:
                self.held.pop(action.id, None)
            else:
                self.held[action.id] = self._hold(self.held.get(action.id), answer, now)
                if (wish := _wish(answer)) > 0:
                    self.quiet = max(self.quiet or now, now + timedelta(seconds=wish))

    def left_alone(self, now: datetime) -> float:
        """Seconds that the server asked for and that are left of it."""
        return max(0.0, (self.quiet - now).total_seconds()) if self.quiet is not None else 0.0

    def next(self, now: datetime) -> float | None:
        """Seconds until the first effect may be asked for again: what holds it back is mended without news for us."""
        return min([max(0.0, (held.until - now).total_seconds()) for held in self.held.values()], default=None)

    def _hold(self, before: _Held | None, answer: Problem | PortError, now: datetime) -> _Held:
        since, times = (before.since, before.times + 1) if before is not None else (now, 1)
        pause, problem = REFUSED_AGAIN, _to_say(answer, now - since)
        if isinstance(answer, PortError):
            pause = max(min(REFUSED_AGAIN, FIRST_BACK_OFF * 2.0 ** min(times - 1, 16)), _wish(answer))
        longer = 1 + JITTER * self.chance()  # only upwards: never earlier than was asked for
        return _Held(since, now + timedelta(seconds=pause * longer), times, problem)


def _wish(answer: Problem | PortError) -> float:
    """Seconds of patience that the other side asked for."""
    return min(MAX_ASKED, answer.after or 0.0) if isinstance(answer, Retryable) else 0.0


def _to_say(answer: Problem | PortError, lasted: timedelta) -> Problem | None:
    """What a person should read of it: of trouble once it has lasted, or where the other side asks for much time."""
    if isinstance(answer, Problem):
        return answer
    if max(lasted, timedelta(seconds=_wish(answer))) < SAID_AFTER:
        return None
    return Problem(Reason.API_REFUSES, f"the API server does not take what is needed, it is asked again: {answer}")
