"""What the experiment with chained rounds trains on, by recipe, with a policy of known rates in place of the model."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from climb.rounds import Maker, Recipe, Sizes
from flywheel_api.records.reasoning import Band, Problem
from flywheel_jobs.seeds import numeracy


def rates(problems: Sequence[Problem], n: int) -> list[float]:
    return [0.5 if p.family in ("mul", "units") else 1.0 if p.family == "add" else 0.0 for p in problems]


@pytest.mark.parametrize("recipe", list(Recipe))
def test_three_rounds_of_each_recipe(recipe: Recipe) -> None:
    maker = Maker(recipe, Sizes(), random.Random(1), rates)
    rounds = []
    for number in (1, 2, 3):
        data, said = maker.data(number)
        rounds.append(data)
        maker.after(data, data[:4])
        if recipe is Recipe.FILLED:
            assert all(p.band is not Band.HARD for p in data) and said["replayed"] == (3 if number > 1 else 0)
            assert max(Counter(p.family for p in data).values()) <= Sizes().wanted // 3
    assert all(len(data) >= Sizes().prompts for data in rounds)
    asked = [tuple((p.typed or {})["values"]) for data in rounds for p in data]
    held = sum(numeracy.side_of(values) == "heldout" for values in asked)
    assert held == 0 if recipe is Recipe.SEEDS else held < 0.2 * len(asked)
    families = {p.family for data in rounds for p in data}
    opened = families - set(numeracy.BUILTIN_SEEDS["builtin://numeracy"])
    assert bool(opened) == (recipe is Recipe.FILLED)
