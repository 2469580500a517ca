"""Expressions: nothing outside the subset is compiled, and what unknown values leave open stays unknown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from types import CodeType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flywheel_domains.codegen import _GLOBALS
from flywheel_domains.errors import ExprError
from flywheel_domains.expr import Expr, ExprSyntax, Scope, compile_each, compile_expr, compile_lookup
from flywheel_domains.unknown import UNKNOWN, Unknown, is_unknown

BASE = {"yes": True, "no": False}


def value(text: str, **names: Any) -> Any:
    return compile_expr(text).eval(Scope({**BASE, **names}))


# ---- what is allowed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x.__class__", "underscore"),
        ("__import__('os')", "not a function"),
        ("_s", "underscore"),
        ("x._get", "underscore"),
        ("(lambda: 1)()", "only functions with a name"),
        ("lambda: 1", "lookups"),
        ("x.y()", "no methods"),
        ("x.y.did()", "no methods"),
        ("session.did(x)(y)", "only functions with a name"),
        ("session._done()", "no methods"),
        ("1.5", "floats"),
        ("1e3", "floats"),
        ("x / 2", "floats"),
        ("x ** 9", "no power"),
        ("x << 9", "LShift"),
        ("~x", "Invert"),
        ("1j", "complex"),
        ("b'x'", "bytes"),
        ("...", "ellipsis"),
        ("f'{x}'", "formatted"),
        ("xs[1:2]", "not cut"),
        ("[*xs]", "one argument"),
        ("{**xs}", "one by one"),
        ("count(*xs)", "one argument"),
        ("count(**xs)", "one by one"),
        ("(x := 1)", "nothing is assigned"),
        ("{x for x in xs}", "SetComp"),
        ("{x: 1 for x in xs}", "DictComp"),
        ("{1, 2}", "Set "),
        ("[x for x.y in xs]", "plain names"),
        ("[x for (x, (y, z)) in xs]", "plain names"),
        ("[x for _x in xs]", "plain names"),
        ("[x async for x in xs]", "async"),
        ("await x", "Await"),
        ("yield x", "not an expression"),
        ("[x for a in xs for b in xs for c in xs for d in xs]", "at most three"),
        ("[x(1) for x in xs]", "not a function"),
        ("x is y", "for None only"),
        ("any(x, y)", "one list"),
        ("x = 1", "not an expression"),
        ("import os", "not an expression"),
        ("1; 2", "not an expression"),
        ("", "not an expression"),
        ("x\0", "not an expression"),
        ("9" * 17, "at most"),
        ("9" * 5000, "characters"),
        ("(" * 300 + "1" + ")" * 300, "not an expression"),
        ("not " * 60 + "x", "too deep"),
        ("+".join("x" * 400), "too long"),
    ],
)
def test_what_is_not_of_the_language_is_refused(text: str, says: str) -> None:
    with pytest.raises(ExprSyntax, match=says):
        compile_expr(text)


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def reaches(expr: Expr) -> set[str]:
    """Every global name and attribute that the two compiled codes mention."""
    functions = (expr._fast, expr._three_valued)
    return {name for f in functions for code in codes(f.__code__) for name in code.co_names}


TOKENS = (
    "x", "xs", "session", "_s", "__class__", "did", "count", "any", "row", ".", "(", ")", "[", "]", "{", "}", ",", ":",
    " ", " for ", " in ", " if ", " else ", " and ", " not ", " lambda ", " is ", "**", "*", "+", "-", "//", "%", "==",
    "<", ":=", "=", "1", "1.5", "'a'", "f'{x}'", "None", "True", "...", "@", "\n", "_attribute", "__builtins__", "0j",
    "b''", "await ",
)  # fmt: skip


@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join))
@example("(x for x in session.did(xs))")
@example("[x.count for x in {'a': xs}['a'] if x is not None]")
def test_compiled_code_reaches_its_own_helpers_only(text: str) -> None:
    try:
        expr = compile_expr(text)
    except ExprSyntax:
        return
    assert reaches(expr) <= set(_GLOBALS)


def test_attributes_of_plain_values_are_not_python_s() -> None:
    for text in ("x.upper", "x.format", "xs.append", "n.real", "d.today", "d.isoformat"):
        with pytest.raises(ExprError, match="has no"):
            value(text, x="a", xs=[1], n=1, d=date(2031, 3, 14))
    assert value("d.year", d=date(2031, 3, 14)) == 2031


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("'%s' % x", "whole number"),
        ("'a' * x", "whole number"),
        ("xs * x", "whole number"),
        ("x * x * x * x * x", "larger than any"),
        ("x // 0", "zero"),
        ("x[0]", "no members"),
        ("'a'[0]", "no members"),
        ("nothing.of", "nothing (None) has no of"),
        ("xs[9]", "range"),
        ("table['z']", "no entry 'z'"),
        ("missing", "there is no missing"),
        ("missing(1)", "no function missing"),
        ("sum(['a'])", "whole number"),
        ("count('abc')", "a list is needed"),
        ("x < 'a'", "not supported"),
        ("x + 'a'", "unsupported"),
    ],
)
def test_what_cannot_be_computed_says_so(text: str, says: str) -> None:
    with pytest.raises(ExprError, match=says.replace("(", r"\(").replace(")", r"\)")) as error:
        value(text, x=10**14, xs=[1], nothing=None, table={"a": 1})
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 + 3 * 4 - 9 // 2 - 9 % 4", 9),
        ("1 < x <= 5 and not x == 4", True),
        ("'a' if x > 9 else 'b'", "b"),
        ("sum(i * 2 for i in xs if i > 1)", 10),
        ("[(i, j) for i, j in zip(xs, ['a', 'b'])]", [(1, "a"), (2, "b")]),
        ("min(xs) + max(1, x) + count(xs) + first([], 7)", 16),
        ("first(sorted(distinct([3, 1, 3])))", 1),
        ("x in [1, 5] and x not in [2] and 'ab' in 'cabd'", True),
        ("percent(1050, 15)", 158),
        ("percent(-1050, 15)", -158),
        ("{'a': {'b': 3}}['a']['b']", 3),
        ("any(i > 2 for i in xs) and all(i > 0 for i in xs)", True),
        ("any([no, yes]) and not all([no, yes])", True),
        ("moment('2031-03-14T10:00') - hours(25) < moment('2031-03-13T09:00')", False),
        ("day(moment('2031-03-14T10:00')) == date('2031-03-14')", True),
        ("age(date('2000-03-15'), date('2031-03-14'))", 30),
        ("weekday(date('2031-03-14'))", 5),
        ("fold('  Ädä  B ') == fold('ädä b')", True),
        ("starts('abc', 'ab')", True),
        ("'F' + digits(7)", "F7"),
        ("abs(-3)", 3),
        ("nothing is None and x is not None", True),
        ("yes or 1 // 0", True),
        ("list(xs) == xs", True),
        ("days(2) // hours(5)", 9),
    ],
)
def test_what_the_language_computes(text: str, expected: object) -> None:
    assert value(text, x=5, xs=[1, 2, 3], nothing=None) == expected


def test_helpers_and_members() -> None:
    names, body = compile_lookup("(b, cabin): b + cabin")
    assert (names, body.text) == (("b", "cabin"), "b + cabin")
    name, members = compile_each("p in list(xs)")
    assert (name, members.text) == ("p", "list(xs)")
    for text in ("b: b", "(b, b): 1", "(_b): 1", "(b c): 1"):
        with pytest.raises(ExprSyntax):
            compile_lookup(text)
    with pytest.raises(ExprSyntax):
        compile_each("list(xs)")


# ---- what is unknown ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u", UNKNOWN),
        ("u == u", UNKNOWN),
        ("u is None", UNKNOWN),
        ("u and no", False),
        ("no and u", False),
        ("u or yes", True),
        ("u or no", UNKNOWN),
        ("not u", UNKNOWN),
        ("u == 1 or 1 == 1", True),
        ("1 < u < 0", UNKNOWN),
        ("2 < 1 < u", False),
        ("u in [1, 2]", UNKNOWN),
        ("1 in [u, 1]", True),
        ("2 in [u, 1]", UNKNOWN),
        ("u in [u]", UNKNOWN),
        ("[u] == [u]", UNKNOWN),
        ("count([u, 1])", 2),
        ("count(u) > 0 or yes", True),
        ("sum([u, 1])", UNKNOWN),
        ("max(1, u)", UNKNOWN),
        ("any(x == u for x in [1, 2])", UNKNOWN),
        ("any(x == u or x == 2 for x in [1, 2])", True),
        ("all(x == u and x == 2 for x in [1, 2])", False),
        ("any(x == 2 for x in [1, 2] if u)", UNKNOWN),
        ("any(x == 3 for x in [1, 2] if u)", False),
        ("all(x < 3 for x in [1, 2] if u)", True),
        ("any(yes for x in u)", UNKNOWN),
        ("any(yes for x in u) or yes", True),
        ("count([x for x in [1] if u])", UNKNOWN),
        ("any(x == y for x in [1, 2] for y in [u, 2] if x > 1)", True),
        ("1 if u else 1", 1),
        ("1 if u else 2", UNKNOWN),
        ("u.name.of", UNKNOWN),
        ("u[0]", UNKNOWN),
        ("table[u]", UNKNOWN),
        ("u + 1 - u", UNKNOWN),
        ("u * 0", UNKNOWN),
        ("fold(u)", UNKNOWN),
        ("[u, 1]", UNKNOWN),
        ("hours(u)", UNKNOWN),
        ("None if u else None", None),
    ],
)
def test_three_values(text: str, expected: object) -> None:
    found = value(text, u=UNKNOWN, table={1: 2})
    assert found is expected if isinstance(expected, Unknown | bool | None) else found == expected


def test_a_value_is_known_not_to_be_some() -> None:
    u = Unknown(frozenset({"a"}))
    assert value("u == 'a'", u=u) is False
    assert value("u != 'a' and 'a' != u", u=u) is True
    assert value("u == 'b'", u=u) is UNKNOWN
    assert value("'a' in [u]", u=u) is False


NUMBERS, TRUTHS = ("a", "b", "c"), ("p", "q", "r")


def _numbers(inner: st.SearchStrategy[str], truths: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    return st.one_of(
        two,
        st.tuples(inner, truths, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(truths, inner).map(lambda t: f"count([x for x in xs if {t[0]} or x > {t[1]}])"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
        inner.map(lambda t: f"first([x for x in xs if x > {t}], {t})"),
    )


def _truths(inner: st.SearchStrategy[str], numbers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(numbers, st.sampled_from(["==", "!=", "<", "<="]), numbers)
    return st.one_of(
        two.map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(numbers, numbers, numbers).map(lambda t: f"({t[0]} < {t[1]} <= {t[2]})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"(not {t})"),
        st.tuples(numbers, numbers).map(lambda t: f"({t[0]} in [{t[1]}, 2])"),
        st.tuples(numbers, inner).map(lambda t: f"any(x == {t[0]} for x in xs if {t[1]})"),
        st.tuples(numbers, inner).map(lambda t: f"all(x < {t[0]} or {t[1]} for x in xs)"),
        st.tuples(numbers, inner).map(lambda t: f"any(x == y and {t[1]} for x in xs if x > 1 for y in [{t[0]}, x])"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
    )


numbers = st.sampled_from([*NUMBERS, "0", "1", "2", "-1"])
truths = st.sampled_from([*TRUTHS, "yes", "no"])
for _ in range(2):
    numbers, truths = _numbers(numbers, truths) | numbers, _truths(truths, numbers) | truths


@given(numbers | truths, st.sets(st.sampled_from([*NUMBERS, *TRUTHS, "xs"]), max_size=3))
@example("(p and (a if q else b))", {"q", "a"})
@example("first([x for x in xs if x > a], a)", {"xs"})
@example("any(x == y and p for x in xs if x > 1 for y in [a, x])", {"a", "p"})
def test_a_value_in_spite_of_unknowns_is_the_value_for_all_of_them(text: str, hidden: Sequence[str]) -> None:
    expr = compile_expr(text)
    known = {"a": 0, "b": 1, "c": 2, "p": True, "q": False, "r": True, "xs": [1, 2], **BASE}
    found = expr.eval(Scope({**known, **dict.fromkeys(hidden, UNKNOWN)}))
    possible: dict[str, list[Any]] = {"xs": [[], [0, 3]]}
    possible |= {name: [-1, 0, 2] for name in NUMBERS} | {name: [True, False] for name in TRUTHS}
    for fill in itertools.product(*(possible[name] for name in sorted(hidden))):
        filled = expr.eval(Scope({**known, **dict(zip(sorted(hidden), fill, strict=True))}))
        assert not is_unknown(filled)
        assert found is UNKNOWN or found == filled


@given(numbers | truths)
def test_both_codes_compute_the_same(text: str) -> None:
    expr = compile_expr(text)
    scope = Scope({"a": 0, "b": 1, "c": 2, "p": True, "q": False, "r": True, "xs": [1, 2], **BASE})
    assert expr._fast(scope) == expr._three_valued(scope)


def test_durations_compare() -> None:
    now = datetime(2031, 3, 14, 10)
    for step, expected in ((-1, True), (0, True), (1, False)):
        booked = now - timedelta(hours=24) - timedelta(minutes=step)
        assert value("now - booked <= hours(24)", now=now, booked=booked) is expected
