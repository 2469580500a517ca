"""Thought is split off, whichever family marked it, and nothing in it is executed, rewarded or read."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_jobs.reading import calls, text
from flywheel_jobs.reading.thought import Said, opened, split
from flywheel_jobs.rewards import math

DRAFT = '<tool_call>{"name": "cancel", "arguments": {"id": 1}}</tool_call>'
REAL = '<tool_call>{"name": "refund", "arguments": {"id": 1}}</tool_call>'
FAMILIES = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<Think>", "</THINK>"), ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"), ("<seed:think>", "</seed:think>"), ("<longcat_think>", "</longcat_think>"),
    ('<think time="3">', "</think >"), ("◁think▷", "◁/think▷"), ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"), ("<unused94>thought\n", "<unused95>"),
    ("<|channel>thought\n", "<channel|>"), ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<|channel|>analysis ", "<|channel|>final "),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|think|>", "<|/think|>"), ("<cot>", "</cot>"), ("<chain_of_thought>", "</chain_of_thought>"),
    ("<thought_process>", "</thought_process>"), ("<antThinking>", "</antThinking>"), ("<reflect>", "</reflect>"),
    ("<rationale>", "</rationale>"), ("<o-think>", "</o-think>"), ("<internal>", "</internal>"),
    ("<|thought_start|>", "<|thought_end|>"), ("<|startofthought|>", "<|endofthought|>"),
    ("<|begin_of_thinking|>", "<|end_of_thinking|>"), ("<|channel|>thought<|message|>", "<|end|>"),
    ("<inner_thoughts>", "</inner_thoughts>"), ("Thinking...\n", "\n...done thinking.\n\n"),
    ('<details type="reasoning" done="true">\n<summary>3 s</summary>', "</details>\n"), ("analysis", "assistantfinal"),
    ("Here is my thought process: ", "\nHere is my response: "),
]  # fmt: skip


@pytest.mark.parametrize(("opening", "closing"), FAMILIES)
def test_a_closed_thought_of_every_family(opening: str, closing: str) -> None:
    said = split(f"{opening}maybe \\boxed{{12}} {DRAFT}{closing}\n13 {REAL}")
    assert said.text == f"13 {REAL}" and "12" in said.thought and not said.cut
    turn = calls.parse(f"{opening}not {DRAFT}{closing}{REAL}")
    assert [c.name for c in turn.calls] == ["refund"] and not turn.broken
    for truth in ("12", "15"):
        assert math.score(f"{opening}try \\boxed{{12}}, <answer>12</answer>{closing}15", truth)["correct"] == (
            truth == "15"
        )


@pytest.mark.parametrize(
    ("opening", "closing"), [f for f in FAMILIES if f[0].startswith(("<", "[", "◁")) and "details" not in f[0]]
)
def test_a_thought_that_is_cut_off_answers_nothing(opening: str, closing: str) -> None:
    said = split(f"{opening}so \\boxed{{12}} {DRAFT}")
    assert said.text == "" and said.cut
    turn = calls.parse(f"{opening}so {DRAFT}")
    assert not turn.calls and turn.broken
    assert math.score(f"{opening}so \\boxed{{12}}", "12")["score"] == 0.0


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("so \\boxed{12}</think>7", "7"),  # the template wrote the opening
        ("<think>a</think>5<think>b</think>6", "5\n6"),  # side by side they would be 56
        ("<think>a<think>b</think>c</think>d", "d"),
        ("<think>a<think>b</think>c", "c"),
        ("<think>a [THINK] b</think>c", "c"),
        ("<think></think>\n\n42", "42"),
        ("42 <think>or", "42"),
        ("<|begin_of_thought|>x<|end_of_thought|><|begin_of_solution|>8<|end_of_solution|>", "8"),
        ("<|channel|>commentary<|message|>Looking it up", "Looking it up"),
        ("x < 5 [1] and a thinking <b>cap</b>", "x < 5 [1] and a thinking <b>cap</b>"),
    ],
)
def test_what_is_said(written: str, said: str) -> None:
    assert split(written).text == said


@pytest.mark.parametrize(
    "text",
    ["analysisWe try \\boxed{12}. Wait", "Here is my thought process:\n\\boxed{12} is it",
     "Thinking...\nmaybe \\boxed{12}",
     '<details type="reasoning">\n\\boxed{12}', "&lt;think&gt;\\boxed{12}", "&lt;think&gt;\\boxed{12}&lt;/think&gt;13"],
)  # fmt: skip
def test_a_thought_that_sentences_or_escaped_marks_begin_is_never_rewarded(text: str) -> None:
    assert math.score(text, "12")["score"] == 0 and split(text).thought


@pytest.mark.parametrize(
    "text", ["Analysis: \\boxed{12}", "analysis of it gives \\boxed{12}", "**Thinking**\n\\boxed{12}"]
)
def test_a_heading_is_no_thought(text: str) -> None:
    assert math.score(text, "12")["correct"]


def test_words_about_a_tag_open_no_thought() -> None:
    assert math.score("Write it as &lt;think&gt;: \\boxed{12}", "12")["correct"]


def test_the_same_model_scores_alike_with_and_without_a_reasoning_parser() -> None:
    assert math.score("<think>hm</think>\n\n42", "42") == math.score("42", "42")


def test_a_turn_of_thought_alone_is_no_refusal() -> None:
    assert calls.parse("<think>I had better refuse</think>").broken
    assert not calls.parse("<think>hm</think>I cannot do that.").broken


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60), st.sampled_from(FAMILIES[:9]))
def test_nothing_is_lost_between_thought_and_said(inner: str, family: tuple[str, str]) -> None:
    said = split(f"{family[0]}{inner}{family[1]}after")
    assert said.text.endswith("after")
    for word in re.findall(r"\w{3,}", inner):
        assert word in said.thought or word in said.text


@pytest.mark.parametrize(
    "mark",
    ["<think>", "</think>", "<tool_call>", "<tool_call></tool_call>", "<answer>", "\\boxed{", "<|channel|>", "[THINK]",
     "<", "answer: ", "#### ", "<think><tool_call>"],
)  # fmt: skip
def test_ten_thousand_marks_take_milliseconds(mark: str) -> None:
    looping = REAL + mark * 10_000
    started = time.process_time()
    calls.parse(looping)
    math.score(looping, "7")
    assert time.process_time() - started < 1.0  # the old patterns took 52 s


def test_blocks_are_those_of_the_pattern_that_verl_uses() -> None:
    pattern = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
    pieces = ["<tool_call>", "</tool_call>", "{", "}", "x", "\n", "<tool_", "call>"]
    import random

    rng = random.Random(3)
    for _ in range(2000):
        body = "".join(rng.choice(pieces) for _ in range(rng.randint(0, 14)))
        blocks = [body[a:b] for a, b in calls._blocks(body)]
        assert blocks == [m[0] for m in pattern.finditer(body)]


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("12 \ud83d", "12 �"), ("\ud83d\ude00", "😀"), ("a\x00b\x85c", "a�b�c"), ("tab\tline\n\r", "tab\tline\n\r"),
        ("a\u2028b", "a\u2028b"), ("", ""), ("é", "é"),
    ],
)  # fmt: skip
def test_text_is_cleaned_at_the_door(dirty: str, clean: str) -> None:
    assert text.clean(dirty) == clean
    text.clean(dirty).encode()


def test_lines_end_at_newlines_only() -> None:
    assert text.lines("a\u2028b\n\nc\x85d\r\n") == ["a\u2028b", "c\x85d\r"]


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n", "<think>"),
        ("<|User|>2+2?<|Assistant|><think>", "<think>"),
        ("[INST]2+2?[/INST][THINK]", "[THINK]"),
        ("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>analysis<|message|>"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),  # Qwen3 that is not to think
        ("<|im_start|>user\nwhat is <think>?<|im_end|>\n<|im_start|>assistant\n", ""),
        ("<|im_start|>user\n<think>\n<|im_end|>\n<|im_start|>assistant\n", ""),
        ("<|start|>assistant", ""),
        ("", ""),
    ],
)
def test_a_prompt_that_leaves_a_thought_open_says_with_what_mark(prompt: str, mark: str) -> None:
    assert opened(prompt) == mark


def test_what_is_said_after_an_open_prompt_begins_inside_the_thought() -> None:
    mark = opened("<|im_start|>assistant\n<think>\n")
    never = mark + r"Let me try 12... \boxed{12} hmm not sure"
    assert math.score(never, "12")["score"] == 0
    assert math.score(mark + r"maybe 11</think>\boxed{12}", "12")["score"] == 1


@pytest.mark.parametrize("first", "<[◁")
@pytest.mark.parametrize("rest", ["THINK]", "/THINK]", "think▷", "/think▷", "|begin_of_thought|>", "think>", "/think>"])
@pytest.mark.parametrize("more", ["", "[THINK] a [/THINK] ", "◁think▷ a ◁/think▷ "])
def test_a_mark_with_the_first_character_of_another_family_is_text(first: str, rest: str, more: str) -> None:
    """`<THINK]` once raised, which no text may."""
    said = split(f"{more}{first}{rest} 5")
    if first == {"]": "[", "▷": "◁", ">": "<"}[rest[-1]]:
        assert said.text == ("5" if "/" in rest else "")
    else:
        assert said.text == f"{first}{rest} 5" and not said.cut


@pytest.mark.parametrize(("opening", "closing"), [f for f in FAMILIES if f[1][0] in "[◁"])
def test_a_closing_mark_alone_ends_a_thought_of_every_family(opening: str, closing: str) -> None:
    """The chat template wrote the opening one."""
    said = split(f"maybe {DRAFT}{closing}13")
    assert said.text == "13" and DRAFT in said.thought and opening not in said.thought


def test_a_mark_inside_the_attributes_of_a_tag_is_none() -> None:
    for whole in ('<think note="[THINK]">no 12</think>13', '<think>no 12</think note="[THINK]">13'):
        assert split(whole) == Said("13", "no 12")
