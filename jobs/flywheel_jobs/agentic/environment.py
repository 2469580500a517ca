"""One episode's environment: a world of its own, what happened in it, and how it was closed.

The reward's only evidence is what happens here and what the agent says to the user (docs/method.md, "Rewards"). Worlds
are shared and never changed: a fork of an environment costs a few lists.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel_api.records.agentic import LoggedCall
from flywheel_domains import tools
from flywheel_domains.domain import Domain
from flywheel_domains.reward import Called, Event, Heard, Said
from flywheel_domains.session import Session
from flywheel_domains.values import plain
from flywheel_domains.world import World
from flywheel_jobs.agentic import prompt

HASH_DIGITS = 16
_STATUS = {"bad_arguments": "bad-arguments", "no_such_tool": "unknown-tool"}


@dataclass
class Env:
    """A call happens in the turn that `turn` says; the agent's loop runs one call a turn, so every call opens the next.

    `settle_after` successful writes close the episode: the user's request is settled, rightly or wrongly.
    """

    domain: Domain
    world: World
    session: Session
    settle_after: int | None = None
    turn: int = 0
    log: list[LoggedCall] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """What happened in order, as it is graded: calls, what the agent told the user, what the user answered."""
    closed: str | None = None

    def fork(self) -> Env:
        """A copy that goes its own way."""
        other = copy.copy(self)
        other.log, other.events = list(self.log), list(self.events)
        return other

    def next_turn(self) -> None:
        """Says that the agent speaks again: it has seen the answers so far."""
        self.turn += 1

    def end(self, reason: str) -> None:
        """Closes the episode; the first reason stands."""
        self.closed = self.closed or reason

    def says(self, text: str) -> None:
        """What the agent tells the user."""
        self.events.append(Said(text))

    def hears(self, slots: tuple[str, ...], yes: bool) -> None:
        """What the user answers: values that they tell, and whether they agree."""
        self.events.append(Heard(slots, yes))
        if yes:
            self.session = self.session.with_said("yes")

    def call(self, name: str, arguments: object) -> str:
        """Carries a call out and logs it; the answer is text for the agent, also when the call is wrong.

        Raises ToolFault where it is the domain's own tool that is wrong.
        """
        before = self.world.digest
        given = dict(arguments) if isinstance(arguments, Mapping) else {"value": arguments}
        outcome = tools.call(self.domain, self.world, self.session, name, arguments)
        self.events.append(Called(name, arguments))
        self.world, self.session = outcome.world, outcome.session
        tool = self.domain.tools.get(name)
        refused = outcome.refusal
        status = _STATUS.get(refused.error, "refused") if refused else "ok"
        said = prompt.output(self.domain, outcome.answer)
        self.log.append(
            LoggedCall(
                name=name,
                arguments=plain(dict(outcome.args)) if outcome.args else given,
                turn=self.turn,
                status=status,
                output=said,
                writes=tool is not None and tool.writes,
                before=before[:HASH_DIGITS],
                after=self.world.digest[:HASH_DIGITS],
            )
        )
        self.next_turn()
        if self.session.ended:
            self.end("handed-over")
        elif self.settle_after is not None and self.writes_done() >= self.settle_after:
            self.end("settled")
        return said

    def writes_done(self) -> int:
        """Successful writes so far."""
        return sum(c.writes and c.status == "ok" for c in self.log)
