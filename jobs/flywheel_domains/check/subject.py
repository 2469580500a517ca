"""What the checks look at: a loaded domain, and what is drawn from it once for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path as Folder

from flywheel_domains.check.report import Finding
from flywheel_domains.domain import Domain
from flywheel_domains.generate import build_world
from flywheel_domains.world import World

WORLDS = 3
"""Worlds that are looked at: enough for generators to differ, few enough for seconds."""


class Subject:
    """One domain under test."""

    def __init__(self, folder: Folder, domain: Domain, seed: int = 0) -> None:
        self.folder, self.domain, self.seed = folder, domain, seed
        self._rules = {rule.id: number for number, rule in enumerate(domain.rules)}
        self._personas = {persona.id: number for number, persona in enumerate(domain.personas)}

    def finding(self, check: str, message: str, advice: str, *path: str | int) -> Finding:
        """A finding at a path of `domain.yaml`; rules and personas are named by their ids."""
        numbers = {"rules": self._rules, "personas": self._personas}.get(str(path[0]), {}) if path else {}
        place = tuple(numbers.get(str(step), step) for step in path)
        return Finding(check, "domain.yaml", self.domain.line_of(place), ".".join(map(str, path)), message, advice)

    @cached_property
    def worlds(self) -> tuple[World, ...]:
        """The worlds of the first seeds. Raises DomainError where a generator does not work."""
        return tuple(build_world(self.domain, self.seed + number) for number in range(WORLDS))

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """Generated ids, and names and addresses of people: what must not stand in a sentence."""
        return frozenset(value for value in _told(self.worlds[0]) if len(value) > 3)


def _told(world: World) -> Iterator[str]:
    for name, table in world.domain.tables.items():
        columns = {
            c.name for c in table.columns.values() if c.gen is not None and c.gen.way in ("person", "email", "code")
        }
        for row in world.rows(name):
            yield from (str(row.get(column)) for column in columns)


def words_of(sentence: str) -> frozenset[str]:
    """The words of a sentence, and each two neighbours, as an id or a full name stands in it."""
    words = re.findall(r"[\w@.+/-]*\w", sentence)
    return frozenset(words) | {f"{first} {second}" for first, second in pairwise(words)}
