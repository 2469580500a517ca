"""The door: every response is one of six things, by the table; and no body breaks the reading of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_jobs.endpoints import wire
from flywheel_jobs.endpoints.door import TABLE, decide
from flywheel_jobs.endpoints.verdicts import Outcome, Row, Signs
from flywheel_jobs.endpoints.wire import Read, Reply, Tokens
from flywheel_jobs.reading.calls import Call, parse
from flywheel_jobs.reading.thought import split

ANSWER, BUSY, OUTAGE = Outcome.ANSWER, Outcome.BUSY, Outcome.OUTAGE
ITEM, FILTERED, ENDPOINT = Outcome.ITEM_REFUSED, Outcome.ITEM_FILTERED, Outcome.ENDPOINT_REFUSED
DRAFT = '<tool_call>{"name": "draft", "arguments": {}}</tool_call>'
CANCEL = {"id": "c", "type": "function", "function": {"name": "cancel", "arguments": '{"id": 47}'}}


@pytest.mark.parametrize("row", TABLE, ids=lambda r: f"{r.word}-{r.outcome}")
def test_each_row_takes_its_examples(row: Row) -> None:
    assert row.examples
    for seen in row.examples:
        assert decide(seen) is row, seen


@given(st.builds(Signs, st.integers(0, 700), st.text(), st.text(), st.booleans(), st.booleans()))
def test_everything_has_a_row_and_a_status_is_never_an_answer(seen: Signs) -> None:
    row = decide(seen)
    assert row.outcome is not ANSWER or seen.status == 200


def chat(content: Any = "hi", finish: Any = "stop", message: Any = None, **more: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **(message or {})}
    return {"id": "x", "model": "m", "choices": [{"index": 0, "message": said, "finish_reason": finish}], **more}


def read(body: object, status: int = 200, tokens: int | None = None, **headers: str) -> Read:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.read(Reply(status, raw, headers), tokens)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (chat("", "abort"), OUTAGE),
        (chat("partial", "abort"), OUTAGE),
        (chat("", "error"), OUTAGE),
        (chat("text", {"a": 1}), OUTAGE),
        (chat("", None), OUTAGE),
        (chat("text", None), ANSWER),
        (chat(None, "stop"), OUTAGE),
        (chat("", "stop"), ANSWER),  # the model ended at once: its own fault
        (chat(None, "length"), ANSWER),
        (chat("text", "content_filter"), FILTERED),
        (chat(None, "stop", error={"code": 502, "message": "upstream"}), OUTAGE),
        (chat(None, "stop", error={"code": 429, "message": "upstream"}), BUSY),
        (chat("text", "stop", {"error": {"message": "late"}}), OUTAGE),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "error": {"message": "m"}}]}, OUTAGE),
        ({"error": {"message": "upstream failed", "code": 502}}, OUTAGE),
        ({"choices": None, "error": {"message": "slow down", "code": 429}}, BUSY),
        ({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, ENDPOINT),
        ({"choices": []}, OUTAGE),
        ({"choices": [None]}, OUTAGE),
        ({"choices": {"a": 1}}, OUTAGE),
        ({"choices": [{"message": None, "finish_reason": "stop"}]}, OUTAGE),
        ({"choices": [{"text": "hi", "finish_reason": "stop"}]}, OUTAGE),
        ({"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]}, OUTAGE),
        ({"choices": [{"message": {"content": {"a": 1}}, "finish_reason": "stop"}]}, OUTAGE),
        (chat("text", "FinishReason.STOP"), ANSWER),
        (chat(None, "content_filter: PROHIBITED_CONTENT"), FILTERED),
        (chat("", "refusal"), FILTERED),
        (chat("half", "insufficient_system_resource"), OUTAGE),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, BUSY),
        ({"success": False, "errors": [{"code": 3040, "message": "Capacity temporarily exceeded"}]}, BUSY),
        (b'data: {"object": "chat.completion.chunk", "choices": []}\n\ndata: [DONE]\n', ENDPOINT),
        ([], OUTAGE),
        (b"<html>captive</html>", OUTAGE),
        (b'{"choices": ' + b"[" * 100_000, OUTAGE),
        (b'{"choices": [], "n": ' + b"1" * 5000 + b"}", OUTAGE),
        (b"\xff\xfe", OUTAGE),
    ],
)
def test_what_a_200_is(body: object, outcome: Outcome) -> None:
    assert read(body).outcome is outcome


REPLIES = [json.loads(line) for line in (Path(__file__).parent / "replies.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case["what"])
def test_what_servers_and_gateways_send(case: dict[str, Any]) -> None:
    """Shapes of many vendors, with words of our own in them."""
    found = read(case["body"], case["status"])
    words = {found.row.word, *(a.finish for a in found.answers)}
    assert (found.outcome, case.get("word", found.row.word) in words) == (case["is"], True), found.said


@pytest.mark.parametrize("status", [201, 203])
def test_an_answer_may_come_with_another_status_of_success(status: int) -> None:
    assert read(chat("hi"), status).outcome is ANSWER and read({"status": "queued"}, status).outcome is OUTAGE


def test_a_200_with_an_error_shows_its_words() -> None:
    assert "slow down" in read({"choices": None, "error": {"message": "slow down", "code": 429}}).said


def test_a_page_says_its_title() -> None:
    page = b"<!DOCTYPE html>\n<!--[if lt IE 7]><html><![endif]-->\n<style></style><TITLE>m | 502: Bad gateway</TITLE>"
    assert read(page, 502).said == "HTTP 502 m | 502: Bad gateway"
    assert read(b"upstream request timeout", 504).said == "HTTP 504 upstream request timeout"


def test_a_refusal_that_repeats_the_request_is_not_read_for_the_item_s_words() -> None:
    """FastAPI repeats the input; an item that speaks of money is no empty purse."""
    detail = [{"loc": ["body"], "msg": "Input should be a number", "input": "insufficient balance, out of credit"}]
    assert read({"detail": detail}, 422).outcome is ITEM


def test_calls_that_the_server_took_out_of_the_text_are_written_back() -> None:
    """A forbidden call that a server's parser hid was counted as a refusal in words: reward 1."""
    got = read(chat(None, "tool_calls", {"tool_calls": [CANCEL]})).answers[0]
    assert got.text == '<tool_call>{"name": "cancel", "arguments": {"id": 47}}</tool_call>' and got.finish == "stop"
    old = read(chat("I will.", "function_call", {"function_call": CANCEL["function"]})).answers[0]
    assert old.text.startswith("I will.\n<tool_call>")
    twice = read(chat(DRAFT, "tool_calls", {"tool_calls": [CANCEL]})).answers[0]
    assert twice.text == DRAFT, "it is there already"
    odd = {"tool_calls": [CANCEL, None, {"function": None}, {"function": {"name": 3}}]}
    assert read(chat(None, "tool_calls", odd)).answers[0].text.count("<tool_call>") == 1


