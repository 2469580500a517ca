"""Labelled sentences of the four built-in domains, and conversations that end with one of them.

`sayings.tsv` holds them: `first` were written before the rules of the reader, `second` after them and before they were
mended, `aside` before them and kept aside until the rules stood, `later` when all the others were read rightly: of them
76 of 102 were read rightly before the kinds that were not were mended. `stranger` are words of two desks that are not
built in, labelled before the reader saw them; so are `trade`, `fresh` and `third`, of libraries, banks, clinics and
hire desks, of which 83 of 120, 45 of 60 and 42 of 60 were read rightly at first sight.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import flywheel_domains
from flywheel_domains.agents import Play, events_of
from flywheel_domains.case import WROTE
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.lookups import Unprovable, path_of
from flywheel_domains.reward import Episode, Grade, Reason, Said, facts_told, grade, last_results
from flywheel_domains.wishes import NotDrawn

BUILT_IN = Path(flywheel_domains.__file__).parent / "builtin"
KINDS = ("done", "denied", "handed")


@dataclass(frozen=True)
class Saying:
    """A text, and which of KINDS it claims."""

    set: str
    domain: str
    claims: frozenset[str]
    text: str


def sayings() -> list[Saying]:
    with (Path(__file__).parent / "sayings.tsv").open() as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [
            Saying(row["set"], row["domain"], frozenset(row["claims"].split(",")) - {"-"}, row["text"]) for row in rows
        ]


@cache
def domain_of(name: str) -> Domain:
    return load(BUILT_IN / name)


@cache
def plays(name: str, each: int = 2) -> dict[str, list[Play]]:
    """Cases of a built-in domain by how they end: all done, all refused, or some of each."""
    domain, found = domain_of(name), dict[str, list[Play]](done=[], denied=[], mixed=[])
    world = build_world(domain, 3)
    kinds = ("done", "denied") if name == "booking" else tuple(found)
    for number in range(400):
        try:
            behaviour = draw_behaviour(domain, world, random.Random(number))
            play = Play(domain, behaviour, path_of(domain, behaviour))
        except (NotDrawn, Unprovable):
            continue
        ends = {
            "done" if result.ending in WROTE else "denied" if result.decision.verdict == "deny" else "other"
            for result in last_results(behaviour)
        }
        kind = "mixed" if ends == {"done", "denied"} else next(iter(ends)) if len(ends) == 1 else "other"
        if kind in found and len(found[kind]) < each:
            found[kind].append(play)
        if all(len(found[kind]) >= each for kind in kinds):
            break
    return found


def ended_with(play: Play, words: str) -> Grade:
    """The right way, with these last words and the facts that must be told."""
    events = [event for step in play.path.steps for event in events_of(step)]
    told = " ".join([words, *facts_told(play.domain, play.found)])
    return grade(play.domain, play.found.case, play.found, Episode((*events, Said(told))), confirmations=True)


def paid_by(kind: str, claims: frozenset[str]) -> bool:
    """Whether these claims are right of a case that ends so."""
    if kind == "done":
        return claims <= {"done"}
    return "denied" in claims and claims <= {"denied", "done" if kind == "mixed" else "denied"}


def judged(sets: tuple[str, ...]) -> Iterator[tuple[Saying, str, bool, bool]]:
    """Each saying without a number as the last words of cases of its domain: do its claims pass, and should they?"""
    for saying in sayings():
        if saying.set in sets and not any(map(str.isdigit, saying.text)):
            for kind, cases in plays(saying.domain).items():
                for play in cases:
                    wrong = {Reason.FALSE_CLAIM, Reason.NOT_TOLD} & set(ended_with(play, saying.text).reasons)
                    yield saying, kind, not wrong, paid_by(kind, saying.claims)
