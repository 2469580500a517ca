"""Twins (`flywheel_domains.twins`): the same document, another state, caller or act, another end.

Made on purpose for every case whose rule a state decides, with the same words, so that neither words nor document give
the answer away.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from flywheel_domains.generate import build_world
from flywheel_domains.lookups import Unprovable
from flywheel_domains.twins import How, twin_of
from flywheel_jobs.agentic.right import Right, has_room


@dataclass(frozen=True)
class Twin:
    """A case beside another. `same_words`: it is told from it by looking only."""

    right: Right
    rule: str
    same_words: bool


def twin(right: Right, rng: random.Random) -> Twin | None:
    """A twin that ends otherwise; None where none was found."""
    domain = right.domain
    found = twin_of(domain, build_world(domain, right.case.seed), right.behaviour, rng)
    if found is None:
        return None
    other = Right(domain, found.found.case, found.found)
    try:
        if _ends(other) == _ends(right) or not has_room(other):
            return None
    except Unprovable:
        return None
    return Twin(other, found.rule, found.how is How.CELL)


def _ends(right: Right) -> list[tuple[str, str]]:
    return [(str(result.ending), result.call.name) for result in right.behaviour.results]
