"""Pairs that must agree and pairs that must not: unequal never equal, equal almost never refused."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_jobs.reading import library
from flywheel_jobs.reading.equality import _node, checkable, equal, normal_form
from flywheel_jobs.reading.expr import Unreadable
from flywheel_jobs.reading.values import Kind, read
from flywheel_jobs.reasoning.labels import camps


def sections() -> dict[str, list[list[str]]]:
    """Blocks of answers with one meaning, by section of pairs.txt."""
    found: dict[str, list[list[str]]] = {}
    for part in (Path(__file__).with_name("pairs.txt")).read_text(encoding="utf-8").split("\n== ")[1:]:
        name, _, body = part.partition("\n")
        found[name] = [[line for line in block.split("\n") if line] for block in body.strip("\n").split("\n\n")]
    return found


SECTIONS = sections()
BLOCKS = [(name, block) for name, blocks in SECTIONS.items() for block in blocks]


@pytest.mark.parametrize(("section", "block"), BLOCKS, ids=[f"{name}: {block[0]}" for name, block in BLOCKS])
def test_one_meaning(section: str, block: list[str]) -> None:
    refused = [pair for pair in itertools.product(block, repeat=2) if not equal(*pair)]
    assert not refused
    assert all(equal(normal_form(answer), answer) for answer in block)


@pytest.mark.parametrize("section", SECTIONS)
def test_other_meanings(section: str) -> None:
    pairs = (
        pair for one, other in itertools.permutations(SECTIONS[section], 2) for pair in itertools.product(one, other)
    )
    assert not [pair for pair in pairs if equal(*pair)]


def test_the_table_is_large() -> None:
    same = sum(len(b) * (len(b) - 1) // 2 for _, b in BLOCKS)
    assert same > 400 and len(BLOCKS) > 150


def test_votes_on_the_corpus_fall_into_the_blocks() -> None:
    """Symmetry and transitivity: whatever the order, a section's answers make exactly its blocks."""
    for blocks in SECTIONS.values():
        answers = sorted((a for block in blocks for a in block), key=lambda a: (hash(a), a))
        assert sorted(map(sorted, camps(answers))) == sorted(map(sorted, blocks))


def verdicts() -> list[tuple[bool, str, str]]:
    """Pairs of verdicts.txt, each with whether it is equal."""
    equals, unequals = Path(__file__).with_name("verdicts.txt").read_text(encoding="utf-8").split("\n== ")[1:]
    pairs = [
        (part is equals, *line.split(" ## ")) for part in (equals, unequals) for line in part.split("\n")[1:] if line
    ]
    return [(same, one, other) for same, one, other in pairs]


@pytest.mark.parametrize(("same", "one", "other"), verdicts())
def test_verdicts_that_were_decided_beforehand(same: bool, one: str, other: str) -> None:
    assert equal(one, other) is same and equal(other, one) is same
    assert not same or (checkable(one) and checkable(other))


@pytest.mark.parametrize(
    "prose",
    ["It is two, and so on", "We add them, then we divide by two, so it is four", "No, because it is even", "so on"],
)
def test_reasoning_is_no_truth(prose: str) -> None:
    assert not checkable(prose)
    assert all(map(checkable, ("increasing, then decreasing", "x is even and y is odd", "Let It Be", "As You Like It")))


def test_what_has_no_value_is_not_nought() -> None:
    with pytest.raises(Unreadable):
        _node(read("red"))


