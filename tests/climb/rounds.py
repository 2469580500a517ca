"""What a round trains on, by recipe: as the project was before difficulty was measured, a filled band, plain seeds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from flywheel_api.records.base import PassRate
from flywheel_api.records.reasoning import Band, Problem
from flywheel_api.turns import turn_of
from flywheel_jobs.reasoning import replay
from flywheel_jobs.reasoning.bands import Limits
from flywheel_jobs.reasoning.filling import Aim, fill
from flywheel_jobs.reasoning.variants import Order
from flywheel_jobs.seeds import numeracy
from flywheel_jobs.seeds.numeracy import Typed
from flywheel_standin.reasoning import mutated

SEEDS = "builtin://numeracy"
FAILED_UP_TO = 0.5
VARIANTS = ("change-values", "raise-difficulty", "compose", "add-constraint")  # of a failed problem, before the issue


class Recipe(StrEnum):
    """What a round trains on."""

    BEFORE = "before"
    FILLED = "filled"
    SEEDS = "seeds"


@dataclass(frozen=True)
class Sizes:
    """How much a round does."""

    steps: int = 8
    prompts: int = 4
    group: int = 8
    measured: int = 4
    seeds: int = 24
    wanted: int = 18
    waves: int = 2
    replay: float = 0.2


@dataclass
class Maker:
    """Makes the data of one round after the other. `rates` gives the pass rate of each of some problems."""

    recipe: Recipe
    sizes: Sizes
    rng: random.Random
    rates: Callable[[Sequence[Problem], int], list[float]]
    trained: list[Problem] = field(default_factory=list)
    hard: list[Problem] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)
    shown: list[Problem] = field(default_factory=list)

    def data(self, number: int) -> tuple[list[Problem], dict[str, object]]:
        """Problems of a round, numbered from 1, and what is to be said of them."""
        make = {Recipe.BEFORE: self._before, Recipe.FILLED: self._filled, Recipe.SEEDS: self._seeds}[self.recipe]
        found, said = make(number)
        self.rng.shuffle(found)
        return found, said

    def after(self, trained: Sequence[Problem], failed: Sequence[Problem]) -> None:
        """What the round trained on, and what of it training mostly failed at."""
        self.trained = [*trained, *self.trained]
        self.failed = list(failed)

    def _fresh(self, count: int) -> list[Problem]:
        return numeracy.seeds(self.rng, count, numeracy.BUILTIN_SEEDS[SEEDS])

    def _seeds(self, _number: int) -> tuple[list[Problem], dict[str, object]]:
        return self._fresh(self.sizes.steps * self.sizes.prompts), {}

    def _before(self, _number: int) -> tuple[list[Problem], dict[str, object]]:
        tried = [*self.failed, *self._fresh(self.sizes.seeds)][: self.sizes.seeds]
        rates = self.rates(tried, self.sizes.measured)
        failed = [p for p, rate in zip(tried, rates, strict=True) if rate <= FAILED_UP_TO]
        frontier = [p for p, rate in zip(tried, rates, strict=True) if 0 < rate <= FAILED_UP_TO]
        made = [self._variant(Order(p, operator, 0)) for p in failed for operator in VARIANTS]
        return [*frontier, *made], {"tried": len(tried), "frontier": len(frontier), "variants": len(made)}

    def _filled(self, number: int) -> tuple[list[Problem], dict[str, object]]:
        turn = turn_of("smollm2-135m-cpu", number)
        limits = Limits(float(turn.low), float(turn.high))
        carried = self.hard[: self.sizes.seeds // 2]
        tried = [*carried, *self._fresh(self.sizes.seeds - len(carried))]
        wanted = int(self.sizes.replay * self.sizes.wanted) if number > 1 else 0
        drawn = replay.drawn(self.trained, [], wanted, self.rng)
        old = replay.replayed(self._measured(drawn, limits), wanted, self.sizes.wanted)
        aim = Aim(self.sizes.wanted - len(old), self.sizes.prompts, self.sizes.waves, tuple(old))

        async def wave(_number: int, orders: list[Order]) -> list[Problem]:
            return self._measured([self._variant(order) for order in orders], limits)

        found = asyncio.run(fill(self._measured(tried, limits), aim, self.rng, wave))
        self.shown = [p for p in found.measured if p.band is not Band.SOLVED]
        self.hard = [p for p in found.measured if p.band is Band.HARD]
        bands = {band.value: sum(p.band is band for p in found.measured) for band in Band}
        said: dict[str, object] = {**bands, "chosen": len(found.chosen), "replayed": len(old), "waves": found.waves}
        return [*found.chosen, *old], said

    def _measured(self, problems: Sequence[Problem], limits: Limits) -> list[Problem]:
        n = self.sizes.measured
        rates = self.rates(problems, n) if problems else []
        passed = [PassRate(n=n, k=round(rate * n)) for rate in rates]
        return [
            p.model_copy(update={"policy_pass": rate, "band": limits.band(rate.rate)})
            for p, rate in zip(problems, passed, strict=True)
        ]

    def _variant(self, order: Order) -> Problem:
        """The scripted Teacher's, with the label that its Solver agrees on."""
        typed = mutated(Typed.parse(order.parent.typed), order.operator, self.rng)
        return numeracy.problem(self.rng, "train", typed)
