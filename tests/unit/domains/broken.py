"""Broken domains: each is the small domain of `domain new` with one thing wrong, and what the tester must say of it.

`at` is the text of the line that the finding must name. Every check has at least one row that only it finds: take a
check out and its row fails (tests/unit/domains/test_check.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flywheel_domains.cli import TEMPLATE


@dataclass(frozen=True)
class Broken:
    """One mistake: texts replaced, files added, and the finding that must come of it."""

    name: str
    check: str
    at: str
    edits: tuple[tuple[str, str], ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    says: str = ""
    file: str = "domain.yaml"
    also: tuple[str, ...] = ()

    def make(self, folder: Path) -> Path:
        """Writes the domain; a text that is not in the template is a mistake of the row."""
        text = (TEMPLATE / "domain.yaml").read_text(encoding="utf-8")
        for old, new in self.edits:
            assert text.count(old) == 1, f"{self.name}: {text.count(old)} times: {old}"
            text = text.replace(old, new)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "domain.yaml").write_text(text, encoding="utf-8")
        for name, content in self.files.items():
            (folder / name).write_text(content, encoding="utf-8")
        return folder

    def line(self, folder: Path) -> int:
        """The number of the line that holds `at`."""
        lines = (folder / self.file).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, 1) if self.at in line]
        assert len(found) == 1, f"{self.name}: {len(found)} lines hold {self.at!r}"
        return found[0]


def _edit(name: str, check: str, old: str, new: str, at: str = "", says: str = "") -> Broken:
    return Broken(name, check, at or new.splitlines()[0], ((old, new),), says=says)


LOAD = [
    _edit(
        "unknown column type",
        "schema",
        "{type: item, gen: {any: item}}",
        "{type: colour, gen: {any: item}}",
        "type: colour",
    ),
    _edit("a float in a column", "schema", "rush_fee: 1500", "rush_fee: 15.00", says="float"),
    _edit(
        "a float in an expression", "schema", "it.price + rush_fee", "it.price * 1.1", "it.price * 1.1", says="float"
    ),
    _edit(
        "a key that YAML reads as a boolean", "schema", "item:  [bicycle", "on: [a, b]\n  item:  [bicycle", "on: [a, b]"
    ),
    _edit("a key that YAML reads as null", "schema", "item:  [bicycle", "null: [a]\n  item:  [bicycle", "null: [a]"),
    _edit(
        "a boolean word as a value",
        "schema",
        "[too_dear, bought_new, sold]",
        "[too_dear, no, sold]",
        "[too_dear, no, sold]",
    ),
    _edit("an unknown key", "schema", "    proves: caller == it", "    prove: caller == it"),
    _edit("a tool without a schema", "schema", "    args: {email: {type: string}}\n", "", "find_customer:"),
    _edit(
        "a table without a generator",
        "schema",
        "{type: bool, gen: {chance: 0.3}}",
        "{type: bool}",
        "rush:       {type: bool}",
    ),
    _edit("something left to do", "schema", "about: Show one repair.", "about: TODO", says="to do"),
    _edit("not YAML", "schema", "types:", "types: [", "stage: [waiting"),
    _edit("a reference to no table", "schema", "customer:   {ref: customers}", "customer:   {ref: clients}"),
    _edit(
        "a rule about nothing",
        "schema",
        "for: [rush_repair], when: r.rush",
        "for: [hurry], when: r.rush",
        "for: [hurry]",
    ),
    _edit("a wish for nothing", "schema", "{goal: lower_price", "{goal: raise_price"),
    _edit("a rule that names no row", "schema", "when: r.rush, verdict", "when: q.rush, verdict", "when: q.rush"),
]

WORDS = [
    _edit("a rule with one example", "examples", "{set: {r.rush: false}, fires: false}, ", "", "{id: h-twice"),
    _edit(
        "a rule with two examples on one side",
        "examples",
        "{set: {r.rush: false}, fires: false}",
        "{set: {r.rush: true}, fires: true}",
        "{id: h-twice",
    ),
    _edit(
        "an act without an end",
        "reach",
        "{id: cheaper, for: [lower_price], verdict: deny",
        "{id: cheaper, for: [lower_price], verdict: ask, ask: [repair_id]",
        "  lower_price: {args",
    ),
    _edit(
        "a write that no wish wants",
        "reach",
        "rush:    {goal: rush_repair",
        "rush:    {goal: lower_price",
        "  rush_repair:",
    ),
    _edit(
        "an act that nobody asks for",
        "reach",
        "cheaper: {goal: lower_price, slots: {repair_id: mine.repair}",
        "cheaper: {goal: rush_repair, slots: {repair_id: mine.repair}",
        "  lower_price: {args",
    ),
    _edit("a tool's name in a sentence", "sentences", "There is nothing to hurry once", "There is no rush_repair once"),
    _edit(
        "an argument's name in a sentence",
        "sentences",
        "Prices are fixed, for everybody",
        "The price of a repair_id is fixed",
    ),
    _edit(
        "an order of steps in a sentence",
        "sentences",
        "The customer's reason is always noted.",
        "The reason is noted, then the repair is dropped.",
    ),
    _edit(
        "a description that says when",
        "descriptions",
        "about: Take a repair off the list.",
        "about: Take a repair off the list unless it is ready.",
    ),
    _edit(
        "a description that repeats a sentence",
        "descriptions",
        "about: Put a repair at the head of the list and add the fee to its price.",
        "about: There is nothing to hurry once the work is finished.",
    ),
    _edit(
        "an argument's description that says a limit",
        "descriptions",
        "why: {type: why, from: caller}}",
        "why: {type: why, from: caller, about: needed within 48 hours}}",
    ),
]

WORLD = [
    _edit(
        "a generator that raises",
        "generators",
        "pick(2000, 4500, 9000)",
        "pick(2000) // (1 - 1)",
        "price:      {type: money",
    ),
    _edit("a generator of another type", "generators", "pick(2000, 4500, 9000)", "'a lot'", "price:      {type: money"),
    _edit("a generator against an invariant", "generators", "pick(2000, 4500, 9000)", "pick(0, 4500)", "check: ["),
    _edit("an invariant that raises", "generators", "it.price > 0", "it.price // 0 > 0", "check: ["),
]

BROKEN = [*LOAD, *WORDS, *WORLD]
