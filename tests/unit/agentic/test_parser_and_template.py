"""Conformance of the tool-call format (docs/method.md) and of the chat template."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jinja2
import pytest

import flywheel_jobs.agentic
from flywheel_jobs.agentic import prompt
from flywheel_jobs.reading.calls import Call, parse, render
from unit.agentic.world import CANCEL, LOOK, domain, episode, play
from unit.agentic.world import KEY as ID

KEY = int(ID)
TEMPLATE = Path(flywheel_jobs.agentic.__file__).with_name("chat_template.jinja").read_text()


@pytest.mark.parametrize(
    ("text", "calls", "malformed", "rest"),
    [
        (LOOK, [Call("get_booking", {"id": KEY})], 0, ""),
        (f"Let me see.\n{LOOK}", [Call("get_booking", {"id": KEY})], 0, "Let me see."),
        (LOOK + CANCEL, [Call("get_booking", {"id": KEY}), Call("cancel", {"id": KEY})], 0, ""),
        ('<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>', [Call("a", {})], 0, ""),
        ("<tool_call>{name: a}</tool_call>", [], 1, ""),
        ('<tool_call>{"name": "a"}</tool_call>', [], 1, ""),
        ('<tool_call>["a"]</tool_call>' + LOOK, [Call("get_booking", {"id": KEY})], 1, ""),
        ('<tool_call>{"name": "a", "arguments": {}}', [], 0, '<tool_call>{"name": "a", "arguments": {}}'),
        ("<question>Which?</question><answer>none</answer>", [], 0, "<question>Which?</question><answer>none</answer>"),
        ("<answer>5</answer>", [], 0, "<answer>5</answer>"),
        ("###TRANSFER_TO_HUMAN", [], 0, "###TRANSFER_TO_HUMAN"),
        (render("book", {"id": KEY}), [Call("book", {"id": KEY})], 0, ""),
        ("", [], 0, ""),
    ],
)
def test_parser(text: str, calls: list[Call], malformed: int, rest: str) -> None:
    parsed = parse(text)
    assert (parsed.calls, parsed.malformed, parsed.text) == (calls, malformed, rest)


def test_a_name_that_is_part_of_a_tools_name_is_not_that_tool() -> None:
    env = episode().env
    assert env.call("booking", {"id": KEY}) == "error: no such tool" and env.log[0].status == "unknown-tool"


def test_only_the_first_call_of_a_turn_is_carried_out() -> None:
    assert [c.name for c in play(None, LOOK + CANCEL, "Done.").env.log] == ["get_booking"]


def rendered(messages: list[dict[str, Any]], more: bool = False, **values: Any) -> str:
    """As transformers and vLLM render it."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return env.from_string(TEMPLATE).render(messages=messages, add_generation_prompt=more, **values)


MESSAGES = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "assistant", "content": LOOK},
    {"role": "tool", "content": "refundable"},
    {"role": "assistant", "content": "Done."},
    {"role": "user", "content": "Thanks"},
]


def test_template_text() -> None:
    assert rendered(MESSAGES[:2], more=True) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("n", range(1, len(MESSAGES)))
def test_appending_a_turn_to_the_models_own_tokens_equals_a_full_rendering(n: int) -> None:
    """What a trainer does: tokens so far, which end with <|im_end|>, plus the suffix of a rendering of the new turn."""
    before, after = MESSAGES[:n], MESSAGES[: n + 1]
    synthetic = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    suffix = rendered([*synthetic, MESSAGES[n]], more=True).removeprefix(rendered(synthetic))
    assert rendered(before) + suffix == rendered(after, more=True)
    assert rendered(before).endswith("<|im_end|>")


def test_calls_in_structured_form_render_as_the_model_writes_them() -> None:
    call = {"type": "function", "function": {"name": "get_booking", "arguments": {"id": KEY}}}
    assert rendered([{"role": "assistant", "content": "", "tool_calls": [call]}]) == rendered(
        [{"role": "assistant", "content": LOOK}]
    )


def test_tools_of_a_request_come_first_and_take_the_system_message_in() -> None:
    text = rendered(MESSAGES[:2], tools=prompt.schemas(domain()))
    assert text.startswith("<|im_start|>system\nTools: get_booking(id): Look up") and text.count("system\n") == 1
    assert "\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>" in text


def test_the_prompt_is_short_and_shows_both_outcomes() -> None:
    messages = prompt.build(domain(), "A cancelable booking is cancelled.", f"Undo booking {KEY}.")
    assert [m["role"] for m in messages[:5]] == ["system", "user", "assistant", "tool", "assistant"]
    writes = {parse(m["content"]).calls[0].name for m in messages if m["role"] == "assistant"}
    assert {"cancel", "refund"} <= writes
    assert len(rendered(messages, more=True)) < 1000, "about 280 tokens of SmolLM2"
    pairs = itertools.pairwise(m["role"] for m in messages[1:])
    assert ("tool", "assistant") in pairs
