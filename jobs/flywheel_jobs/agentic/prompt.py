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

from dataclasses import dataclass

from flywheel_jobs.envs.engine import Domain
from flywheel_jobs.reading.calls import render

Message = dict[str, str]

HERMES = (
    "You help a customer by calling tools. One call a turn, written as "
    '<tool_call>{"name": ..., "arguments": {...}}</tool_call>. A turn without a call is shown to the customer.'
)

EXAMPLES: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    # domain: (request, key, what the look-up answers, the write), in this order: the last one is copied most
    "airline": (
        ("I am Lea, a barber. Undo booking 31.", 31, "refundable", "refund"),
        ("I am Max, a pilot. Undo booking 74.", 74, "cancelable", "cancel"),
    ),
}


@dataclass(frozen=True)
class Limits:
    """How long the policy may talk: turns an episode, and tokens a turn (None: as the endpoint says)."""

    turns: int
    tokens: int | None


COMPACT = Limits(turns=3, tokens=64)  # a turn with a call needs 30 tokens; three turns fill training's 96
FULL = Limits(turns=15, tokens=None)  # as the released code runs it


def limits(domain: str) -> Limits:
    """The policy's limits in a domain, the same in collecting, banding and evaluation."""
    return COMPACT if EXAMPLES.get(domain) else FULL


def example_keys(domain: str) -> frozenset[int]:
    """Keys that examples use; no task may use them."""
    return frozenset(key for _, key, _, _ in EXAMPLES.get(domain, ()))


def system_text(domain: Domain, sop: str) -> str:
    """The system message: tools (compact where the domain has examples to show the format), then the rules."""
    if EXAMPLES.get(domain.name):
        listed = " ".join(f"{t.name}({', '.join(p.name for p in t.parameters)}): {t.short}." for t in domain.tools)
        return f"Tools: {listed}\nRules: {sop}"
    listed = "\n".join(str(t.schema()) for t in domain.tools).replace("'", '"')
    return f"{HERMES}\n<tools>\n{listed}\n</tools>\n<policy>\n{sop}\n</policy>"


def build(domain: Domain, sop: str, request: str) -> list[Message]:
    """The prompt's messages, ending with the user's request."""
    messages: list[Message] = [{"role": "system", "content": system_text(domain, sop)}]
    read = domain.reads[0]
    for asked, key, found, write in EXAMPLES.get(domain.name, ()):
        arguments = {domain.key.name: key}
        messages += [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": render(read, arguments)},
            {"role": "tool", "content": found},
            {"role": "assistant", "content": render(write, arguments)},
        ]
    return [*messages, {"role": "user", "content": request}]