@pytest.mark.parametrize(
    "content",
    [
        f"<think>should I {DRAFT}? yes</think>I cannot undo it.",
        f"{DRAFT} or not</think>I cannot undo it.",
        f"<think>should I {DRAFT}",
        "<think>hm",
        "[THINK]hm",
        "<|channel|>analysis<|message|>hm",
        "I cannot write <tool_call> here.",
        "<tool_call>not JSON</tool_call>",
    ],
)
def test_a_call_is_not_lost_behind_one_that_was_thought_about_or_is_none(content: str) -> None:
    """A draft in the thought hid a forbidden call: reward 1; and a right one: nothing."""
    got = read(chat(content, "tool_calls", {"tool_calls": [CANCEL]})).answers[0]
    assert parse(got.text).calls == [Call("cancel", {"id": 47})]
    said = split(content)
    assert said.text in got.text and said.thought in got.text + got.thought, "and nothing else is lost"


MARKS = ["<think>", "</think>", "[THINK]", "[/THINK]", "<tool_call>", "</tool_call>", "<|channel|>analysis<|message|>",
         "<|end|>", "◁think▷", "so", "{", "\n"]  # fmt: skip


@given(st.lists(st.sampled_from(MARKS), max_size=12))
def test_no_text_beside_a_call_loses_it(pieces: list[str]) -> None:
    text = read(chat("".join(pieces), "tool_calls", {"tool_calls": [CANCEL]})).answers[0].text
    assert parse(text).calls == [Call("cancel", {"id": 47})]


@pytest.mark.parametrize(
    "note", ["<think>", "</tool_call>", "<TOOL_CALL>", "[THINK] a [b]", "◁think▷", "a < b <|end|>"]
)
def test_what_a_call_says_is_no_mark(note: str) -> None:
    call = {"function": {"name": "note", "arguments": json.dumps({"text": note, "of": [True]}, ensure_ascii=False)}}
    text = read(chat("so", "tool_calls", {"tool_calls": [call]})).answers[0].text
    assert parse(text).calls == [Call("note", {"text": note, "of": [True]})] and parse(text).text == "so"


