"""The band is filled: from what was measured, what is trained on, and what is to be written and measured next.

Pure: `fill` is handed what carries a wave out. A round trains on problems that the policy sometimes solves, and a first
set of variants seldom holds enough of them (a band that is not filled starves in its second round, docs/evidence).
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flywheel_api.records.reasoning import Band, Problem
from flywheel_jobs.core.turns import in_turn
from flywheel_jobs.reasoning.variants import Order

FAMILY_SHARE = 3  # no family is more than one part in so many
PER_MISSING = 2  # variants that are asked for where one problem is missing
FIRST_NUMBER = 64  # of a wave's variants: synthesis has numbered those below
LOWER, ACROSS = ("lower-difficulty",), ("swap-family",)
MOVES: dict[Band, tuple[str, ...]] = {
    Band.HARD: LOWER,
    Band.FRONTIER: ("change-values", "swap-family", "invert"),
    Band.SOLVED: ("raise-difficulty", "compose", "add-constraint"),
}
"""What is made of a problem by how hard it is: easier, sideways, harder."""


@dataclass(frozen=True)
class Aim:
    """What is wanted: so many `prompts`, or all that lies in the band and `least` of it, beside what is replayed."""

    prompts: int | None
    least: int
    waves: int
    beside: tuple[Problem, ...] = ()

    @property
    def enough(self) -> int:
        """How many problems end the search."""
        return self.least if self.prompts is None else self.prompts

    def share(self, in_band: int) -> int:
        """How many problems one family may have, replayed ones among them."""
        wanted = max(self.enough, in_band) if self.prompts is None else self.prompts
        return max(1, (wanted + len(self.beside)) // FAMILY_SHARE)


@dataclass(frozen=True)
class Filled:
    """What came of it: all that was measured, and of it what is trained on."""

    chosen: list[Problem]
    measured: list[Problem]
    waves: int = 0


Make = Callable[[int, list[Order]], Awaitable[list[Problem]]]
"""Carries out the orders of a wave, by its number from 1: the variants that have a label, measured."""


@dataclass
class _Asked:
    """Orders so far: each is given once."""

    uses: Counter[str] = field(default_factory=Counter)

    def order(self, parent: Problem, operators: Sequence[str]) -> Order:
        use = self.uses[parent.id]
        self.uses[parent.id] += 1
        return Order(parent, operators[use % len(operators)], FIRST_NUMBER + use)


async def fill(first: Iterable[Problem], aim: Aim, rng: random.Random, make: Make) -> Filled:
    """Waves of variants until enough problems lie in the band, or `aim.waves` were made. Every problem counts once."""
    known: dict[str, Problem] = {}
    wave_of: dict[str, int] = {}
    asked = _Asked()
    wave, new = 0, list(first)
    while True:
        for problem in new:
            if problem.content not in known:
                known[problem.content], wave_of[problem.content] = problem, wave
        measured = list(known.values())
        chosen = choose(measured, aim)
        if len(chosen) >= aim.enough or wave == aim.waves or not measured:
            return Filled(chosen, measured, wave)
        wave += 1
        newest_first = sorted(measured, key=lambda p: -wave_of[p.content])
        new = await make(wave, _orders(newest_first, chosen, aim, asked, rng))


def choose(measured: Sequence[Problem], aim: Aim) -> list[Problem]:
    """Problems of the band, families in turn and none above its share, those first that are solved half of the time."""
    inside = [p for p in measured if p.band is Band.FRONTIER]
    taken = Counter(map(family_of, aim.beside))
    nearest_half = sorted(inside, key=lambda p: (abs(_rate(p) - 0.5), p.id))
    return families_in_turn(nearest_half, aim.share(len(inside)), taken)[: aim.prompts]


def families_in_turn(problems: Iterable[Problem], most: int, taken: Counter[str]) -> list[Problem]:
    """One of each family, then the next of each, until a family has `most`; `taken` counts them on."""
    by_family: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        family = family_of(problem)
        if taken[family] < most:
            taken[family] += 1
            by_family[family].append(problem)
    return list(in_turn(*by_family.values()))


def _orders(
    measured: Sequence[Problem], chosen: Sequence[Problem], aim: Aim, asked: _Asked, rng: random.Random
) -> list[Order]:
    """The next wave: twice as many variants as are missing, of parents of all bands and families in turn."""
    taken = Counter(map(family_of, (*chosen, *aim.beside)))
    full = {family for family, n in taken.items() if n >= aim.share(len(chosen))}
    groups: dict[str, list[Problem]] = defaultdict(list)
    for problem in measured:
        groups[f"{problem.band}/{family_of(problem)}"].append(problem)
    shuffled = list(groups)
    rng.shuffle(shuffled)
    parents = list(in_turn(*(groups[name] for name in shuffled)))
    parents.sort(key=lambda p: asked.uses[p.id])
    size = PER_MISSING * (aim.enough - len(chosen))
    times = math.ceil(size / len(parents))
    wanted = [parent for _ in range(times) for parent in parents][:size]
    return [asked.order(parent, moves(parent, family_of(parent) in full)) for parent in wanted]


def moves(problem: Problem, full: bool) -> tuple[str, ...]:
    """What is made of a problem: nothing more of a family that has its share, nothing easier than the easiest."""
    if full or (problem.band is Band.HARD and problem.level == 1):
        return ACROSS
    return MOVES[problem.band or Band.FRONTIER]


def family_of(problem: Problem) -> str:
    """The family of a problem; where nobody knows one, the seed that it comes from."""
    return problem.family or problem.lineage.root_id or problem.id


def _rate(problem: Problem) -> float:
    return problem.policy_pass.rate if problem.policy_pass else 0.0
