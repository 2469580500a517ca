"""The guard that sees answers refused alike: sequences of verdicts, and the verdict at which it trips."""

from __future__ import annotations

import pytest

from flywheel_jobs.endpoints.guard import Guard, kind_of

# a letter is a kind of refusal, a dot a good answer
TRIPS = {
    "all from the first": ("aaaaaa", True, 5),
    "all after one good answer": ("." + "a" * 30, True, 20),
    "four, one good, then all": ("aaaa." + "a" * 30, True, 20),
    "a server that breaks in the middle": ("." * 100 + "a" * 30, True, 111),
    "two of three": ("aa." * 30, True, 20),
    "one of two": ("a." * 60, True, 0),
    "one of three": ("a.." * 60, True, 0),
    "each for a reason of its own": ("abcdefghijklmnopqrstuvwxyz" * 4, True, 0),
    "two kinds in turn": ("ab" * 60, True, 0),
    "an item's own word, 19 of them": ("a" * 19 + "." + "a" * 19, False, 0),
    "an item's own word, a whole window": ("." * 7 + "a" * 20, False, 27),
}


@pytest.mark.parametrize(("verdicts", "most", "at"), TRIPS.values(), ids=TRIPS)
def test_where_it_trips(verdicts: str, most: bool, at: int) -> None:
    guard = Guard()
    tripped = [n for n, one in enumerate(verdicts, start=1) if guard.trips(None if one == "." else one, most)]
    assert (tripped or [0])[0] == at


def test_alike_is_by_words_without_what_is_the_item_s() -> None:
    assert kind_of("request-refused", "row 17 has 'x' twice") == kind_of("request-refused", "row 4 has 'some y' twice")
    assert kind_of("request-refused", "no schema") != kind_of("request-refused", "no tools")
    assert kind_of("too-long", "no") != kind_of("filtered", "no")