@pytest.mark.parametrize(
    ("message", "text", "thought"),
    [
        ({"content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]}, "42", ""),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                      {"type": "text", "text": "42"}]}, "42", "hm"),
        ({"content": "42", "reasoning_content": "hm"}, "42", "hm"),
        ({"content": "42", "reasoning": "hm"}, "42", "hm"),
        ({"content": "42", "reasoning": None, "thinking": "hm"}, "42", "hm"),
        ({"content": None, "reasoning_details": [{"text": "h"}, {"summary": "m"}, 3]}, "", "hm"),
        ({"content": "42", "reasoning_details": [{"type": "reasoning.encrypted", "data": "xyz"}]}, "42", ""),
        ({"content": "42", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}, "42", "hm"),
        ({"content": None, "refusal": "No."}, "No.", ""),
        ({"content": "12 \ud83d"}, "12 \ufffd", ""),
        ({"content": "\ud83d\ude00 a\x00b\x1b\nc\td"}, "\U0001f600 a\ufffdb\ufffd\nc\td", ""),
    ],
)  # fmt: skip
def test_text_is_made_whole_once(message: dict[str, Any], text: str, thought: str) -> None:
    answer = read(chat(None, "stop", message)).answers[0]
    assert (answer.text, answer.thought) == (text, thought)
    answer.text.encode()


def test_choices_come_in_their_order_and_good_ones_survive_a_bad_one() -> None:
    def choice(index: int, finish: str = "stop") -> dict[str, Any]:
        return {"index": index, "message": {"content": str(index)}, "finish_reason": finish}

    got = read({"choices": [choice(2), choice(0), choice(1)]})
    assert [a.text for a in got.answers] == ["0", "1", "2"]
    got = read({"choices": [choice(0), choice(1, "abort"), choice(2)]})
    assert got.outcome is ANSWER and [a.text for a in got.answers] == ["0", "2"] and got.offered == 3
    assert read({"choices": [choice(0), choice(1, "content_filter")]}).outcome is FILTERED


@pytest.mark.parametrize(
    ("used", "finish"), [(500, "length"), (499, "length"), (108, "window"), (None, "length"), (0, "length")]
)
def test_the_server_s_window_is_told_apart_from_max_tokens(used: int | None, finish: str) -> None:
    body = chat("cut", "length", usage={"prompt_tokens": 916, "completion_tokens": used})
    assert read(body, tokens=500).answers[0].finish == finish


@pytest.mark.parametrize("reason", ["repetition", "repetition_truncation"])
def test_what_a_server_broke_off_since_it_went_round_in_a_circle_is_no_window(reason: str) -> None:
    """vLLM's repetition detection: it was an outage that was asked again, round after round."""
    got = read(chat("la la", reason, usage={"prompt_tokens": 9, "completion_tokens": 40}), tokens=500)
    assert got.outcome is ANSWER and got.answers[0].finish == "length"


def test_a_filter_that_repeats_the_item_is_not_read_for_the_item_s_words() -> None:
    """OpenRouter shows what it flagged; an item of a bank stopped the stage as an empty purse."""
    for said in ("insufficient funds", "your account is blocked", "api key not valid", "rate limit"):
        told = {"reasons": ["violence"], "flagged_input": f"it says: {said}", "provider_name": "P"}
        assert (
            read({"error": {"message": "Your input was flagged", "code": 403, "metadata": told}}, 403).outcome
            is FILTERED
        )


@pytest.mark.parametrize(("used", "finish"), [(1000, "length"), (500, "length"), (499, "length"), (216, "window")])
def test_usage_of_one_choice_is_no_window(used: int, finish: str) -> None:
    """llama.cpp counts one of several choices; seen when a measured policy ran into its limit in both."""
    one = chat("cut", "length")["choices"][0]
    body = {"choices": [{**one, "index": n} for n in range(2)], "usage": {"completion_tokens": used}}
    assert {a.finish for a in read(body, tokens=500).answers} == {finish}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5}, Tokens(3, 5)),
        ({"input_tokens": 3, "output_tokens": 5.0}, Tokens(3, 5)),
        ({"prompt_tokens": "3", "completion_tokens": "n/a"}, Tokens(3, None)),
        ({"prompt_tokens": -500, "completion_tokens": 0}, Tokens()),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Tokens()),
        ({"prompt_tokens": True, "completion_tokens": [1]}, Tokens()),
        ({"total_tokens": 8}, Tokens()),
        (None, Tokens()),
        ([1], Tokens()),
    ],
)
def test_usage_is_believed_only_where_it_can_be_true(usage: object, tokens: Tokens) -> None:
    assert wire.usage(usage) == tokens
    assert read(chat(usage=usage)).outcome is ANSWER


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "99999"}, 600.0),
        ({"retry-after": "-1"}, 0.05),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "900", "retry-after": "5"}, 0.9),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert wire.retry_after(headers) == seconds


@pytest.mark.parametrize("listed", [[{"id": "m", "owned_by": "me"}], {"data": [None, {"id": "m", "owned_by": "me"}]}])
def test_a_listing_may_be_bare(listed: object) -> None:
    assert wire.served_by(listed, "Teacher", "m").owned_by == "me"


@pytest.mark.parametrize(
    "listed", [None, "x", 3, {"data": 3}, {"data": [{"id": "other", "standin": True, "weights": "w"}]},
               [{"id": "m", "owned_by": {"name": "lab"}, "notice": 3, "standin": "yes"}]],
)  # fmt: skip
def test_a_listing_lends_nothing_to_another_model(listed: object) -> None:
    found = wire.served_by(listed, "Teacher", "m")
    assert (found.standin, found.owned_by, found.weights, found.notice) == (False, None, None, None)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.sampled_from(["stop", "abort", "length"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["choices", "message", "content", "error", "finish_reason", "usage", "index",
                                       "tool_calls", "function", "name", "type", "text", "code", "detail"]),
                      inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(json_values, st.integers(100, 599))
def test_reading_is_total_and_what_it_gives_can_be_stored(body: object, status: int) -> None:
    got = read(body, status)
    assert (got.outcome is ANSWER) == bool(got.answers)
    for answer in got.answers:
        (answer.text + answer.thought + answer.finish).encode()
