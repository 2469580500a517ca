"""The guard that sees answers refused alike: sequences of verdicts, and the verdict at which it trips."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from flywheel_jobs.endpoints.guard import ORDINARY, OWN, Guard, Limits, kind_of
from flywheel_jobs.endpoints.line import OWN_TRIES

# a letter is a kind of refusal, a dot a good answer
TRIPS = {
    "all from the first": ("a" * 20, ORDINARY, 8, "the first 8"),
    "all after one good answer": ("." + "a" * 30, ORDINARY, 11, "10 of the last 11"),
    "four, one good, then all": ("aaaa." + "a" * 30, ORDINARY, 11, "10 of the last 11"),
    "a server that breaks in the middle": ("." * 100 + "a" * 40, ORDINARY, 130, "30 of the last 30"),
    "with answers that were under way": ("." * 100 + "aaaa." * 3 + "a" * 40, ORDINARY, 139, "36 of the last 39"),
    "five of six": ("aaaaa." * 9, ORDINARY, 11, "10 of the last 11"),
    "three of four": ("aaa." * 60, ORDINARY, 23, "18 of the last 23"),
    "two of three, which may be chance": ("aa." * 60, ORDINARY, 0, ""),
    "one of two": ("a." * 60, ORDINARY, 0, ""),
    "each for a reason of its own": ("abcdefghijklmnopqrstuvwxyz" * 4, ORDINARY, 0, ""),
    "two kinds in turn": ("ab" * 60, ORDINARY, 0, ""),
    "an item's own word, 69 of them": ("." * 9 + "a" * 69 + ".", OWN, 0, ""),
    "an item's own word, 70 of them": ("." * 9 + "a" * 70, OWN, 79, "70 of the last 70"),
    "an item's own word from the first": ("a" * 70, OWN, 30, "the first 30"),
}


@pytest.mark.parametrize(("verdicts", "limits", "at", "said"), TRIPS.values(), ids=TRIPS)
def test_where_it_trips(verdicts: str, limits: Limits, at: int, said: str) -> None:
    assert first_trip(verdicts, limits) == (at, said)


def first_trip(verdicts: Iterable[str], limits: Limits) -> tuple[int, str]:
    guard = Guard()
    for n, one in enumerate(verdicts, start=1):
        said = guard.trips(None if one == "." else one, limits)
        if said:
            return n, said
    return 0, ""


@pytest.mark.parametrize(("share", "limits"), [(0.3, ORDINARY), (0.5, ORDINARY), (0.7, OWN)])
def test_items_that_are_refused_by_chance_end_no_stage(share: float, limits: Limits) -> None:
    """100 stages of 1,000 items: less than one of a hundred, where our own requests are refused by chance as well.

    The table for 10,000 items is in docs/evidence/breaker.md.
    """
    rng = random.Random(7)
    stages = (["a" if rng.random() < share else "." for _ in range(1000)] for _ in range(100))
    assert sum(bool(first_trip(one, limits)[0]) for one in stages) / 100 * share**OWN_TRIES < 0.01


@pytest.mark.parametrize("before", [0, 3, 500])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_an_endpoint_that_turns_bad_is_found_within_dozens(before: int, share: float) -> None:
    """Where items are refused by chance as well; the last good answers come among the first refusals."""
    rng = random.Random(11)
    for _ in range(20):
        mixed = ["a" if rng.random() < share else "." for _ in range(before)]
        late = ["a" if rng.random() < 0.8 else "." for _ in range(min(before, 20))]
        at, _ = first_trip([*mixed, *late, *("a" * 60)], ORDINARY)
        assert before < at <= before + len(late) + 30


def test_alike_is_by_words_without_what_is_the_item_s() -> None:
    assert kind_of("request-refused", "row 17 has 'x' twice") == kind_of("request-refused", "row 4 has 'some y' twice")
    assert kind_of("request-refused", "no schema") != kind_of("request-refused", "no tools")
    assert kind_of("too-long", "no") != kind_of("filtered", "no")
