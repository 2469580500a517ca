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
_JSON = re.compile(  # also in the middle of words
    r"\{\s*\"(?:(?:name|tool_name|tool|function|action)\"\s*:\s*\"[\w.-]{1,64}\"\s*,\s*"
    r"\"(?:arguments|parameters|params|args|input|action_input)\"\s*:"
    r"|(?:arguments|parameters)\"\s*:\s*\{|function\"\s*:\s*\{\s*\"name\"|tool_calls\"\s*:)",
    re.IGNORECASE,
)
_LINE = re.compile(  # `cancel(id=47)` on a line of its own
    r"^[ \t]*(?:\w{1,64}[ \t]*=[ \t]*)?(?:[a-zA-Z_][\w.]{0,64}\([ \t]*){1,3}\w{1,64}[ \t]*=[^\n]*\)[ \t;]*$",
    re.MULTILINE,
)
_NAMED = re.compile(r"[a-zA-Z_][\w.]{1,63}[^\S\n]*\n\s*(?=\{)")  # GLM-4
_ALONE = re.compile(r"[a-z_][\w.]{1,63}\([^()\n]*\)")
_LANGUAGE = re.compile(r"\A(?:json|\w*\n)")
_PYTHON = re.compile(r"\[\s*[a-zA-Z_][\w.]*\(.*\)\s*\]", re.DOTALL)
_BARE = 8_192  # characters of a turn that may be nothing but a call


def holds_call(text: str) -> bool:
    """Whether a turn's words are, or hold, a call in another form than ours. Linear in the text."""
    if _MARK.search(text) or ("{" in text and _JSON.search(text)) or ("(" in text and _LINE.search(text)):
        return True
    return len(text) <= _BARE and _is_call(text.strip())


def _is_call(text: str) -> bool:
    """Whether a text is nothing but a call."""
    if text.startswith("```") and text.endswith("```"):
        text = _LANGUAGE.sub("", text[3:-3], count=1).strip()
    if _ALONE.fullmatch(text):
        return True
    named = _NAMED.match(text)
    if named:
        try:
            return isinstance(jsontext.loads(text[named.end() :]), dict)
        except ValueError:
            return False
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
