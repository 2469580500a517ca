"""One degenerate call costs that call: never the stage, the step or the round."""

from __future__ import annotations

import pytest

from flywheel_api.canonical import canonical_json
from flywheel_jobs.endpoints.structured import parse as parse_structured
from flywheel_jobs.reading import calls, jsontext
from flywheel_jobs.reasoning.roles import Variant
from unit.agentic.world import LOOK, episode, play


def block(arguments: str) -> str:
    return f'<tool_call>{{"name": "get_booking", "arguments": {arguments}}}</tool_call>'


@pytest.mark.parametrize(
    "arguments",
    [
        '{"id": ' + "1" * 5000 + "}", '{"id": ' + "1" * 301 + "}", "[" * 2000 + "]" * 2000, "[" * 500 + "]" * 500,
        "[" * 100_000, '{"a":' * 2000 + "1" + "}" * 2000, '"' + "x" * 70_000 + '"', "{", "'id'", "",
    ],
)  # fmt: skip
def test_a_degenerate_call_is_malformed(arguments: str) -> None:
    turn = calls.parse(block(arguments))
    assert not turn.calls and turn.malformed == 1 and turn.broken
    assert play(None, block(arguments)).env.closed == "malformed"
    assert [c.name for c in calls.parse(block(arguments) + LOOK).calls] == ["get_booking"]


@pytest.mark.parametrize(
    "arguments", ["NaN", "[1]", "true", "null", '{"id": 1e400}', '{"\\ud83d": "\\ud83d"}', '"\\u0000"']
)
def test_what_an_environment_answers_as_an_error_can_be_written(arguments: str) -> None:
    played = episode()
    played.agent_says(block(arguments))
    for call in played.env.log:
        call.model_dump_json().encode()
    canonical_json([m["content"] for m in played.messages])


def test_a_lone_surrogate_in_a_tools_name_is_replaced() -> None:
    (call,) = calls.parse('<tool_call>{"name": "get\\ud83d", "arguments": {}}</tool_call>').calls
    assert call.name == "get�"


def test_json_is_read_within_bounds() -> None:
    assert jsontext.loads('{"a": [1, "\\ud83d\\ude00"]}') == {"a": [1, "😀"]}
    assert jsontext.loads("[" * 60 + "]" * 60)
    for text in ("[" * 70 + "]" * 70, "1" * 301, " " * 70_000 + "1", "{", "[" * 10**5):
        with pytest.raises(ValueError):
            jsontext.loads(text)


ANSWER = '{"question": "q", "typed": null}'


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        f"<think>a draft: {ANSWER.replace('q', 'd')}</think>\n{ANSWER}",
        f"<think>x</think>```json\n{ANSWER}\n```",
        f"so be it</think>{ANSWER}",
        f"Here it is:\n```JSON\n{ANSWER}\n```\nAs asked.",
    ],
)
def test_structured_answers_are_read_without_their_thought(text: str) -> None:
    answer, wrong = parse_structured(text, Variant)
    assert answer is not None and answer.question == "q" and not wrong


@pytest.mark.parametrize("text", ["", "<think>{}", "[" * 10_000, '{"question": ' + "1" * 5000 + "}", "NaN", '"\ud83d"'])
def test_a_structured_answer_that_cannot_be_read_says_why(text: str) -> None:
    answer, wrong = parse_structured(text, Variant)
    assert answer is None and wrong
