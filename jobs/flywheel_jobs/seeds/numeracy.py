"""Ten families of problems with exact answers, each in six levels (docs/method.md, "Stand-ins").

Level 1 is what a 135M model is right at now and then, level 6 what it cannot do; from 4 on there are stories and
several steps.
Training and held-out problems are disjoint twice: by wording, and by values (a set of values belongs to one side for
good), so that no seed and no variant asks what a suite asks.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flywheel_api.records.base import Lineage, Message, record_id
from flywheel_api.records.reasoning import Problem
from flywheel_jobs.seeds import forms as f
from flywheel_jobs.seeds.forms import Form

Split = Literal["train", "heldout"]
HELDOUT_SHARE = 0.25  # of sets of values
LARGEST = 10_000  # of the values of a problem: a second method counts them one by one
USED_UP = 400  # draws in a row that gave nothing new


def _as_drawn(*drawn: int) -> tuple[int, ...]:
    return drawn


@dataclass(frozen=True)
class Level:
    """Problems of one form and size: ranges (both ends in) that numbers are drawn from, and the values made of them."""

    form: Form
    ranges: tuple[tuple[int, int], ...]
    values: Callable[..., tuple[int, ...]] = _as_drawn


def _difference(answer: int, *taken: int) -> tuple[int, ...]:
    return answer + sum(taken), *taken


def _line(a: int, x: int, b: int) -> tuple[int, ...]:
    return a, b, a * x + b


def _two_lines(more: int, x: int, c: int, b: int) -> tuple[int, ...]:
    return c + more, b, c, b + more * x


def _steps(first: int, step: int) -> tuple[int, ...]:
    return first, first + step, first + 2 * step


def _ratio(first: int, ratio: int) -> tuple[int, ...]:
    return first, first * ratio, first * ratio * ratio


FAMILIES: dict[str, tuple[Level, ...]] = {
    "add": (
        Level(f.PLUS, ((1, 9), (1, 9))),
        Level(f.PLUS, ((10, 49), (1, 9))),
        Level(f.PLUS, ((10, 99), (10, 99))),
        Level(f.PLUS_STORY, ((10, 99), (2, 49))),
        Level(f.PLUS_THREE, ((10, 99), (10, 99), (10, 99))),
        Level(f.PLUS, ((100, 999), (100, 999))),
    ),
    "sub": (
        Level(f.MINUS, ((1, 9), (1, 9)), _difference),
        Level(f.MINUS, ((10, 39), (1, 9)), _difference),
        Level(f.MINUS, ((5, 49), (10, 49)), _difference),
        Level(f.MINUS_STORY, ((5, 49), (5, 49)), _difference),
        Level(f.MINUS_TWO, ((5, 49), (10, 49), (5, 30)), _difference),
        Level(f.MINUS, ((100, 499), (100, 499)), _difference),
    ),
    "mul": (
        Level(f.DOUBLE, ((1, 49),)),
        Level(f.TIMES, ((2, 9), (2, 9))),
        Level(f.TIMES, ((10, 49), (3, 9))),
        Level(f.TIMES_STORY, ((3, 12), (5, 29))),
        Level(f.TIMES_THREE, ((2, 9), (2, 9), (3, 9))),
        Level(f.TIMES, ((11, 99), (11, 99))),
    ),
    "chain": (
        Level(f.UP_DOWN, ((1, 9), (1, 9), (1, 9)), lambda x, b, c: (x + c, b, c)),
        Level(f.DOWN_UP, ((1, 9), (1, 9), (1, 9)), lambda x, b, c: (x + b, b, c)),
        Level(f.PLUS_TIMES, ((1, 20), (2, 9), (2, 5))),
        Level(f.UP_DOWN_STORY, ((5, 30), (2, 30), (2, 30)), lambda x, b, c: (x + c, b, c)),
        Level(f.TWO_PRODUCTS, ((2, 9), (2, 9), (2, 9), (2, 9))),
        Level(f.SHARED_STORY, ((3, 9), (4, 12), (1, 6), (2, 5)), lambda a, b, c, d: (a, b, c + (a * b - c) % d, d)),
    ),
    "linear": (
        Level(f.MISSING, ((1, 9), (1, 9)), lambda a, x: (a, a + x)),
        Level(f.MISSING, ((10, 49), (1, 20)), lambda a, x: (a, a + x)),
        Level(f.FACTOR, ((2, 9), (2, 12)), lambda a, x: (a, a * x)),
        Level(f.MISSING_STORY, ((5, 49), (3, 49)), lambda a, x: (a, a + x)),
        Level(f.LINE, ((2, 9), (2, 12), (1, 20)), _line),
        Level(f.TWO_LINES, ((2, 5), (2, 12), (1, 6), (1, 20)), _two_lines),
    ),
    "units": (
        Level(f.CENTIMETRES, ((2, 60),)),
        Level(f.DAYS, ((2, 50),)),
        Level(f.MINUTES, ((2, 50),)),
        Level(f.LENGTH_STORY, ((2, 20), (1, 99))),
        Level(f.TIME, ((2, 20), (1, 59))),
        Level(f.HOURS, ((1, 9), (1, 6))),
    ),
    "percent": (
        Level(f.HALF, ((1, 60),), lambda x: (2 * x,)),
        Level(f.TENTH, ((2, 60),), lambda x: (10 * x,)),
        Level(f.SHARE, ((1, 9), (2, 20)), lambda p, n: (10 * p, 10 * n)),
        Level(f.SHARE_STORY, ((2, 20), (1, 9)), lambda n, p: (10 * n, 10 * p)),
        Level(f.RISE, ((2, 30), (1, 9)), lambda n, p: (10 * n, 10 * p)),
        Level(f.RISE_AND_FALL, ((1, 9), (1, 5), (1, 5)), lambda n, p, q: (100 * n, 10 * p, 10 * q)),
    ),
    "modular": (
        Level(f.LAST_DIGIT, ((10, 99),)),
        Level(f.LAST_DIGIT, ((100, 999),)),
        Level(f.REMAINDER, ((10, 60), (2, 9))),
        Level(f.REMAINDER_STORY, ((20, 99), (3, 9))),
        Level(f.PRODUCT_REMAINDER, ((3, 19), (3, 19), (4, 11))),
        Level(f.POWER_REMAINDER, ((2, 9), (3, 9), (5, 19))),
    ),
    "count": (
        Level(f.FROM_TO, ((1, 9), (2, 9)), lambda a, more: (a, a + more)),
        Level(f.FROM_TO, ((10, 49), (3, 40)), lambda a, more: (a, a + more)),
        Level(f.PAIRS, ((3, 45),)),
        Level(f.OUTFITS_STORY, ((2, 9), (3, 15))),
        Level(f.CHOOSE, ((5, 14), (2, 4))),
        Level(f.MULTIPLES, ((20, 99), (2, 5), (3, 9))),
    ),
    "sequence": (
        Level(f.LARGEST, ((1, 99), (1, 99))),
        Level(f.AFTER, ((1, 99),)),
        Level(f.NEXT, ((1, 60), (2, 15)), _steps),
        Level(f.NEXT_STORY, ((3, 40), (2, 12)), _steps),
        Level(f.RATIO, ((1, 12), (2, 5)), _ratio),
        Level(f.SUM_OF_TWO, ((1, 15), (2, 20))),
    ),
}
LEVELS = 6
BUILTIN_SEEDS: dict[str, tuple[str, ...]] = {
    "builtin://numeracy": ("add", "mul", "modular", "sequence"),
    "builtin://numeracy-mixed": tuple(FAMILIES),
}
"""Families that seeds are drawn from; the others are opened by variants."""

# The first message and the worked example of every prompt. One shot is what makes a 135M model answer with a bare
# number at all (measured: zero-shot never, with one shot about half the time).
SYSTEM = "Compute."
SHOT = ("2+4", "6")
SHOT_VALUES = "2/4"  # asked nowhere: every prompt shows the answer
TRAIN_PEOPLE = (("Ann", "hens"), ("Ben", "pens"), ("Cleo", "nets"), ("Dan", "buns"), ("Eva", "pots"))
HELDOUT_PEOPLE = (("Ugo", "maps"), ("Vera", "cups"), ("Will", "rugs"), ("Yara", "figs"))


@dataclass(frozen=True)
class Typed:
    """The exact form of a problem: what a mutation works on, and from which an answer is computed, never copied."""

    family: str
    level: int
    values: tuple[int, ...]

    @property
    def form(self) -> Form:
        """What its question asks."""
        return FAMILIES[self.family][self.level - 1].form

    def answer(self) -> int | None:
        """The exact answer; None if there is none among the integers."""
        return self.form.answer(*self.values)

    def dump(self) -> dict[str, Any]:
        """The form in records."""
        return {"family": self.family, "level": self.level, "values": list(self.values)}

    @classmethod
    def parse(cls, value: object) -> Typed:
        """From a record. Raises ValueError for anything that is not a problem of a known family."""
        if not isinstance(value, dict) or value.get("family") not in FAMILIES:
            raise ValueError(f"not a typed problem: {value!r}"[:200])
        family, level, values = value["family"], value.get("level"), value.get("values")
        if type(level) is not int or not 1 <= level <= LEVELS:
            raise ValueError(f"a typed problem has a level from 1 to {LEVELS}")
        if not isinstance(values, list) or not all(type(v) is int and abs(v) <= LARGEST for v in values):
            raise ValueError("a typed problem needs a list of integer values")
        if len(values) != arity(FAMILIES[family][level - 1].form):
            raise ValueError(f"{family} of level {level} takes other values than {values}")
        return cls(family, level, tuple(values))


def arity(form: Form) -> int:
    """How many values its question shows."""
    return max(i + 1 for i in range(9) if f"{{{i}}}" in form.train[0])


def values_key(values: tuple[int, ...]) -> str:
    """What decides a problem's side: its values in order of size, so that 3+4 and 4+3 are on one side."""
    return "/".join(map(str, sorted(values)))


