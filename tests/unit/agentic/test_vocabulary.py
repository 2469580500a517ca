"""The vocabulary of the format and of docs/method.md: whatever can be written occurs, in domains and in drawn cases.

A key that nobody reads, or a part of a wish that no draw reaches, is a promise to authors that nothing keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from flywheel_domains import blocks, gens, model, tables
from flywheel_domains import domain as whole
from flywheel_domains.case import Ending
from flywheel_domains.domain import Domain
from flywheel_domains.load import load
from flywheel_domains.model import SLOT_WAYS
from flywheel_domains.words import card
from flywheel_jobs.agentic.drawing import Side, draw_cases
from flywheel_jobs.agentic.right import Right
from flywheel_jobs.domains import packages

TESTS = Path(__file__).parents[1] / "domains"
NAMES = ("airline", "retail")
BUILTIN = [load(packages.BUILTIN / name) for name in (*NAMES, "nomination", "booking")]
OTHERS = [load(TESTS / name) for name in ("tern", "quay")]
CASES = 48
FOR_READERS = {"Act.about", "Column.about", "Table.about"}
TRIED_BY = {
    "Bias.limits": "test_world.py", "Bias.step": "test_world.py", "Bias.weights": "test_world.py",
    "Bias.range": "test_world.py",
    "Lookup.code": "test_runner.py", "Tool.side": "test_load.py",
}  # fmt: skip
"""Keys that no domain has a use for, and who shows that they do what is said of them."""


def keys() -> Iterator[tuple[str, type[BaseModel], str]]:
    """Every key of every block, as `Block.key`; a block's own name is no key."""
    for module in (model, tables, gens, blocks, whole):
        for block in vars(module).values():
            if isinstance(block, type) and issubclass(block, BaseModel) and block.__module__ == module.__name__:
                yield from ((f"{block.__name__}.{name}", block, name) for name in block.model_fields if name != "name")


def written(part: object, found: set[tuple[type[BaseModel], str]]) -> None:
    """Which keys a domain's file has."""
    if isinstance(part, BaseModel):
        found.update((block, name) for block in type(part).__mro__ for name in part.model_fields_set)  # type: ignore[arg-type]
        for name in type(part).model_fields:
            written(getattr(part, name), found)
    elif isinstance(part, dict | list | tuple):
        for each in part.values() if isinstance(part, dict) else part:
            written(each, found)


def test_every_key_of_the_format_is_written_in_some_domain() -> None:
    found: set[tuple[type[BaseModel], str]] = set()
    for domain in (*BUILTIN, *OTHERS):
        written(domain, found)
    missing = {key for key, block, name in keys() if (block, name) not in found}
    assert missing == FOR_READERS | set(TRIED_BY)
    for key, file in TRIED_BY.items():
        assert key.rpartition(".")[2] in (TESTS / file).read_text(encoding="utf-8"), key


@pytest.fixture(scope="module")
def drawn() -> list[Right]:
    return [
        right
        for domain in BUILTIN
        if domain.domain in NAMES
        for right in draw_cases(domain, Side.TRAINING, "vocabulary", CASES)
    ]


def test_every_part_of_wishes_occurs_in_drawn_cases(drawn: list[Right]) -> None:
    seen: Counter[str] = Counter()
    for right in drawn:
        seen.update({part for part, there in parts(right).items() if there})
    assert not [part for part in parts(drawn[0]) if not seen[part]], seen


def parts(right: Right) -> dict[str, bool]:
    """Which parts of the language of wishes a case is an example of.

    That nothing is left to choose from is rare, and has a test of its own (test_builtin.py).
    """
    domain, case, found = right.domain, right.case, right.behaviour
    options = [option for want in case.wants for option in want.chain()]
    slots = {slot.way for option in options for slot in domain.wishes[option.wish].slots.values()}
    said = card(domain, found)
    return {
        "withheld": any(option.hidden for option in options),
        "described": any(option.described for option in options),
        "another value": any(values for option in options for values in option.again.values()),
        "fallback": any(want.otherwise for want in case.wants),
        "own limit": any(option.limits for option in options),
        "several": len(case.wants) > 1,
        "claims": bool(said["claims"]),
        "pleads": bool(said["pleads"]),
        "tone": said["tone"] != "plain",
        "asked for": any(fact.source in domain.wishes for fact in found.facts),
        "to be told": any(fact.source not in domain.wishes for fact in found.facts),
        "somebody else's": case.kind == "other",
        **{f"slot {way}": way in slots for way in SLOT_WAYS},
        **{f"ends {ending}": ending in found.endings for ending in Ending if ending is not Ending.IMPOSSIBLE},
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_wish_is_drawn_though_no_rule_decides_it(name: str, drawn: list[Right]) -> None:
    domain: Domain = next(domain for domain in BUILTIN if domain.domain == name)
    wished = {option.wish for right in drawn for want in right.case.wants for option in want.chain()}
    assert not set(domain.wishes) - wished
