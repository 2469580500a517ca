"""Built-in arithmetic families with exact answers and a difficulty knob (docs/method.md, "Stand-ins").

A problem is a family, integer values and a template that renders them. Training and held-out items are disjoint twice:
by template (held-out texts use wordings that training never sees) and by values (a set of operands belongs to one side
for good). Sizes are what a 135M model can learn in a few GRPO steps; larger difficulties are there for larger models.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any, Literal

from flywheel_api.records.base import Lineage, Message, record_id
from flywheel_api.records.reasoning import Problem

Split = Literal["train", "heldout"]
HELDOUT_SHARE = 0.25  # of operand sets
MAX_DIFFICULTY = 6
USED_UP = 1000  # draws in a row that gave nothing new


@dataclass(frozen=True)
class Typed:
    """The exact form of a problem: what a mutation works on, and from which an answer is computed, never copied."""

    family: str
    values: tuple[int, ...]

    def answer(self) -> int | None:
        """The exact answer; None if there is none among the integers."""
        v = self.values
        match self.family:
            case "add" | "chain-add":
                return sum(v)
            case "sub":
                return v[0] - v[1]
            case "mul":
                return v[0] * v[1]
            case "chain-mixed":
                return v[0] + v[1] - v[2]
            case "missing":  # v[0] + ? = v[1]
                return v[1] - v[0]
            case "linear":  # v[0] x + v[1] = v[2]
                quotient, rest = divmod(v[2] - v[1], v[0]) if v[0] else (0, 1)
                return quotient if rest == 0 else None
        raise ValueError(f"unknown family {self.family!r}")

    def dump(self) -> dict[str, Any]:
        """The form in records."""
        return {"family": self.family, "values": list(self.values)}

    @classmethod
    def parse(cls, value: object) -> Typed:
        """From a record. Raises ValueError for anything that is not a problem of a known family."""
        if not isinstance(value, dict) or value.get("family") not in ARITY:
            raise ValueError(f"not a typed problem: {value!r}"[:200])
        values = value.get("values")
        if not isinstance(values, list) or not all(type(v) is int and abs(v) < 10**9 for v in values):
            raise ValueError("a typed problem needs a list of integer values")
        low, high = ARITY[value["family"]]
        if not low <= len(values) <= high:
            raise ValueError(f"{value['family']} takes {low} to {high} values")
        return cls(value["family"], tuple(values))


ARITY = {
    "add": (2, 2),
    "chain-add": (3, 6),
    "sub": (2, 2),
    "mul": (2, 2),
    "chain-mixed": (3, 3),
    "missing": (2, 2),
    "linear": (3, 3),
}

# The first message and the worked example of every prompt. One shot is what makes a 135M model answer with a bare
# number at all (measured: zero-shot never, with one shot about half the time).
SYSTEM = "Compute."
SHOT = ("2+4", "6")
SHOT_OPERANDS = "2/4"  # asked nowhere: every prompt shows the answer

TEMPLATES: dict[str, dict[Split, dict[str, str]]] = {
    "add": {
        "train": {"plus": "{0}+{1}", "spaced": "{0} + {1}", "equals": "{0}+{1}="},
        "heldout": {"word": "{0} plus {1}", "is": "{0}+{1} is"},
    },
    "chain-add": {"train": {"plus": "{+}"}, "heldout": {"and": "{and}"}},
    "sub": {"train": {"minus": "{0}-{1}", "spaced": "{0} - {1}"}, "heldout": {"word": "{0} minus {1}"}},
    "mul": {"train": {"star": "{0}*{1}", "times": "{0} times {1}"}, "heldout": {"product": "product of {0} and {1}"}},
    "chain-mixed": {"train": {"plain": "{0}+{1}-{2}"}, "heldout": {"word": "{0} plus {1} minus {2}"}},
    "missing": {"train": {"box": "{0}+?={1}"}, "heldout": {"word": "{0} plus what is {1}"}},
    "linear": {"train": {"x": "{0}x+{1}={2}, x="}, "heldout": {"solve": "solve {0}x+{1}={2} for x"}},
}


def render(typed: Typed, template: str, split: Split = "train") -> str:
    """The question's text."""
    form = TEMPLATES[typed.family][split][template]
    text = form.replace("{+}", "+".join(map(str, typed.values))).replace("{and}", " and ".join(map(str, typed.values)))
    return text.format(*typed.values)


def operand_key(values: tuple[int, ...]) -> str:
    """What decides a problem's side: its values in order of size, so that 3+4 and 4+3 are on one side."""
    return "/".join(map(str, sorted(values)))


def side_of(values: tuple[int, ...]) -> Split:
    """Which side an operand set belongs to; the same in every round and campaign."""
    point = hashlib.sha256(f"operand set {operand_key(values)}".encode()).digest()[0]
    return "heldout" if point < HELDOUT_SHARE * 256 else "train"


def draw_values(family: str, difficulty: int, rng: random.Random) -> tuple[int, ...]:
    """Random values of a family at a difficulty from 1 to 6: digits or number of operations grow with it."""
    top = 10 ** min(3, 1 + (difficulty - 1) // 2) - 1
    a, b, c = (rng.randint(1, top) for _ in range(3))
    match family:
        case "add":
            return a, b
        case "chain-add":
            return tuple(rng.randint(1, top) for _ in range(min(6, 2 + difficulty)))
        case "sub":
            return max(a, b), min(a, b)
        case "mul":
            return a, b
        case "chain-mixed":
            return a, b, rng.randint(1, a + b)
        case "missing":
            return a, a + b
        case "linear":
            return a, b, a * c + b
    raise ValueError(f"unknown family {family!r}")


def make(
    typed: Typed,
    template: str,
    difficulty: int,
    split: Split,
    lineage: Lineage,
) -> Problem:
    """A problem record with its answer."""
    question = render(typed, template, split)
    answer = typed.answer()
    return Problem(
        id=record_id("problem", typed.family, question),
        lineage=lineage,
        question=question,
        context=prompt_context(),
        answer=None if answer is None else str(answer),
        family=typed.family,
        template=f"{typed.family}/{split}/{template}",
        level=difficulty,
        typed=typed.dump(),
    )


def prompt_context() -> list[Message]:
    """The system message and the one worked example."""
    return [
        Message(role="system", content=SYSTEM),
        Message(role="user", content=SHOT[0]),
        Message(role="assistant", content=SHOT[1]),
    ]


def generate(rng: random.Random, count: int, split: Split, families: tuple[str, ...] = ("add",)) -> list[Problem]:
    """`count` different problems of one side, as easy as possible: larger numbers come when the small ones are used up.

    Fewer only when all difficulties are used up.
    """
    found: dict[str, Problem] = {}
    for difficulty in range(1, MAX_DIFFICULTY + 1):
        stale = 0
        while len(found) < count and stale < USED_UP:
            problem = draw(rng, split, rng.choice(families), difficulty)
            stale = stale + 1 if problem is None or problem.question in found else 0
            if problem is not None:
                found.setdefault(problem.question, problem)
    return list(found.values())


def draw(rng: random.Random, split: Split, family: str, difficulty: int) -> Problem | None:
    """A random problem; None when its values belong to the other side or to the worked example."""
    values = draw_values(family, difficulty, rng)
    if side_of(values) != split or operand_key(values) == SHOT_OPERANDS:
        return None
    template = rng.choice(sorted(TEMPLATES[family][split]))
    return make(Typed(family, values), template, difficulty, split, Lineage(operator="seed"))