def side_of(values: tuple[int, ...]) -> Split:
    """Which side a set of values belongs to; the same in every round and campaign."""
    point = hashlib.sha256(f"operand set {values_key(values)}".encode()).digest()[0]
    return "heldout" if point < HELDOUT_SHARE * 256 else "train"


def draw_values(family: str, level: int, rng: random.Random) -> tuple[int, ...]:
    """Random values of a family at a level."""
    found = FAMILIES[family][level - 1]
    return found.values(*(rng.randint(*between) for between in found.ranges))


def draw(rng: random.Random, split: Split, family: str, level: int) -> Typed:
    """A random problem of one side. Its values are no worked example's."""
    while True:
        values = draw_values(family, level, rng)
        if side_of(values) == split and values_key(values) != SHOT_VALUES:
            return Typed(family, level, values)


def wordings(form: Form, split: Split) -> tuple[str, ...]:
    """The wordings of a side."""
    return form.train if split == "train" else form.heldout


def render(typed: Typed, wording: str, name: str = "Ann", thing: str = "hens") -> str:
    """The question's text."""
    return wording.format(*typed.values, name=name, thing=thing, Thing=thing.capitalize())


def problem(rng: random.Random, split: Split, typed: Typed) -> Problem:
    """A problem record with its answer, in a wording and with a person of its side."""
    own = wordings(typed.form, split)
    number = rng.randrange(len(own))
    name, thing = rng.choice(TRAIN_PEOPLE if split == "train" else HELDOUT_PEOPLE)
    question, answer = render(typed, own[number], name, thing), typed.answer()
    return Problem(
        id=record_id("problem", typed.family, question),
        lineage=Lineage(operator="seed"),
        question=question,
        context=prompt_context(),
        answer=None if answer is None else str(answer),
        family=typed.family,
        level=typed.level,
        template=f"{typed.family}/{typed.level}/{split}/{number}",
        typed=typed.dump(),
    )


