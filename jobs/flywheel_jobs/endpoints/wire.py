"""Reading what OpenAI-compatible endpoints send, tolerantly and totally: no body makes it raise. Pure.

A model's words are data: they are cleaned here once, and by nobody after. Thought, where the server tells it apart, is
kept beside the text; calls that the server's own parser took out of the text are written back into it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flywheel_api.artifacts import ServedBy
from flywheel_jobs.endpoints.door import CUT, LOOPED, STOPPED, decide
from flywheel_jobs.endpoints.verdicts import Outcome, Row, Signs
from flywheel_jobs.reading.calls import CLOSE, OPEN, parse
from flywheel_jobs.reading.jsontext import OURS, loads
from flywheel_jobs.reading.text import clean

_SAID = 20_000  # characters of an error that are kept: far more than is shown, since redaction makes it shorter
_STATUS_OF = {"rate_limit_exceeded": 429, "overloaded_error": 529, "server_error": 500, "invalid_api_key": 401}
_ERRORS = ("detail", "errors", "base_resp")  # where a body that is an error as a whole may hold it, beside `error`
_SAYS = ("message", "status_msg", "error_msg")
_TITLE = re.compile(rb"<title[^>]*>([^<]+)", re.IGNORECASE)
_ECHO = re.compile(  # llama.cpp: "Failed to parse input at pos 12: ..."; FastAPI, pydantic; OpenRouter; Groq
    r"(?<=\bat pos )\d+:|\binput_value=|\"(?:input|flagged_input|failed_generation)\": ", re.IGNORECASE
)
_BROKEN, _STOP = decide(Signs(broken=True)), decide(Signs(finish="stop"))
_KNOWN = STOPPED | CUT
_NAME, _FINGERPRINT, _NOTE = 253, 64, 1000  # characters that are kept of what a server says of itself
_MARKS = re.compile(r"<(?=[/|a-z])|\[(?=/?THINK)|◁", re.IGNORECASE)  # in JSON these stand in strings only
_PROMPT = ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
_TEXT_OF = {"text": "text", "output_text": "text", "refusal": "refusal"}  # by the type of a part
_COMPLETION = ("completion_tokens", "output_tokens", "completionTokens", "outputTokens")


@dataclass(frozen=True)
class Reply:
    """An HTTP response, headers in lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One choice that is an answer. `finish` is stop, length or window: the last two were cut."""

    text: str
    thought: str = ""
    finish: str = "stop"
    id: str = ""
    model: str = ""
    fingerprint: str = ""
    standin: bool = False


@dataclass(frozen=True)
class Tokens:
    """Tokens of a reply; None where the server says nothing that can be true."""

    prompt: int | None = None
    completion: int | None = None


@dataclass(frozen=True)
class Read:
    """A response as the door takes it: its row, what the server said, the choices that are answers, and the cost."""

    row: Row
    said: str = ""
    answers: tuple[Answer, ...] = ()
    offered: int = 0  # choices in the body, answers or not
    tokens: Tokens = Tokens()
    retry_after: float | None = None
    by_words: bool = False  # that it is the endpoint and not the request is known from words alone

    @property
    def outcome(self) -> Outcome:
        """What it is."""
        return self.row.outcome


def read(reply: Reply, asked_tokens: int | None = None) -> Read:
    """What a response to a chat request is. Where one choice of several is no answer, the others still are."""
    after = retry_after(reply.headers)
    body = parsed(reply.body)
    if reply.status not in (200, 201, 203):  # gateways say the other two of a right answer, too
        words, said, _ = _error(body, whole=True)
        said = said or _page(reply.body[:_SAID])
        seen = Signs(reply.status, words or without_echo(said).lower()[:300], retry_after=after is not None)
        where = reply.headers.get("location", "") if decide(seen).word == "moved" else ""
        return _judged(seen, Read(_BROKEN, _spaced(f"HTTP {reply.status}", where, said), retry_after=after))
    if not isinstance(body, Mapping):
        stream = "text/event-stream" if re.match(rb"\s*(data|event):", reply.body) else ""
        return Read(decide(Signs(words=stream, broken=True)), "the answer is not a JSON object")
    tokens = usage(body.get("usage"))
    choices = body.get("choices")
    choices = choices if isinstance(choices, list) else []
    for place in (body, *choices, *(c.get("message") for c in choices if isinstance(c, Mapping))):
        words, said, status = _error(place, whole=place is body and not choices)
        if words:
            seen = Signs(status or 200, words, retry_after=after is not None, broken=True)
            return _judged(seen, Read(_BROKEN, f"an error inside a 200: {said}", tokens=tokens, retry_after=after))
    return _choices(body, choices, tokens, asked_tokens)


def _judged(seen: Signs, found: Read) -> Read:
    """The response by its row. Words may repeat what the item says; a status or a `Retry-After` is the server's own."""
    row = decide(seen)
    of_all = row.outcome in (Outcome.BUSY, Outcome.ENDPOINT_REFUSED) and not seen.retry_after
    return replace(found, row=row, by_words=of_all and decide(replace(seen, words="")).outcome is not row.outcome)


