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
    _edit("no such time zone", "schema", "zone: Europe/Lisbon", "zone: Lisbon", "zone: Lisbon", says="time zone"),
    _edit(
        "a hand-over that leaves open what about",
        "schema",
        """args: {topic: "'finished'", repair_id: r.id}""",
        "args: {repair_id: r.id}",
        "id: d-ready",
        says="hand_over needs topic",
    ),
    _edit(
        "a value without quotes of its own",
        "schema",
        """to: {stage: "'dropped'",""",
        "to: {stage: dropped,",
        says="\"'d",
    ),
    _edit(
        "a value without quotes in a rule",
        "schema",
        """when: "r.stage == 'dropped'", verdict""",
        """when: "r.stage == dropped", verdict""",
        says="\"'dropped'\"",
    ),
    _edit("a word of YAML in a rule", "schema", "when: r.rush, v", "when: r.rush != no, v", says="write false"),
    _edit(
        "days of a span",
        "schema",
        'now - r.brought_at > hours(48)"',
        '(now - r.brought_at).days > 2"',
        says="hours(48)",
    ),
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

DEAR = """  dear: {goal: lower_price, words: ["Cheaper, {repair_id}."],
         slots: {repair_id: {expr: "first([x.id for x in rows('repairs') if x.price < 0])"}}}
"""
COVERED = """  - {id: d-both, for: [drop_repair], when: "r.stage == 'ready' and r.rush", verdict: deny,
     examples: [{set: {r.rush: false}, fires: false}, {set: {r.stage: ready, r.rush: true}, fires: true}],
     say: "What is finished and was hurried is kept."}
"""
H_READY = "  - {id: h-ready,"
PLAY = [
    _edit(
        "a rule that raises",
        "raises",
        "r.stage == 'started' and now",
        "100 // (r.price - r.price) > 1 and now",
        says="raised",
    ),
    _edit(
        "a tool that breaks an invariant",
        "raises",
        "to: {rush: true, price: it.price + rush_fee}",
        "to: {rush: true, price: 0}",
        "  rush_repair:",
        says="invariant",
    ),
    _edit(
        "a rule that another covers", "decisive", H_READY, COVERED + H_READY, "{id: d-both", says="never the last word"
    ),
    _edit(
        "a wish that finds nothing",
        "decisive",
        "  cheaper: {goal",
        DEAR + "  cheaper: {goal",
        "  dear: {goal",
    ),
    _edit(
        "a tool that refuses what is allowed",
        "layers",
        "{if: r.rush, error: already_first}",
        "{if: r.rush, error: already_first}, {if: r.price == 4500, error: odd_price}",
        says="odd_price",
    ),
    _edit(
        "a rule that the tool does not keep",
        "layers",
        ", {if: r.rush, error: already_first}",
        "",
        "{id: h-twice",
        says="carries it out",
    ),
    _edit(
        "a rule that the tool keeps unsaid",
        "layers",
        "when: r.rush, verdict: deny, enforced: tool",
        "when: r.rush, verdict: deny",
        says="as well",
    ),
    _edit(
        "a desk where nothing is done",
        "unchanged",
        "mine:  {share: 0.9",
        "mine:  {share: 0.05",
        "wishes:",
        says="most of them end by rule own (",
    ),
    _edit("an outcome that no case has", "outcomes", "asked, trap]", "asked, replaced, trap]", says="replaced"),
]
SEEN = [
    _edit(
        "a column that nothing shows",
        "shown",
        "brought_at, price, rush, why]",
        "brought_at, price, why]",
        "rush:       {type: bool",
        says="h-twice",
    ),
    _edit(
        "a row that nothing leads to",
        "shown",
        "{get: repairs, key: repair_id, show: repair}",
        "{one: repairs, where: 'it.id == repair_id and it.price == 1', show: repair}",
        "{id: d-late",
    ),
    _edit(
        "a table that no read lists",
        "shown",
        "when: r.rush, verdict",
        "when: \"any([x.rush and x.id == r.id for x in rows('repairs')])\", verdict",
        "{id: h-twice",
        says="listing('tool', argument=…)",
    ),
]
TOOL = "tools:\n"
CODE_TOOL = """tools:
  list_waiting:
    code: tools.waiting
    kind: read
    about: List what waits, by what it is.
    args: {item: {type: item}}
"""


def _code(name: str, check: str, body: str, at: str = "def waiting(", says: str = "") -> Broken:
    files = {"tools.py": f'"""A tool in code."""\n\n\ndef waiting(db, now, item):\n    """What waits."""\n{body}'}
    return Broken(name, check, at, ((TOOL, CODE_TOOL),), files, says, "tools.py")


CODE = [
    _code("code that raises", "raises", "    return [][0]\n", says="raised"),
    _code("code that answers with too much", "raises", "    return 'x' * 10_000_000\n", says="output"),
    _code("code that changes its inputs", "raises", "    db.rows('repairs')[0].price = 1\n    return []\n"),
    _code("code that opens a socket", "schema", "    import socket\n    return []\n", "import socket"),
    Broken("code that is not there", "schema", "code: tools.waiting", ((TOOL, CODE_TOOL),)),
]
CHEAPEST = """  best: {goal: rush_repair, words: ["Whatever is cheapest of mine, please hurry it."],
         slots: {repair_id: {choose: {from: caller.repairs, by: min x.rush}}}}
"""
BEFORE = "  cheaper: {goal"
MORE = [
    _edit(
        "an example on the wrong side",
        "limits",
        "{set: {r.rush: true}, fires: true}",
        "{set: {r.rush: false}, fires: true}",
    ),
    _edit(
        "a way round by two allowed calls",
        "loopholes",
        "price: it.price + rush_fee}",
        "price: it.price + rush_fee, brought_at: now}",
        "{id: d-late",
    ),
    _edit(
        "words without a value",
        "words",
        "Can {repair_id} be done sooner?",
        "Can it be done sooner?",
        "Can it be done sooner?",
    ),
    _edit("an optimum with ties", "ties", BEFORE, CHEAPEST + BEFORE, "  best: {goal"),
    _edit(
        "two rules with one sentence",
        "sentences",
        "No piece is hurried twice.",
        "Prices are  fixed, for everybody.",
        "{id: cheaper",
    ),
    _edit(
        "an amount that is nowhere", "agents", "and not later.", "and not later, for a fee of 7 euros.", "{id: d-late"
    ),
    _edit(
        "a sentence with a row's id",
        "sentences",
        "No piece is hurried twice.",
        "No piece is hurried twice, K675 included.",
    ),
]

BROKEN = [*LOAD, *WORDS, *WORLD, *PLAY, *SEEN, *CODE, *MORE]