def prompt_context() -> list[Message]:
    """The system message and the one worked example."""
    return [
        Message(role="system", content=SYSTEM),
        Message(role="user", content=SHOT[0]),
        Message(role="assistant", content=SHOT[1]),
    ]


def seeds(rng: random.Random, count: int, families: Sequence[str]) -> list[Problem]:
    """`count` different problems to train on, families in turn, as easy as possible.

    Higher levels come when the lower ones are used up; fewer problems only when all are.
    """
    order = ((family, level) for level in range(1, LEVELS + 1) for _ in range(count) for family in families)
    return _distinct(rng, "train", count, order, by_values=False)


def suite(rng: random.Random, count: int) -> list[Problem]:
    """`count` held-out problems of different values.

    The n-th pass takes one of each family of each level up to n: a small draw is of what a small model may learn, a
    large one has every stratum and more of the easy ones.
    """
    order = (
        (family, level)
        for turn in range(1, count + 1)
        for level in range(1, min(turn, LEVELS) + 1)
        for family in FAMILIES
    )
    return _distinct(rng, "heldout", count, order, by_values=True)


def _distinct(
    rng: random.Random, split: Split, count: int, order: Iterator[tuple[str, int]], by_values: bool
) -> list[Problem]:
    """A problem for each stratum of the order, until there are enough; strata that are used up are passed over."""
    found: dict[str, Problem] = {}
    empty: set[tuple[str, int]] = set()
    for stratum in order:
        if len(found) >= count:
            break
        if stratum in empty:
            continue
        for _ in range(USED_UP):
            typed = draw(rng, split, *stratum)
            made = problem(rng, split, typed)
            key = f"{typed.family} {values_key(typed.values)}" if by_values else made.question
            if key not in found:
                found[key] = made
                break
        else:
            empty.add(stratum)
    return list(found.values())
