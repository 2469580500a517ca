"""What an endpoint's owner may add to its requests, and how long one may take. Pure.

The policy is the model in training: what is added to its requests has to hold while it is mined, measured, trained and
scored. Training renders the same chat template and knows no other key, so that a policy takes these alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flywheel_api.base import parse_duration
from flywheel_api.pool import unfit_arguments
from flywheel_api.round import Endpoint, FlywheelRoundSpec, Role

TEMPLATE: Final = "chat_template_kwargs"
"""vLLM's and SGLang's name for the chat template's own arguments, such as `enable_thinking`."""
RESERVED: Final[Mapping[str, str]] = {
    "model": "set model",
    "messages": "they are the stage's",
    "tools": "they are the domain's",
    "functions": "they are the domain's",
    "temperature": "set sampling.temperature",
    "top_p": "set sampling.topP",
    "max_tokens": "set sampling.maxTokens",
    "max_completion_tokens": "set sampling.maxTokens",
    "n": "the stage says how many samples it draws",
    "seed": "set the round's seed",
    "response_format": "the stage asks for JSON where it reads JSON",
    "metadata": "only stand-ins are told what an item is about",
    "stream": "answers are read whole",
    "stream_options": "answers are read whole",
}
"""Keys of a request that Flywheel writes itself, and what to do instead."""
_RENDERING = frozenset({
    "chat_template", "conversation", "messages", "tools", "documents", "tokenize", "add_generation_prompt",
    "continue_final_message", "return_dict", "return_tensors", "return_assistant_tokens_mask", "padding", "truncation",
    "max_length", "tokenizer_kwargs",
})  # fmt: skip
"""Arguments of `apply_chat_template` itself, which vLLM and verl give: a second one is a TypeError, or refused."""
_SECRET = re.compile(r"authorization|cookie|api-?key|token|secret|password|credential", re.IGNORECASE)
_OURS = frozenset({
    "host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection", "accept-encoding",
    "cache-control", "te", "upgrade", "expect",
})  # fmt: skip
HEADER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
LEAST_SECONDS: Final = 90.0
TOKENS_A_SECOND: Final = 25
"""What a sequence is sure to get: 64 of them with 8B weights on one H100 reach 8,192 tokens in 173 s by
`capacity.pace.decode_step`, 47 a second each, and computed times stand for up to 1.8 times themselves (`pace.HIGH`)."""


def time_out(spec: FlywheelRoundSpec, role: Role, endpoint: Endpoint) -> float:
    """Seconds of one request of a role to what plays it: what is set, else max(90, tokens / 25), see TOKENS_A_SECOND.

    Tokens are sampling.maxTokens, of the policy those of an answer in mining too, which asks for its own.
    """
    if endpoint.timeout is not None:
        return parse_duration(endpoint.timeout).total_seconds()
    mined = spec.reasoning.mining.max_response_tokens if role is Role.POLICY and spec.reasoning is not None else 0
    return max(LEAST_SECONDS, max(endpoint.sampling.max_tokens, mined) / TOKENS_A_SECOND)


def template_arguments(spec: FlywheelRoundSpec) -> dict[str, Any]:
    """The arguments of the policy's chat template: a round has one prompt form."""
    policy = next((e for e in spec.endpoints if e.role is Role.POLICY), None)
    return dict((policy.extra_body or {}).get(TEMPLATE) or {}) if policy is not None else {}


def unfit(endpoint: Endpoint) -> Iterator[str]:
    """What an endpoint may not add to its requests, a sentence each."""
    for name in endpoint.extra_body or {}:
        if name in RESERVED:
            yield f"extraBody.{name} is set by Flywheel: {RESERVED[name]}"
        elif endpoint.role is Role.POLICY and name != TEMPLATE:
            yield (
                f"extraBody.{name} would hold where the policy is mined and measured, and not in training: for role "
                f"Policy extraBody takes {TEMPLATE} alone"
            )
    if endpoint.role is Role.POLICY:
        yield from _arguments((endpoint.extra_body or {}).get(TEMPLATE))
    for name in endpoint.headers:
        yield from _header(name)
    if endpoint.pool is not None:
        yield from (f"pool.{text}" for text in unfit_arguments(endpoint.pool))
    window = endpoint.pool.engine.max_model_len if endpoint.pool is not None else None
    if window is not None and endpoint.sampling.max_tokens >= window:
        yield (
            f"sampling.maxTokens {endpoint.sampling.max_tokens} leaves no room for a prompt in "
            f"pool.engine.maxModelLen {window}: lower the one or raise the other"
        )


def _arguments(given: Any) -> Iterator[str]:
    if given is not None and not isinstance(given, Mapping):
        yield f"extraBody.{TEMPLATE} takes a map, such as {{enable_thinking: false}}"
        return
    for name in given or {}:
        if name in _RENDERING:
            yield f"extraBody.{TEMPLATE}.{name} is no argument of a template: the server and the trainer give it"


def _header(name: str) -> Iterator[str]:
    if not HEADER.fullmatch(name):
        yield f"headers: {name!r} is no name of a header: write letters, digits and -"
    elif _SECRET.search(name):
        yield f"headers.{name}: a spec holds no secret: set apiKey, which is sent as a bearer token"
    elif name.lower() in _OURS:
        yield f"headers.{name} is set by Flywheel: leave it out"
