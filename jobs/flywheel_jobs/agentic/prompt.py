"""The agent's prompt: tools and rules in the system message, worked examples where a domain has them, the request.

Tools stand in the system message and not in the request's `tools` field: training, pools and foreign endpoints then
see the same text whatever their template and tool parser do.

Measured with SmolLM2-135M-Instruct (vLLM on CPU, fp32, T=0.8, 24 items x 4, two examples, personas and pushes mixed;
success with Wilson's interval, and groups of 4 that are neither all right nor all wrong):

    get_booking, cancel, refund                  262 tokens  0.28 [.20, .38]  20 of 24  cancel 0.27, refund 0.29 (used)
    get_booking, cancel_booking, refund_booking  274 tokens  0.16 [.10, .24]  12 of 24  cancel 0.12, refund 0.19
    get, cancel, refund                          253 tokens  0.67 [.57, .75]  21 of 24  cancel 0.67, refund 0.67

Most failures write before they look, so that there is something to learn. Look-ups that answer "open" and "flown"
instead of words with the stem of the write gave 0.0 on one outcome; three examples gave 0.73 at 330 tokens (16 items).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flywheel_domains.args import schema_of
from flywheel_domains.domain import Domain
from flywheel_domains.model import Tool
from flywheel_jobs.reading.calls import render

Message = dict[str, str]
HERMES = (
    "You help a customer by calling tools. One call a turn, written as "
    '<tool_call>{"name": ..., "arguments": {...}}</tool_call>. A turn without a call is shown to the customer.'
)
DONE = "ok"


@dataclass(frozen=True)
class Limits:
    """How long the policy may talk: turns an episode, and tokens a turn (None: as the endpoint says)."""

    turns: int
    tokens: int | None


COMPACT = Limits(turns=3, tokens=64)  # a turn with a call needs 30 tokens; three turns fill training's 96
FULL = Limits(turns=15, tokens=None)  # as the released code runs it


def limits(domain: Domain) -> Limits:
    """The policy's limits in a domain, the same in collecting, banding and evaluation."""
    return COMPACT if domain.prompt.compact else FULL


def schema(domain: Domain, tool: Tool) -> dict[str, object]:
    """The tool in OpenAI's function schema."""
    return {"type": "function", "function": schema_of(domain, tool)}


def schemas(domain: Domain) -> list[dict[str, object]]:
    """All tools."""
    return [schema(domain, tool) for tool in domain.tools.values()]


def clock_text(domain: Domain, now: str | None = None) -> str:
    """What time it is, where a domain has dates: a rule about a day cannot be kept without. Empty elsewhere."""
    kinds = {kind.kind for columns in domain.columns.values() for kind in columns.values()}
    if not kinds & {"date", "datetime"}:
        return ""
    moment = datetime.fromisoformat(now) if now else domain.clock.moment
    return f"It is {moment:%A}, {moment:%Y-%m-%d %H:%M} ({domain.clock.zone}).\n"


def system_text(domain: Domain, sop: str, now: str | None = None) -> str:
    """The system message: tools (one line where the domain says so), the time, then the rules."""
    if domain.prompt.compact:
        tools = domain.tools.values()
        listed = " ".join(f"{t.name}({', '.join(t.args)}): {t.short or t.about}." for t in tools)
        return f"Tools: {listed}\n{clock_text(domain, now)}Rules: {sop}"
    listed = "\n".join(json.dumps(s, ensure_ascii=False) for s in schemas(domain))
    return f"{HERMES}\n<tools>\n{listed}\n</tools>\n{clock_text(domain, now)}<policy>\n{sop}\n</policy>"


def build(domain: Domain, sop: str, request: str, now: str | None = None) -> list[Message]:
    """The prompt's messages, ending with the user's request."""
    messages: list[Message] = [{"role": "system", "content": system_text(domain, sop, now)}]
    for example in domain.prompt.examples:
        messages.append({"role": "user", "content": example.asks})
        for call in example.calls:
            messages.append({"role": "assistant", "content": render(call.tool, call.args)})
            if call.answers is not None:
                messages.append({"role": "tool", "content": call.answers})
    return [*messages, {"role": "user", "content": request}]


def output(domain: Domain, answer: Any) -> str:
    """A tool's answer as the agent reads it: JSON, but for what a plain view shows as text."""
    if isinstance(answer, Mapping) and "error" in answer and domain.prompt.compact:
        return f"error: {str(answer['error']).replace('_', ' ')}"
    if isinstance(answer, str):
        return answer
    if domain.prompt.compact and isinstance(answer, Mapping) and set(answer) <= {"ok", "done"}:
        return DONE
    return json.dumps(answer, ensure_ascii=False)