# A name or a unit that only one of the two has says nothing against it, so these are no classes.
@pytest.mark.parametrize(
    ("bare", "dressed"),
    [("3", "x=3"), ("12", "12 cm"), ("12", "\\$12"), ("90", "90^\\circ"), ("2x+1", "y=2x+1"), ("5", "5 apples"),
     ("12", "12\\text{ cm}^2"), ("-2", "x=-2"), ("(3,\\infty)", "x>3"), ("\\frac12", "0.5 m/s"),
     ("14", "14 years old"), ("14 years", "14 \\text{ years old}"), ("20", "20 more pages"), ("12", "12 apples left"),
     ("4", "4 slices of pizza"), ("25", "$25 per hour"), ("\\$25", "25 dollars per hour"), ("1.5", "\\$1.50 each"),
     ("5", "AB = 5"), ("1/2", "P(A)=0.5"), ("5", "f(2)=5"), ("30", "\\angle ABC = 30^\\circ"),
     ("12", "\\text{Area}=12"),
     ("x=k\\pi, k\\in\\mathbb{Z}", "k\\in\\mathbb{Z}, x = k\\pi")],
)  # fmt: skip
def test_bare_equals_dressed(bare: str, dressed: str) -> None:
    assert equal(bare, dressed) and equal(dressed, bare)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5+3", "8"), ("37*41", "1517"), ("1/0", "0"), ("", ""), (" ", " "), ("1,00", "100"),
        ("5 6", "56"), ("4 2", "42"), ("(1,2)", "(x=1,y=2)"), ("1,2", "x=1,y=2"),
        ("1 1/2", "11/2"), ("1 1/2", "5.5"), ("2\\text{ or }3", "23"), ("\\text{not }5", "5"),
        ("(1,000, 2)", "(1,0,2)"),
        ("{1,1}", "{1}"), ("x=3", "y=3"), ("5%%", "5%"), ("{x=1,y=2}", "{x=2,y=1}"), ("5\\text{ thousand}", "5"),
        ("50\\%", "50"), ("1.234", "1,234"), ("\\pm2021", "2021"), ("{1,2}", "(1,2)"), ("5 halves", "5"),
        ("7" * 299 + "1", "7" * 299 + "2"), ("7" * 300, "7" * 300), ("\\frac{d}{dx}x^2", "x"), ("5 less than x", "5"),
        ("3.14\\ldots", "3.14"), ("\\approx 3", "3"), ("101_2", "5"), ("2^{3}", "23"), ("x_1", "x1"), ("1:2", "1/2"),
        ("undefined", "0"), ("A or B or C", "A"), ("A, B", "A"),
        ("(A) and (C)", "A"), ("(A), (C)", "A"), ("(A)(B)", "A"), ("A. Paris", "A. London"),
        ("2+2=5", "5"), ("C(5,2)=12", "12"), ("5C2", "5"), ("5 C", "5C2"), ("A5C2", "10"), ("1/3 = 0.33", "0.33"),
        ("①", "1"), ("1:2", "2:4"), ("12 or 13", "12"), ("5 am", "5 pm"),
        ("x=-1; x=4", "4"), ("x=7=4", "4"), ("x\\ne 2", "x\\ne 3"), ("1 year", "365 days"), ("1;2", "1.2"),
        ("A or C", "A, C"), ("p \\lor q", "p \\land q"), ("5 pct", "5"),
        ("5 score", "5"), ("5 gross", "5"),
        ("f(2)=10", "f(1)=5"), ("f(2)>10", "f(1)>5"), ("f(2)+f(3)", "5f"), ("f(x)^2", "f(x^2)"), ("P(2)=4", "P(1)=2"),
        ("|z|", "z"), ("|x|", "x"), ("\\sqrt{t^2}", "t"), ("14 years old", "14 months old"), ("5 is wrong", "5"),
        ("7 red marbles", "7 blue marbles"), ("5 if even", "5"), ("3 below zero", "3"),
        ("5 unless even", "5"), ("3 more than twice", "3"), ("5 or more", "5"),
        ("$25 per hour", "$25 per day"), ("$25 per hour", "25 km per hour"), ("$25 each", "€25 each"),
    ],
)  # fmt: skip
def test_never_equal(one: str, other: str) -> None:
    assert not equal(one, other) and not equal(other, one)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"\int_0^1 x\,dx", r"\frac12", True), (r"\int_0^1 x\,dx", r"\frac13", False),
        (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}", True), (r"\sum_{k=1}^{n} k", r"\frac{n(n-1)}{2}", False),
        (r"\mathbb{R}\setminus\{a\}", r"\mathbb{R} \setminus \{a\}", True),
        (r"\mathbb{R}\setminus\{a\}", r"\mathbb{R}\setminus\{b\}", False),
        (r"\frac{d}{dx}x^2", "2x", True), (r"\gcd(4,6)", "2", True), (r"\gcd(4,6)", "3", False),
        (r"\int e^{x^x} dx", "1", False),
        (r"\gcd(4,6)+10^{-20}", "2", False), (r"\gcd(4,6)\text{ oranges}", r"\gcd(4,6)\text{ apples}", False),
    ],
)  # fmt: skip
def test_what_our_own_rules_cannot_read_goes_to_the_library(one: str, other: str, same: bool) -> None:
    assert Kind.OTHER in (read(one).kind, read(other).kind)
    assert equal(one, other) is same and equal(other, one) is same


def test_a_library_that_dies_is_started_anew_and_one_that_hangs_is_ended() -> None:
    eager = library.Library("import sys\nfor _ in sys.stdin: print('true', flush=True)")
    assert eager.ask("2", "2")
    assert eager._process is not None
    eager._process.kill()
    eager._process.wait()
    assert eager.ask("2", "2")
    eager.close()
    hung = library.Library("import time; time.sleep(60)", patience=0.2, start=0.0)
    assert not hung.ask("2", "2") and hung._process is None


