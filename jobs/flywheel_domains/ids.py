"""Ids of rows: by a counter that never gives a number twice, written so that they do not show it.

Row number k of a table gets the id with number (a·k + b) mod size of the pattern's space, with a and size coprime: no
two rows share one, whether they were generated or created, and a dropped row's id is never given again.
"""

from __future__ import annotations

import math
import random
import string
from dataclasses import dataclass

_ALPHABETS = {"@": string.ascii_uppercase, "#": string.digits}


class IdsUsedUp(ValueError):
    """The pattern has fewer ids than the table has had rows."""


@dataclass(frozen=True)
class Ids:
    """`@` stands for a letter, `#` for a digit, anything else for itself."""

    pattern: str
    step: int
    start: int

    @classmethod
    def of(cls, pattern: str, seed: str) -> Ids:
        """The ids of a table in the world of a seed."""
        rng = random.Random(f"ids/{seed}/{pattern}")
        size = space(pattern)
        step = next(
            step for step in iter(lambda: rng.randrange(1, size) if size > 1 else 1, None) if math.gcd(step, size) == 1
        )
        return cls(pattern, step, rng.randrange(size))

    def number(self, k: int) -> str:
        """The id of the table's k-th row, from 0. Raises IdsUsedUp."""
        size = space(self.pattern)
        if k >= size:
            raise IdsUsedUp(f"{self.pattern} has {size} ids, and more are needed")
        rest = (self.step * k + self.start) % size
        made = []
        for letter in reversed(self.pattern):
            alphabet = _ALPHABETS.get(letter)
            if alphabet is None:
                made.append(letter)
            else:
                rest, digit = divmod(rest, len(alphabet))
                made.append(alphabet[digit])
        return "".join(reversed(made))


def space(pattern: str) -> int:
    """How many ids a pattern has."""
    return math.prod(len(_ALPHABETS.get(letter, "x")) for letter in pattern)
