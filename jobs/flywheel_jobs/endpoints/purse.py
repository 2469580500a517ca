"""What a role costs, and what it may: tokens as the server counts them, estimated where it does not.

A budget holds within one request, over all stages, shards and attempts of a round: what is in flight is reserved out
of a lease of this process, and what a broken try may have cost counts, because a server goes on generating when its
client has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flywheel_api.artifacts import RoleUsage
from flywheel_jobs.core.errors import BudgetExceeded
from flywheel_jobs.endpoints.wire import Read, Tokens

CHARACTERS = 4  # of a token, where nobody counts
PER_MESSAGE = 4  # tokens of a message's frame
_COUNTED = ("prompt_tokens", "completion_tokens", "unconfirmed_tokens")
POLL_SECONDS = 2.0  # between looks at what others give back, where nothing is left
TEMPLATE = 32  # tokens that a chat template adds of its own


def prompt_tokens(messages: Sequence[Mapping[str, object]]) -> int:
    """Tokens of a prompt, estimated."""
    return sum(PER_MESSAGE + len(str(m.get("content") or "")) // CHARACTERS for m in messages)


def most_tokens(messages: Sequence[Mapping[str, object]]) -> int:
    """Tokens that a prompt can have at most: one a character."""
    return TEMPLATE + sum(PER_MESSAGE + len(str(m.get("content") or "")) for m in messages)


@dataclass(frozen=True)
class Lent:
    """What a lender says."""

    tokens: int  # that this process may have used and reserved, since its start
    waits: bool  # whether others may still give something back
    said: str  # how the budget stands


class Lender(Protocol):
    """Who knows what others use of the same budget."""

    async def lend(self, committed: int, need: int, idle: bool) -> Lent:
        """More, if there is any. `committed` is used or in flight here; who is `idle` has nothing in flight.

        Who is idle and gets nothing has given back what it did not use.
        """
        ...

    async def close(self, used: int) -> None:
        """Gives back what was not used."""
        ...


class Purse:
    """One role's usage in this process, out of what `lender` lends of the budget if there is one."""

    def __init__(self, role: str, lender: Lender | None = None) -> None:
        self.role = role
        self._spent = dict.fromkeys(("calls", *_COUNTED, "estimated_tokens"), 0)
        self._seconds = 0.0
        self._lender = lender
        self._lent = self._reserved = 0
        self._asking = asyncio.Lock()
        self._settled = asyncio.Event()

    @property
    def usage(self) -> RoleUsage:
        """What was used so far."""
        return RoleUsage(role=self.role, seconds=self._seconds, **self._spent)

    @property
    def used(self) -> int:
        """Tokens that count against a budget."""
        return sum(self._spent[name] for name in _COUNTED)

    async def reserve(self, tokens: int) -> None:
        """Sets tokens aside for one try, once they are lent. Raises BudgetExceeded when nothing is left."""
        if self._lender is not None and (self._asking.locked() or not self._fits(tokens)):
            async with self._asking:  # one at a time, in order: a small request does not overtake a large one for ever
                while not self._fits(tokens):
                    await self._borrow(self._lender, tokens)
                self._reserved += tokens
        else:
            self._reserved += tokens

    def _fits(self, tokens: int) -> bool:
        return self.used + self._reserved + tokens <= self._lent

    async def _borrow(self, lender: Lender, tokens: int) -> None:
        """Takes more, or waits for what comes back here or elsewhere."""
        idle = not self._reserved
        self._settled.clear()
        lent = await lender.lend(self.used + self._reserved, tokens, idle)
        self._lent = lent.tokens
        if self._fits(tokens):
            return
        if not idle:
            await self._settled.wait()
        elif lent.waits:
            await asyncio.sleep(POLL_SECONDS)
        else:
            raise BudgetExceeded(
                f"{self.role}: {lent.said}, by all stages together: raise spec.budget.tokens for role {self.role}"
            )

    async def settle(self, reserved: int) -> None:
        """Gives a try's reservation back."""
        self._reserved -= reserved
        self._settled.set()

    async def aclose(self) -> None:
        """Gives back what was lent and not used."""
        if self._lender is not None:
            await self._lender.close(self.used)

    def count(self, read: Read, prompt: int, seconds: float) -> None:
        """Counts an answer, with estimates for what the server does not say."""
        written = sum(len(a.text) + len(a.thought) for a in read.answers) // CHARACTERS
        said = Tokens(read.tokens.prompt, read.tokens.completion)
        guessed = (prompt if said.prompt is None else 0) + (written if said.completion is None else 0)
        self._add(
            calls=1,
            prompt_tokens=prompt if said.prompt is None else said.prompt,
            completion_tokens=written if said.completion is None else said.completion,
            estimated_tokens=guessed,
        )
        self._seconds += seconds

    def broken(self, tokens: int) -> None:
        """Counts a try whose cost nobody will know, as the most that it can have been."""
        self._add(unconfirmed_tokens=tokens)

    def _add(self, **more: int) -> None:
        for name, value in more.items():
            self._spent[name] += value
