"""What a role costs, and what it may: tokens as the server counts them, estimated where it does not.

A budget holds within one request: what is in flight is reserved, and what a broken try may have cost counts, because
a server goes on generating when its client has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from flywheel_api.artifacts import RoleUsage
from flywheel_jobs.core.errors import BudgetExceeded
from flywheel_jobs.endpoints.wire import Read, Tokens

CHARACTERS = 4  # of a token, where nobody counts
PER_MESSAGE = 4  # tokens of a message's frame
_COUNTED = ("prompt_tokens", "completion_tokens", "unconfirmed_tokens")
TEMPLATE = 32  # tokens that a chat template adds of its own


def prompt_tokens(messages: Sequence[Mapping[str, object]]) -> int:
    """Tokens of a prompt, estimated."""
    return sum(PER_MESSAGE + len(str(m.get("content") or "")) // CHARACTERS for m in messages)


def most_tokens(messages: Sequence[Mapping[str, object]]) -> int:
    """Tokens that a prompt can have at most: one a character."""
    return TEMPLATE + sum(PER_MESSAGE + len(str(m.get("content") or "")) for m in messages)


class Purse:
    """One role's usage in this process, against a limit that earlier attempts have used some of."""

    def __init__(self, role: str, limit: int | None = None, already_used: int = 0) -> None:
        self.role = role
        self._spent = dict.fromkeys(("calls", *_COUNTED, "estimated_tokens"), 0)
        self._seconds = 0.0
        self.limit = limit
        self.already_used = already_used
        self._reserved = 0
        self._freed = asyncio.Condition()

    def share(self, part: int | None, already_used: int) -> None:
        """Takes another limit: this shard's part of it, or all of it once the others have ended."""
        self.limit, self.already_used = part, already_used

    @property
    def usage(self) -> RoleUsage:
        """What was used so far."""
        return RoleUsage(role=self.role, seconds=self._seconds, **self._spent)

    @property
    def used(self) -> int:
        """Tokens that count against the limit."""
        return self.already_used + sum(self._spent[name] for name in _COUNTED)

    async def reserve(self, tokens: int) -> None:
        """Sets tokens aside for one try; where they do not fit, it is the only one in flight.

        Raises BudgetExceeded once the limit is reached.
        """
        if self.limit is not None:
            async with self._freed:
                await self._freed.wait_for(lambda: self._fits(tokens))
                self._check()
        self._reserved += tokens

    def _fits(self, tokens: int) -> bool:
        limit = self.limit
        return limit is None or self.used >= limit or not self._reserved or self.used + self._reserved + tokens <= limit

    def _check(self) -> None:
        if self.limit is not None and self.used >= self.limit:
            raise BudgetExceeded(
                f"{self.role} has used {self.used} tokens and the round's budget leaves {self.limit}: raise "
                f"spec.budget.tokens for role {self.role}"
            )

    async def settle(self, reserved: int) -> None:
        """Gives a try's reservation back."""
        self._reserved -= reserved
        if self.limit is not None:
            async with self._freed:
                self._freed.notify_all()

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
