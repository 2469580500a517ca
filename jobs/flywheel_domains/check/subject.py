"""What the checks look at: a loaded domain, and what is drawn from it once for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path as Folder

from flywheel_domains.behaviour import Behaviour
from flywheel_domains.check.report import Finding
from flywheel_domains.check.sample import Sample, take
from flywheel_domains.domain import Domain
from flywheel_domains.errors import ToolFault
from flywheel_domains.generate import build_world
from flywheel_domains.load import CODE
from flywheel_domains.lookups import Path, Unprovable, path_of
from flywheel_domains.world import World

WORLDS = 3
"""Worlds that are looked at: enough for generators to differ, few enough for seconds."""


class Subject:
    """One domain under test."""

    def __init__(self, folder: Folder, domain: Domain, seed: int = 0) -> None:
        self.folder, self.domain, self.seed = folder, domain, seed
        self._rules = {rule.id: number for number, rule in enumerate(domain.rules)}
        self._paths: dict[int, Path | Unprovable] = {}
        self._personas = {persona.id: number for number, persona in enumerate(domain.personas)}

    def finding(self, check: str, message: str, advice: str, *path: str | int) -> Finding:
        """A finding at a path of `domain.yaml`; rules and personas are named by their ids."""
        numbers = {"rules": self._rules, "personas": self._personas}.get(str(path[0]), {}) if path else {}
        place = tuple(numbers.get(str(step), step) for step in path)
        return Finding(check, "domain.yaml", self.domain.line_of(place), ".".join(map(str, path)), message, advice)

    def misbehaved(self, check: str, fault: ToolFault) -> Finding:
        """A finding about a tool that did what no tool may do: at its function, if it is one of tools.py."""
        message = f"the tool misbehaved ({fault.kind}): {fault.message}"
        advice = "a tool answers or refuses, and leaves its inputs and every invariant as they were"
        tool, lookup = self.domain.tools.get(fault.tool), self.domain.lookups.get(fault.tool)
        code = tool.code if tool is not None else lookup.code if lookup is not None else None
        if code is None:
            return self.finding(check, message, advice, "tools", fault.tool)
        lines = (self.folder / CODE).read_text(encoding="utf-8").splitlines()
        begins = f"def {code.partition('.')[2]}("
        line = next((number for number, text in enumerate(lines, 1) if text.startswith(begins)), 1)
        return Finding(check, CODE, line, fault.tool, message, advice)

    @cached_property
    def worlds(self) -> tuple[World, ...]:
        """The worlds of the first seeds. Raises DomainError where a generator does not work."""
        return tuple(build_world(self.domain, self.seed + number) for number in range(WORLDS))

    @cached_property
    def sample(self) -> Sample:
        """The cases that are looked at."""
        return take(self.domain, self.worlds, self.seed)

    def path(self, found: Behaviour) -> Path | None:
        """A right way with its look-ups, None where the case cannot be proved."""
        if id(found) not in self._paths:
            try:
                self._paths[id(found)] = path_of(self.domain, found)
            except Unprovable as error:
                self._paths[id(found)] = error
        known = self._paths[id(found)]
        return known if isinstance(known, Path) else None

    @cached_property
    def unprovable(self) -> list[tuple[Behaviour, Unprovable]]:
        """The cases that nobody can prove, and why."""
        tried = [(found, self.path(found), self._paths[id(found)]) for found in self.sample.all]
        return [(found, why) for found, _, why in tried if isinstance(why, Unprovable)]

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
