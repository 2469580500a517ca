"""A broken domain is refused with every fault's file, line, place and a sentence; nothing of it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_domains.code_check import check_code
from flywheel_domains.document import DEEPEST, read_document
from flywheel_domains.errors import DomainError, Fault
from flywheel_domains.load import digest, load, parse
from unit.domains.small import SHED, changed, line_of, write

FEE = "fee: {type: money, gen: {pick: [300, 700]}}"
LENT = "{set: k, to: {state: \"'lent'\"}}"


def faults(text: str, code: str = "") -> tuple[Fault, ...]:
    with pytest.raises(DomainError) as error:
        parse(text, code=code)
    return error.value.faults


def test_the_shed_has_no_fault() -> None:
    assert parse(SHED).domain == "shed"


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        # types and generators
        (FEE, "fee: {type: monny, gen: {pick: [300]}}", "bikes.columns.fee.type", "there is no type monny"),
        (FEE, "fee: {type: money}", "bikes.columns.fee", "the column has no generator"),
        (FEE, "fee: {type: money, gen: {}}", "bikes.columns.fee.gen", "exactly one of"),
        (FEE, "fee: {type: money, gen: {pick: [1], range: [1, 2]}}", "fee.gen", "exactly one of"),
        (FEE, "fee: {type: money, gen: {expr: 1.5}}", "fee.gen.expr", "1.5 is a float"),
        (FEE, "fee: {type: money, gen: {expr: \"fee * 1.5\"}}", "fee.gen.expr", "there are no floats"),
        (FEE, "fee: {type: money, gen: {expr: price}}", "fee.gen.expr", "there is no price here"),
        (FEE, "fee: {type: money, gen: {expr: pik(1)}}", "fee.gen.expr", "there is no function pik"),
        (FEE, "fee: {type: money, gen: {any: things}}", "fee.gen.any", "there is no enumeration things"),
        (FEE, "fee: {type: money, gen: {range: [1, 9], bias: {share: 0.3}}}", "fee.gen.bias", "exactly one of"),
        ("bike: {ref: bikes}", "bike: {ref: bike}", "loans.columns.bike.ref", "there is no table bike"),
        ("rows: 8", "rows: 8\n    per: {people: [1, 2], as: p}", "tables.bikes", "exactly one of `rows`, `per`"),
        ("per: {people: [0, 2], as: person}", "per: {persons: [0, 2], as: person}", "loans.per", "no table persons"),
        ("per: {people: [0, 2], as: person}", "per: {people: [0, 2]}", "loans.per.as", "the key is missing"),
        ("per: {people: [0, 2], as: person}", "per: {people: [2, 0], as: person}", "loans.per", "the least comes"),
        ("per: {people: [0, 2], as: person}", "per: {people: state, as: person}", "loans.per", "`fill` names"),
        ('id: {gen: {seq: "B%d"}}', "make: {type: string, gen: {value: x}}", "bikes.columns", "no generator for `id`"),
        ("check: [it.credit >= 0]", "check: [it.credits >= 0]", "people.check.0", "has credits"),
        # YAML
        ("rules:", "on: x\nrules:", "on", "is a boolean or null in YAML"),
        ("rules:", "no: x\nrules:", "no", "is a boolean or null in YAML"),
        ("rules:", "null: x\nrules:", "null", "is a boolean or null in YAML"),
        ("rules:", "rulez: []\nrules:", "rulez", "the key is not part of the format"),
        ("rules:", "tables: {}\nrules:", "tables", "the key is there twice"),
        ("hours: {type: int, min: 1", "hours: {type: int, min: 010", "min", "read as another number"),
        ("hours: {type: int, min: 1", "hours: {type: int, min: 1.5", "min", "1.5 is a float"),
        ("name: {type: string, gen: {name: full}}", "name: {type: string, gen: {value: off}}", "value", "a boolean in"),
        ("trade: baker", "trade: TODO", "personas.0.trade", "there is something to do"),
        ("share: 1,", "share: 1.5,", "callers.mine.share", "less than or equal to 1"),
        # views and tools
        ("bike: {of: bikes,", "bike: {of: bike,", "views.bike.of", "there is no table bike"),
        ("show: [id, state, fee]", "show: [id, state, price]", "views.bike.show.2", "bikes has no column price"),
        ("loans: [id, bike, due]", "loan: [id, bike, due]", "views.person.with.loan", "people has no list loan"),
        ("loans: [id, bike, due]", "loans: [id, due.day]", "with.loans.1", "due refers to no table"),
        ("show: bike}, args: {bike_id", "show: bikes}, args: {bike_id", "get_bike.read.show", "there is no view bikes"),
        ("key: bike_id", "key: bike", "get_bike.read.key", "there is no argument bike"),
        ("    args: {most: {type: money}}\n", "", "tools.free_bikes.args", "the key is missing"),
        ("args: {most: {type: money}}", "args: {most: {type: cash}}", "free_bikes.args.most.type", "no type cash"),
        ("args: {most: {type: money}}", "args: {most: {}}", "free_bikes.args.most", "exactly one of type, ref"),
        ("and it.fee <= most", "and it.fee <= mast", "free_bikes.read.where", "there is no mast here"),
        ("sort: it.fee", "sort: it.cost", "free_bikes.read.sort", "no table or argument has cost"),
        ("repeat: refuse", "side: user\n    repeat: refuse", "tools.lend.side", "not built yet"),
        ("    repeat: refuse\n", "", "tools.lend", "`repeat: same`"),
        ("    write: true\n", "", "tools.lend", "exactly one of `read`"),
        (LENT, "{set: k, to: {stat: 1}}", "lend.do.1.to.stat", "no table has a column stat"),
        (LENT, "{set: k}", "lend.do.1", "`set` has `to`"),
        (LENT, "{to: {state: 1}}", "lend.do.1", "exactly one of set, add, drop"),
        (LENT, "{each: x of y, drop: k}", "lend.do.1.each", "name in list"),
        ("due: now + hours(hours)", "due: now, what: 1", "lend.do.0.row.what", "loans has no column what"),
        (", due: now + hours(hours)", "", "lend.do.0.row", "the row gives no due"),
        ("error: not_free", "error: Not free", "lend.refuse.0.error", "a name is small letters"),
        ('late: "(l): l.due < now"', 'late: "l.due < now"', "lookups.late", "(name, name): expression"),
        ('late: "(l): l.due < now"', "late: {code: tools.late, args: [l]}", "lookups.late", "has no function late"),
        # rules and wishes
        ("for: [lend]", "for: [land]", "rules.0.for", "there is no tool, act or group land"),
        ("for: [lend]", "for: [lend, get_bike]", "rules.0.when", "p means nothing for get_bike"),
        ("late(l) for l", "lade(l) for l", "rules.0.when", "there is no function lade"),
        ("verdict: deny", "verdict: refuse", "rules.0.verdict", "Input should be"),
        (", verdict: deny", "", "rules.0", "exactly one of `verdict`, `modifier`"),
        ("when: any(", "lifted_by: [nobody], when: any(", "rules.0.lifted_by", "there is no rule nobody"),
        ("verdict: deny", "verdict: identify, by: [get_bike]", "rules.0.by", "no tool get_bike shows who"),
        ("verdict: deny", "verdict: hand_over", "rules.0.verdict", "nothing hands over"),
        ("verdict: deny", "verdict: ask, ask: [bike]", "rules.0.ask", "lend has no bike"),
        ("verdict: deny", "verdict: deny, tell: [fee]", "rules.0.tell", "lend has no fee"),
        ("verdict: deny", "verdict: instead, instead: {tool: land}", "instead.tool", "no tool land"),
        ("verdict: deny", "verdict: instead, instead: {tool: lend, args: {x: 1}}", "instead.args", "lend has no x"),
        ("verdict: deny", "modifier: value, set: {fee: 1}", "rules.0.set", "lend has no fee"),
        ("bike_id: {any: bikes}", "bike_id: {any: bike}", "slots.bike_id.any", "no enumeration or table bike"),
        ("bike_id: {any: bikes}", "bike_id: {expr: b.id}", "slots.bike_id.expr", "there is no b here"),
        ("bike_id: {any: bikes}", "bike_id: {choose: {from: rows('bikes'), by: fee}}", "choose.by", "write `min"),
        ("bike_id: {any: bikes}", "bike_id: {choose: {from: rows('bikes'), by: min it.cost}}", "choose.by", "has cost"),
        ("goal: lend", "goal: lend\n    only_if: fee < most", "borrow.only_if", "there is no fee here"),
        ("clock: {", "clock: {per_turn: 5m, ", "clock.per_turn", "not built yet"),
        ("goal: lend", "goal: borrow", "wishes.borrow.goal", "there is no tool or act borrow"),
        ("slots: {person_id: caller,", "slots: {person: caller,", "borrow.slots.person", "lend has no argument person"),
        ("bike_id: {any: bikes}", "bike_id: some", "borrow.slots.bike_id", "write `caller`"),
        ("now: \"2031-03-14T10:00\"", "now: today", "clock.now", "a moment is expected"),
        ("format: flywheel.dev/domain/v1", "format: v0", "format", "Input should be"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_line(old: str, new: str, where: str, says: str) -> None:
    text = changed(old, new)
    found = faults(text)
    fitting = [fault for fault in found if where in fault.where and says in f"{fault.message} {fault.advice}"]
    assert fitting, [str(fault) for fault in found]
    start = line_of(SHED, old.strip())
    around = (text.splitlines()[fitting[0].line - 1].strip(" -").partition(":")[0], *fitting[0].where.split("."))
    assert start <= fitting[0].line <= start + new.count("\n") or around[0] in around[1:]  # the line, or its block's
    assert all(fault.file == "domain.yaml" for fault in found)


def test_several_faults_are_said_at_once() -> None:
    text = changed("sort: it.fee", "sort: it.cost", changed("for: [lend]", "for: [land]"))
    assert len(faults(text)) == 2


def test_tools_of_the_user_have_their_place_and_are_refused_for_now() -> None:
    (fault,) = faults(changed("repeat: refuse", "side: user\n    repeat: refuse"))
    assert "have their place in the format" in fault.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", "not YAML"),
        ("a: &x 1\nb: *x", "aliases"),
        ("[" * (DEEPEST + 1), "nested too deep"),
        ("a: !!python/object/apply:os.system [x]", "tag"),
        ("? [1, 2]\n: 3", "a key is a word"),
        ("\t- x", "not YAML"),
        ("a: 1\x00", "not YAML"),
        ("x" * (4 * 2**20 + 1), "at most"),
    ],
)
def test_what_is_no_such_file(text: str, says: str) -> None:
    with pytest.raises(DomainError, match=says):
        read_document(text, "domain.yaml")


def test_plain_scalars() -> None:
    text = 'a: 10:00\nb: 2031-03-14\nc: 7\nd: "7"\ne: true\nf: null\ng:\nshare: 0.5\nh: -3\ni: 1_x\nj: "on"'
    found = read_document(text, "f").data
    assert found == {
        "a": "10:00", "b": "2031-03-14", "c": 7, "d": "7", "e": True, "f": None, "g": None, "share": 0.5, "h": -3,
        "i": "1_x", "j": "on",
    }  # fmt: skip


@given(st.text(alphabet=st.sampled_from(" \n:-[]{},#&*!|>'\"%@`ab1.~?"), max_size=60))
def test_any_text_is_a_document_or_a_domain_error(text: str) -> None:
    try:
        read_document(text, "domain.yaml")
    except DomainError as error:
        assert error.faults


def test_a_folder_without_a_domain(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match=r"domain\.yaml:1: the folder: there is no domain\.yaml"):
        load(tmp_path)
    (tmp_path / "domain.yaml").write_bytes(b"\xff")
    with pytest.raises(DomainError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("code", "line", "says"),
    [
        ("import socket", 1, "import socket"),
        ("\nfrom os import environ", 2, "from os import"),
        ("from . import x", 1, "is not for domains"),
        ("def f(db, now):\n    import urllib.request", 2, "urllib"),
        ("def f(db, now):\n    return open('x')", 2, "open"),
        ("def f(db, now):\n    return now.__class__", 2, "underscore"),
        ("def f(db, now):\n    return __import__('os')", 2, "__import__"),
        ("import random", 1, "no chance"),
        ("import time", 1, "no wall clock"),
        ("from datetime import date\ndef f(db, now):\n    return date.today()", 3, "one clock"),
        ("KEPT = []", 1, "the top level"),
        ("def f(db, now):\n    global X", 2, "nothing is kept"),
        ("def f(db, now):\n    return 1.5", 2, "no floats"),
        ("def f(db, now):\n    return 1 / 2", 2, "no floats"),
        ("class A: pass", 1, "the top level"),
        ("def f(:", 1, "not Python"),
    ],
)
def test_code_that_reaches_outside(tmp_path: Path, code: str, line: int, says: str) -> None:
    folder = write(tmp_path / "shed", SHED, code + "\n")
    with pytest.raises(DomainError) as error:
        load(folder)
    fitting = [fault for fault in error.value.faults if says in str(fault)]
    assert fitting and (fitting[0].file, fitting[0].line) == ("tools.py", line)


def test_code_that_computes_is_let_through() -> None:
    text = '"""Helpers."""\nimport math\nX = -3\nY = frozenset({"a"})\ndef f(db, now, n):\n    return math.isqrt(n)\n'
    assert check_code(text) == []


def test_arguments_of_code_are_those_of_the_declaration() -> None:
    text = changed('late: "(l): l.due < now"', "late: {code: tools.late, args: [l]}")
    (fault,) = faults(text, "def late(db, now, loan):\n    return True\n")
    assert "does not take (db, now, l)" in fault.message
    assert parse(text, code="def late(db, now, l):\n    return True\n").lookups["late"].args == ("l",)


def test_a_package_is_known_by_its_content(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", SHED, "# code\n"), write(tmp_path / "two", SHED, "# code\n")
    assert digest(one) == digest(two) == load(one).digest
    (two / "tools.py").write_text("# other\n")
    assert digest(one) != digest(two)
    (one / "__pycache__").mkdir()
    (one / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert digest(one) == load(one).digest
