"""Calls in the markup of other model families, or in none: known, so that none passes for words to the user.

They are not carried out: the prompt asks for one form, and training would teach many. But a turn that holds one is no
reply either, since the write that was meant would count as a refusal and be paid (law 6).
"""

from __future__ import annotations

import re

from flywheel_jobs.reading import jsontext

_MARK = re.compile(
    r"\[TOOL_CALLS\]|\[ARGS\]"  # Mistral
    # special tokens, with bars of ASCII or not: Kimi, DeepSeek, Llama, Granite, Phi, Command, gpt-oss, InternLM, Gemma
    r"|<[|｜][\w▁/ ]{0,24}(?:tool|func|call|action|plugin|python_(?:tag|start))[\w▁ ]{0,24}[|｜]?>"
    r"|to=functions\.\w"
    # tags, plain or with the family's name before them: Claude, GLM, MiniMax, Seed, Hunyuan, Nemotron, Qwen3-Coder
    r"|</?[|｜]?(?:[a-z]{1,16}[:_｜|])?(?:tool_?calls?|tool_code|function_calls?|invoke|start_function_call)(?=[\s>=|｜])"
    r"|<function=[\w.-]+>|<(?:tool|function) name="
    r"|functools\[|✿FUNCTION✿|```tool_(?:code|call)\b"
    r"|^>>>[\w.]{1,64}\n\s*\{"
    r"|^Action: *[\w.]{1,64} *\nAction Input:|^Action: *```json\s*\[",
    re.IGNORECASE | re.MULTILINE,
)
_PYTHON = re.compile(r"\[\s*[a-zA-Z_][\w.]*\(.*\)\s*\]", re.DOTALL)
_BARE = 8_192  # characters of a turn that may be nothing but a call


def holds_call(text: str) -> bool:
    """Whether a turn's words are, or hold, a call in another form than ours. Linear in the text."""
    return _MARK.search(text) is not None or (len(text) <= _BARE and _is_call(text.strip()))


def _is_call(text: str) -> bool:
    """Whether a text is nothing but a call."""
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json").strip()
    if not text.startswith(("{", "[")):
        return False
    try:
        value = jsontext.loads(text)
    except ValueError:
        return _PYTHON.fullmatch(text) is not None
    return bool(value) and all(map(_object, value if isinstance(value, list) else [value]))


def _object(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    named = isinstance(value.get("name", value.get("tool_name")), str)
    return (
        (named and bool({"arguments", "parameters"} & set(value)))
        or (named and value.get("type") == "tool_use")
        or {"action", "action_input"} <= set(value)
        or "tool_calls" in value
        or "function" in value
    )
