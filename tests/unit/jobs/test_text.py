"""Text as it is compared: folding, tokens, numbers; duplicates, near duplicates and contamination."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_api.records.base import Message
from flywheel_api.records.reasoning import Problem
from flywheel_jobs.reasoning.dedup import Contamination, Duplicates
from flywheel_jobs.reasoning.neighbours import Neighbours
from flywheel_jobs.reasoning.text import normalised, numbers, read, words

DIFFERENT = [
    ("Compute 10² + 1", "Compute 102 + 1"), ("2³", "23"), ("1½ of 8", "11⁄2 of 8"), ("x₁", "x1"), ("½", "12"),
    ("5 ÷ 3", "5 ⋅ 3"), ("5 ÷ 3", "5 ∶ 3"), ("A ∪ B", "A ∩ B"), ("∫", "∑"), ("¬p", "p"), ("f'(x)", "f(x)"),
    ("🍎 + 2", "🍏 + 2"), ("(2+3)*4", "2+3*4"), ("f(x)≥1", "f(x)≤1"), ("2!", "2"), ("n!", "n"), ("√2+3", "2+3"),
    ("Find |x|", "Find x"), (r"\sqrt{2}+3", r"\sqrt{2+3}"), ("{1,2}", "(1,2)"), ("5:3", "5 3"), ("a ≠ b", "a = b"),
    ("3.14", "314"), ("1,2", "12"), ("5%", "5"), ("①②③", "123"), ("a⊂b", "a⊃b"), ("5 €", "5 £"), ("кот", "kot"),
    ("x 10௰ y", "x 10௲ y"),
]  # fmt: skip
SAME = [
    ("1000", "1,000"), ("1000", "1 000"), ("1000", "1\u202f000"), ("1000", "1\u00a0000"), ("1000", "1{,}000"),
    ("100000", "1,00,000"), ("3.0", "3"), ("03+4", "3+4"), ("12", "1\u200b2"), ("12", "１２"), ("12", "١٢"),
    ("soft\u00adhyphen", "softhyphen"), ("the cаt", "the cat"), ("STRASSE", "straße"), ("é", "e\u0301"),
    (r"\frac{1}{2}", r"\dfrac{1}{2}"), ("10²", "10^2"), ("a×b", r"a \times b"), ("a−b", "a-b"), ("x ≤ y", r"x \leq y"),
    ("What is 3 + 4 ?", "what is 3+4"), ("( 2 + 3 )*4", "(2+3)*4"), ("don’t", "don't"), ("well-known", "well known"),
    ("twenty-five hens", "25 hens"), ("thirty people", "30 people"), ("Ａｎｎ＋３", "Ann+3"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_things_stay_different(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)
    seen = Duplicates(0.8)
    around = "Ann the baker asks her class of the evening what comes out of {} when one is careful and takes time"
    assert seen.add(problem(around.format(one))) is None and seen.add(problem(around.format(other))) is None


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_the_same_are_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other) != ""


@pytest.mark.parametrize(("one", "other"), [
    ("1000", "1,000"), ("2^3", "2³"), ("0.5", "½"), ("1/2", "½"), ("3.0", "3"), ("3.25", "3¼"), ("(1) (2)", "①②"),
    ("3 / 4", "3/4"), (r"\frac{1}{2}", "0.5"),
])  # fmt: skip
def test_numbers_are_kept_by_value(one: str, other: str) -> None:
    assert numbers(one) == numbers(other) != ()


def test_tokens() -> None:
    assert normalised("  What is 3 + 4 ?") == "what is 3 + 4"
    assert numbers("12 hens, 3 pots and 3.5 l") == ("3", "3.5", "12")
    assert numbers("2 to 9, or ½") == ("0.5", "2", "9") and numbers("1/0") == ("0", "1")
    assert read("a b c").ngrams(13) == {"a b c"} and len(read("a b c d").ngrams(3)) == 2
    assert len(words("小明有12个苹果")) == 7 and words("मेरे पास १२ सेब") == ["मेरे", "पास", "12", "सेब"]


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200))
def test_reading_never_raises_and_is_stable(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == normalised(normalised(once)) and numbers(text) == numbers(text)


HOSTILE = ["(", "1,", "1 000", "'", "\\", "¹", "9", "a_", "twenty ", "a-"]


@pytest.mark.parametrize("text", [*(unit * 50_000 for unit in HOSTILE), " " * 50_000 + ")"])
def test_reading_is_linear(text: str) -> None:
    began = time.process_time()
    read(text)
    assert time.process_time() - began < 2.0  # a hundredth of it where a machine is idle; quadratic takes minutes


def problem(question: str, answer: str | None = "7", *context: str) -> Problem:
    said = [Message(role="user" if n % 2 == 0 else "assistant", content=text) for n, text in enumerate(context)]
    return Problem(id=question, question=question, answer=answer, context=said)


LONG = "Ann the baker counts 3 buns in the morning and then bakes 4 more buns before noon for the market"


def test_duplicates_by_text_and_by_wording_with_the_same_numbers() -> None:
    seen = Duplicates(0.8)
    assert seen.add(problem(LONG)) is None
    assert seen.add(problem(LONG.upper() + "!")) == "duplicate"
    assert seen.add(problem(LONG + " today")) == "near-duplicate"
    assert seen.add(problem(LONG.replace("4", "5"))) is None  # other numbers: another problem
    assert seen.add(problem("3+4")) is None and seen.add(problem("3 + 4")) == "duplicate"
    assert seen.add(problem("3+5")) is None


def test_the_same_question_after_another_story_is_another_problem() -> None:
    seen, question = Duplicates(0.8), "How many are left in the box after Tom eats 5 of them?"
    for apples in (12, 20, 31):
        assert seen.add(problem(question, "7", f"Story: a box holds {apples} apples.", "Read.")) is None
    assert seen.add(problem(question, "7", "Story: a box holds 12 apples.", "Read.")) == "duplicate"


def test_near_duplicates_where_there_are_no_blanks() -> None:
    seen = Duplicates(0.8)
    text = "商店里有很多苹果和梨子小明每天早上去商店买水果回家以后和他的妹妹一起分着吃然后再去学校上课直到下午才回家"
    assert seen.add(problem(text)) is None and seen.add(problem(text.replace("然后", "随后"))) == "near-duplicate"


def test_neighbours_find_near_copies_among_many_and_nothing_else() -> None:
    rng, index = random.Random(3), Neighbours(0.8)
    texts = [[f"w{rng.randrange(5000)}" for _ in range(120)] for _ in range(1500)]

    def grams(tokens: list[str]) -> list[str]:
        return [" ".join(tokens[i : i + 3]) for i in range(len(tokens) - 2)]

    assert all(index.add(grams(t), 0) for t in texts)  # several segments, none taken for another
    copies = [[*t[:60], "other", *t[61:]] for t in texts[::5]]
    assert sum(not index.add(grams(t), 0) for t in copies) >= 0.99 * len(copies)
    assert all(index.add(grams(t), 1) for t in copies)  # of another kind


def test_texts_without_numbers_do_not_take_quadratic_time_or_much_memory() -> None:
    rng, seen = random.Random(5), Duplicates(0.8)
    vocabulary = [a + b for a in "bcdfghklmnprst" for b in ("a", "e", "i", "o", "u", "ar", "el", "in")]
    texts = [problem(" ".join(rng.choices(vocabulary, k=60))) for _ in range(4000)]
    seen.add(problem("warm"))
    tracemalloc.start()
    began = time.process_time()
    assert all(seen.add(p) is None for p in texts)
    spent = time.process_time() - began
    grown = tracemalloc.get_traced_memory()[0] / len(texts)
    tracemalloc.stop()
    assert spent < 20  # traced and on a busy machine; all against all takes minutes
    assert grown < 2500  # bytes a text, with room for four times as many


def test_planted_evaluation_item_is_found() -> None:
    long = "a train leaves the station at nine with 30 people and takes on 12 more at each of 4 stops"
    check = Contamination([problem("sum of 3 and 4"), problem(long, "78")], 13)

    def reason(question: str, answer: str | None = None, *context: str) -> str | None:
        return check.reason(problem(question, answer, *context))

    assert reason("Sum of 3 and 4?") == "contaminated"  # shorter than 13 words: the whole text
    assert reason("Yesterday " + long + " how many are on it") == "contaminated"
    assert reason("4+3") is None
    assert reason("4+3", "7") == "contaminated-values"
    assert reason("4+3", "12") is None
    assert reason("with 30, 12 and 4", "78") is None  # a long item's numbers are no evidence
    assert reason(long.replace("30", "thirty")) == "contaminated"
    assert reason(long.replace("a", "а", 1).replace(" the ", " t\u200bhe ")) == "contaminated"
    assert reason("And with 5 more?", "83", long, "78 people are on it.") == "contaminated"  # a worked example
    assert reason("And 5 more?", "12", "Sum of 3 and 4", "7") == "contaminated"


def test_examples_in_a_system_message_are_looked_at_and_a_prompt_of_the_whole_suite_is_none() -> None:
    def told(system: str, question: str) -> Problem:
        return problem(question, None).model_copy(update={"context": [Message(role="system", content=system)]})

    prompt = "You are careful. Think in small steps, one line each, and end with the answer in a box of its own."
    check = Contamination([told(prompt, LONG)], 13)
    assert check.reason(told(prompt, "How far is it?")) is None
    assert check.reason(told(f"For example: {LONG}? 7", "How far is it?")) == "contaminated"
    check = Contamination([told(prompt, "How far is it?")], 13)
    assert check.reason(problem("How far is it?", None)) == "contaminated"


def test_an_item_in_other_words_with_its_numbers_and_answer_is_found() -> None:
    item = (
        "A baker sells 12 buns in the morning and 7 buns in the afternoon at the market near the old church, so how "
        "many buns does she sell in all?"
    )
    check = Contamination([problem(item, "19"), problem("What is 3+4?", "7")], 13)
    other = item.replace("the morning", "early morning").replace("sells", "offers").replace("old", "big")
    assert not read(item).ngrams(13) & read(other).ngrams(13), "no 13 words in a row are the same"
    assert check.reason(problem(other, "19")) == "contaminated"
    assert check.reason(problem(other.replace("12", "twelve"), "19")) == "contaminated"
    assert check.reason(problem(other, "5")) is None  # another answer: another question about it
    assert check.reason(problem("A tram takes 12 people, then 7 more. How many ride?", "19")) is None
    assert check.reason(problem("Compute three plus four.", "7")) == "contaminated-values"
    assert check.reason(problem("3+?=7", "4")) is None  # an inverse fact is another question


def test_a_short_item_after_another_story_is_another_problem() -> None:
    question = "How many are left after Tom eats 5 of them?"
    check = Contamination([problem(question, "7", "A box holds 12 apples.", "Read.")], 13)
    assert check.reason(problem(question, "15", "A box holds 20 apples.", "Read.")) is None
    assert check.reason(problem(question, None, "A box holds 12 apples.", "Read.")) == "contaminated"
    assert check.reason(problem(question, "7", "In a box are a dozen.", "Yes.")) == "contaminated"


def test_a_phrase_of_many_items_is_no_contamination() -> None:
    phrase = "find the sum of all positive integers n such that the number n squared plus"
    suite = [problem(f"{phrase} {k} is divisible by {k + 40} and not by {k + 7}", str(k)) for k in range(10, 16)]
    check = Contamination(suite, 13)
    assert check.reason(problem(f"{phrase} 3 is a prime", "5")) is None
    assert check.reason(problem(f"Please {suite[2].question}", None)) == "contaminated"


def test_a_copy_of_an_item_is_found_though_all_its_words_are_phrases_of_the_suite() -> None:
    """One long question after several stories, and questions of one template: every 13 words stand in three items."""
    asked = "Read with care what stands above and then say in a word whether it is true of all animals there are"
    stories = ("Cats sleep a lot.", "Dogs bark at night.", "Hens lay eggs.")
    suite = [problem(asked, "yes", story) for story in stories]
    check = Contamination(suite, 13)
    assert [check.reason(item) for item in suite] == ["contaminated"] * 3
    assert check.reason(problem(asked, None, stories[0])) == "contaminated"
    assert check.reason(problem(asked, "yes", "Cows eat grass.")) is None  # the question alone is none of them
    assert check.reason(problem("And of cows?", "yes", "Cows eat grass.", asked, "yes")) is None
    words = "then we look again at the same old long list of words that nobody likes"
    forms = [
        f"a {x} {words} a {y} {words} a {z} {words}"
        for x in ("red", "green", "blue")
        for y in ("sun", "moon", "star")
        for z in ("cup", "jar", "pot")
    ]
    check = Contamination(map(problem, forms), 13)
    assert {check.reason(problem(form)) for form in forms} == {"contaminated"}
    assert check.reason(problem("And with two?", "5", forms[4], "4")) == "contaminated"
    assert check.reason(problem(forms[4].replace("moon", "fern"))) is None


def test_a_short_text_in_a_script_without_blanks_is_not_short() -> None:
    item = problem("一列火车每小时行驶60公里，2小时后另一列火车以80公里的速度出发，几小时后追上？", "6")
    assert Contamination([item], 13).reason(problem("妈妈买了60个苹果和80个梨，分给2个班，每人得几个？", "6")) is None