def test_after_an_interruption_no_pair_gets_the_answer_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    says = "import json, sys\nfor line in sys.stdin: print(str(len(set(json.loads(line))) == 1).lower(), flush=True)"
    echo = library.Library(says)
    try:
        assert not echo.ask("1", "2")

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(library.select, "select", interrupted)
            echo.ask("3", "3")
        assert not echo.ask("1", "2")
    finally:
        echo.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\gcd(4,6)", r"2\ldots"),  # it does not see that a number goes on
        (r"\gcd(4,6)\approx 2", "2"),
        (r"\gcd(4,6)\text{ oranges}", r"\gcd(4,6)\text{ apples}"),  # it drops words
        (r"\gcd(4,6)\text{ oranges}", "2"),
        (r"\gcd(4,6)" + "+0" * 60, "2"),  # too long to be anybody's answer
        ("2+2", "4"),  # our own rules can read it, and call it unfinished
    ],
)  # fmt: skip
def test_what_the_library_calls_equal_and_is_not_asked(one: str, other: str) -> None:
    """The wall itself: without it this would be equal."""
    assert library._LIBRARY.ask(one, other) and not library.equal(one, other)


def test_the_library_s_equal_counts_only_with_a_proof_of_our_own_and_the_other_way_round() -> None:
    from math_verify import verify

    for one, other, its, ours in (
        (r"\{1,\gcd(2,4)\}", "(1,2)", True, False),
        (r"f(1)=\gcd(4,6)", "f(2)=2", True, False),
        (r"\max(1,2)+\frac{1}{2004!}", "2", False, True),
    ):
        a, b = library._parsed(one), library._parsed(other)
        found = verify(a, b, strict=True, float_rounding=15, timeout_seconds=None)
        assert (bool(found), library._sound(a, b)) == (its, ours) and not library.equal(one, other), one


SERVED = (
    "import sys; sys.path[:] = {path!r}; from flywheel_jobs.reading import library; library._judged = WORK; "
    "library.serve()"
)


@pytest.mark.parametrize(
    "work",
    [
        "lambda a, b: bool(bytearray(3 << 30))",  # memory: the zeros of calloc cost nothing
        "lambda a, b: all(True for _ in iter(int, 1))",  # CPU time
        "lambda a, b: 1 / 0",  # whatever it raises
    ],
)
def test_one_pair_costs_the_library_neither_memory_nor_time_nor_its_process(work: str) -> None:
    whole = SERVED.replace("WORK", f"lambda a, b: True if 'int_0' in a or a == '1' else ({work})(a, b)")
    made = library.Library(whole)
    assert made.ask("1", "1") and not made.ask("2", "2")
    before = made._process
    assert before is not None and before.poll() is None and made.ask("1", "1") and made._process is before
    made.close()


@settings(deadline=None, max_examples=60)
@given(st.fractions(max_denominator=1000))
def test_every_form_of_a_fraction_has_one_meaning(value: Fraction) -> None:
    sign = "-" if value < 0 else ""
    top, bottom = abs(value.numerator), value.denominator
    forms = [f"{sign}{top}/{bottom}", rf"{sign}\frac{{{top}}}{{{bottom}}}", f" {sign}{3 * top}/{3 * bottom}. "]
    assert {normal_form(f) for f in forms} == {str(value)}


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_compare_alike_both_ways(one: str, other: str) -> None:
    assert equal(one, other) == equal(other, one)
    checkable(one)
    assert normal_form(normal_form(one)) == normal_form(normal_form(normal_form(one)))


def hostile() -> Iterator[str]:
    pieces = [
        "(", "{", "[", "\\frac", "\\sqrt{", "^", "9^", "!", "1,", "x=", "<1", "\\text{", "$", "\\{", " or ", "-", "%",
        "1 ", "a", "\\binom", "|", "e^{", "\\sin", "_", "\\pm", "°", "½", "\\begin{pmatrix}",
    ]  # fmt: skip
    for piece in pieces:
        yield (piece * 200)[:256]
        yield (piece * 30 + "2")[:256]
    yield from (
        "9**9**9",
        "9^{9^{9^{9}}}",
        "1e999",
        "10^{10^{10}}",
        "(9!)!",
        "((9!)!)!",
        "\\binom{10^6}{10^5}",
        "9" * 256,
    )


@pytest.mark.parametrize("text", list(hostile()))
def test_hostile_answers_take_no_time(text: str) -> None:
    equal("\\sqrt{2}", "\\pi")  # mpmath is imported
    started = time.process_time()
    equal(text, "2")
    checkable(text)
    assert time.process_time() - started < 0.5


def test_a_number_that_nobody_can_print_is_words() -> None:
    """A product of powers of ten had 10,000 digits; found by the fuzzer."""
    text = " ".join(["1e999"] * 10)
    assert len(normal_form(text)) < 200 and equal(text, text) and not equal(text, "1e9990")