def without_echo(said: str) -> str:
    """A server's words up to where it repeats what it was sent, or what the model said."""
    return _ECHO.split(said, maxsplit=1)[0]


def _spaced(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _page(body: bytes) -> str:
    """What a body that is no JSON says; of a proxy's page its title, before which others have a screen of styles."""
    title = _TITLE.search(body) if body.lstrip().startswith(b"<") else None
    return " ".join((title[1] if title else body).decode(errors="replace").split())


def _choices(body: Mapping[str, Any], choices: list[Any], tokens: Tokens, asked_tokens: int | None) -> Read:
    if not choices:
        return Read(_BROKEN, "it answered without choices", tokens=tokens)
    if all(isinstance(c, Mapping) and isinstance(c.get("index"), int) for c in choices):
        choices = sorted(choices, key=lambda c: c["index"])
    found, worst, said = [], None, ""
    for choice in choices:
        answer, row, why = _choice(choice)
        if answer is None:
            if worst is None or row.outcome is Outcome.ITEM_FILTERED:
                worst, said = row, why
            continue
        by = {
            "id": clean(str(body.get("id") or "")),
            "model": _short(body.get("model"), _NAME),
            "fingerprint": _short(body.get("system_fingerprint"), _FINGERPRINT),
        }
        found.append(Answer(**answer, **by, standin=body.get("standin") is True))
    cut = [a for a in found if a.finish == "length"]
    if any(_word(str(choice.get("finish_reason"))) in LOOPED for choice in choices if isinstance(choice, Mapping)):
        cut = []  # that it used less than was asked for is the model's doing
    if len(found) == len(choices) and _by_window(tokens.completion, asked_tokens, len(cut)):
        found = [replace(a, finish="window") if a.finish == "length" else a for a in found]
    if worst is not None and (not found or worst.outcome is Outcome.ITEM_FILTERED):
        return Read(worst, said, offered=len(choices), tokens=tokens)
    return Read(_STOP, said, tuple(found), len(choices), tokens)


def _by_window(said: int | None, asked: int | None, cut: int) -> bool:
    """Whether choices that ended by `length` used less than was asked for: the server's window was smaller.

    llama.cpp's usage is of one choice, however many there are.
    """
    if said is None or asked is None or not cut:
        return False
    of_one = cut > 1 and abs(said - asked) <= 1
    return said + 1 < cut * asked and not of_one


def _choice(choice: object) -> tuple[dict[str, str] | None, Row, str]:
    """Text, thought and finish of a choice; or None with its row and why it is no answer."""
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        return None, _BROKEN, "a choice without a message"
    reason = choice.get("finish_reason")
    if not isinstance(reason, (str, type(None))):
        return None, _BROKEN, "a finish reason that is no word"
    text, thought = _content(message.get("content"))
    thought = thought or next((t for t in (_thought(message.get(name)) for name in _THOUGHTS) if t), "")
    calls = _calls(message)
    finish = reason if reason in _KNOWN else _word(reason or "")
    if not finish and (text or calls):
        finish = "stop"
    row = _STOP if finish == "stop" else decide(Signs(finish=finish))
    if row.outcome is not Outcome.ANSWER:
        return None, row, f"it ended with finish_reason {clean(finish)[:40]!r}" if finish else "an empty answer"
    if text is None and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    if text is None and message.get("content") is not None:
        return None, _BROKEN, "content that is no text"
    if text is None and finish in STOPPED and not calls and not thought:
        return None, _BROKEN, "an answer without any content"
    text, thought = _with_calls(text or "", thought, calls)
    found = {"text": clean(text), "thought": clean(thought), "finish": "length" if finish in CUT else "stop"}
    return found, row, ""


def _with_calls(text: str, thought: str, calls: list[str]) -> tuple[str, str]:
    """Text and thought with calls written back where they are read as said: a call that is lost is a refusal in words.

    What the text says itself stays once. A call that was thought about, or a tag that begins none, says none.
    """
    if not calls or (turn := parse(text)).calls:
        return text, thought
    said = turn.said
    if not said.cut and OPEN not in said.text:
        return _lines(text, *calls), thought
    # after a thought that never ended they would be part of it, after a tag without a call a part of that block
    return _lines(*calls, said.text) if OPEN in said.text else _lines(said.text, *calls), _lines(thought, said.thought)


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def _word(reason: str) -> str:
    """A finish reason without what some servers write around it."""
    return re.split(r"[:\s]", reason.strip().lower().removeprefix("finishreason."))[0]


def _content(content: object) -> tuple[str | None, str]:
    """Text and thought of a message's content: a string, or a list of typed parts. None for anything else."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        return None, ""
    text, thought = [], []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(part, str):
            text.append(part)
        elif kind in _TEXT_OF and isinstance(part.get(_TEXT_OF[kind]), str):
            text.append(part[_TEXT_OF[kind]])
        elif kind in ("thinking", "reasoning"):
            inner = part.get("thinking", part.get("reasoning", part.get("text")))
            thought.append(_content(inner)[0] or "")
        else:
            return None, ""
    return "".join(text), "".join(thought)


def _thought(said: object) -> str:
    """Thought that a message tells apart: a string, or a list of parts (OpenRouter, LiteLLM); some are sealed."""
    if isinstance(said, str):
        return said
    parts = [p for p in said if isinstance(p, Mapping)] if isinstance(said, list) else []
    texts = [part.get(name) for part in parts for name in ("thinking", "text", "summary")]
    return "".join(text for text in texts if isinstance(text, str))


def _calls(message: Mapping[str, Any]) -> list[str]:
    """Calls that the server took out of the text, in the text's own form; marks in what they say are escaped."""
    listed = message.get("tool_calls")
    found = [c.get("function") for c in listed if isinstance(c, Mapping)] if isinstance(listed, list) else []
    if isinstance(message.get("function_call"), Mapping):
        found.append(message["function_call"])
    calls = []
    for function in found:
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            given = function.get("arguments")
            arguments = given if isinstance(given, str) else json.dumps(given)
            name = json.dumps(function["name"], ensure_ascii=False)
            block = f'{{"name": {name}, "arguments": {arguments or "{}"}}}'
            calls.append(OPEN + _MARKS.sub(lambda mark: f"\\u{ord(mark[0]):04x}", block) + CLOSE)
    return calls


def _error(place: object, whole: bool) -> tuple[str, str, int]:
    """(words in lower case, what it says, HTTP status that it names or 0) of an error; empty if there is none.

    `whole`: the place is a body without choices, which may be an error as a whole (`_ERRORS`, a `message`).
    """
    if not isinstance(place, Mapping):
        return "", "", 0
    error = place.get("error")
    if not error and whole:
        error = next((place[name] for name in _ERRORS if place.get(name)), None)
        error = error or (place if any(isinstance(place.get(name), str) for name in _SAYS) else None)
    if not error:
        return "", "", 0
    if isinstance(error, list):  # pydantic's: their `input` repeats the request, and is not what the server says
        error = "; ".join(str(e.get("msg") or e.get("message")) for e in error if isinstance(e, Mapping))
    parts = (
        [error.get(name) for name in ("code", "type", "status", *_SAYS, "metadata")]
        if isinstance(error, Mapping)
        else [error]
    )
    texts = [p if isinstance(p, str) else json.dumps(p) for p in parts if p is not None]
    code = error.get("code", error.get("status")) if isinstance(error, Mapping) else None
    status = int(code) if isinstance(code, (int, str)) and re.fullmatch(r"[45]\d\d", str(code)) else 0
    status = status or _STATUS_OF.get(str(code), 0)
    said = clean(" ".join(texts)) or "an error without words"
    return without_echo(said)[:300].lower(), said[:_SAID], status


def parsed(body: bytes) -> object:
    """The JSON value of a body, or None: also for numbers and depths that Python does not take."""
    try:
        return loads(body, OURS)
    except ValueError:
        return None


def usage(value: object) -> Tokens:
    """Tokens by whatever names a server uses; numbers that cannot be true count as not said."""
    if not isinstance(value, Mapping):
        return Tokens()
    prompt = next((n for n in (_count(value.get(name)) for name in _PROMPT) if n is not None), None)
    completion = next((n for n in (_count(value.get(name)) for name in _COMPLETION) if n is not None), None)
    return Tokens(prompt or None, completion or None)


def _count(value: object) -> int | None:
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return int(number) if 0 <= number < 1e9 else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, at most ten minutes; None if it says nothing or a date (back-off decides)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        said = headers.get(name)
        if said is None:
            continue
        try:
            seconds = float(said) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return min(600.0, max(0.05, seconds))
    return None


def _entry(listed: object, model: str) -> Mapping[str, Any]:
    entries = listed.get("data") if isinstance(listed, Mapping) else listed
    mine = [e for e in entries if isinstance(e, Mapping) and e.get("id") == model] if isinstance(entries, list) else []
    return mine[0] if mine else {}


def window(listed: object, model: str) -> int | None:
    """Tokens of the asked model's context window, by the names that servers give it."""
    entry = _entry(listed, model)
    meta = entry.get("meta")
    said = [entry.get(n) for n in ("max_model_len", "context_window", "context_length")]
    said += [meta.get("n_ctx")] if isinstance(meta, Mapping) else []
    return next((n for n in map(_count, said) if n), None)


def served_by(listed: object, role: str, model: str) -> ServedBy:
    """What a listing of models (`data`, or a bare list) says of the asked one; a bare record if it says nothing."""
    entry = _entry(listed, model)

    def text(name: str) -> str | None:
        return _short(entry.get(name), _NOTE) or None

    return ServedBy(
        role=role,
        model=model,
        owned_by=text("owned_by"),
        standin=entry.get("standin") is True,
        notice=text("notice"),
        weights=text("weights"),
        root=text("root"),
    )


def _short(value: object, most: int) -> str:
    """The beginning of a text that names something, on one line; empty for what is none."""
    return " ".join(clean(value[:most]).split()) if isinstance(value, str) else ""
