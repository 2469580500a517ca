"""What a model thought and what it said, told apart by the marks of every family that writes its thought into the text.

Thought is kept in the record and is never executed, rewarded, voted with or shown to a user. One pass, linear in the
text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

_NAMES = (
    r"(?:[a-z]{1,16}[:_-])?think(?:ing)?(?:_process)?|(?:chain_of_)?thoughts?(?:_process)?|reasoning|reflect(?:ion)?"
    r"|scratchpad|analysis|in(?:ner|ternal)(?:_(?:monologue|thoughts?))?|antthinking|cot|planning|rationale|brainstorm"
)
_PAIRS = {
    "◁think▷": "◁/think▷",  # Kimi
    "[THINK]": "[/THINK]",  # Mistral
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker, Sky-T1
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
    "<|begin_of_thinking|>": "<|end_of_thinking|>",
    "<|startofthought|>": "<|endofthought|>",
    "<|thought_start|>": "<|thought_end|>",
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<unused94>": "<unused95>",  # MedGemma
    "<|channel>thought": "<channel|>",  # Gemma
}
_CHANNEL = "<|channel|>"  # gpt-oss: analysis, commentary and final in turn
_WRAPPERS = (
    "<|begin_of_solution|>", "<|end_of_solution|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>",
    "<|END_TEXT|>", "<|return|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>",
)  # fmt: skip
_AFTER = (
    rf"(?:(?!\|(?:start|end)_)\|?(?P<slash>/?)(?P<name>{_NAMES})(?:\||\s[^<>]{{0,80}})?>"
    r"|(?P<channel>\|channel\|>\s*(?P<which>[a-z]{1,16})[^<\n]{0,80}?(?=<\|message\|>|[\s<]|$)(?:<\|message\|>)?)"
    r"|(?P<stop>\|end\|>(?:<\|start\|>assistant)?|\|start\|>assistant|\|message\|>)"
    r"|(?P<open>" + "|".join(re.escape(m[1:]) for m in _PAIRS if m[0] == "<") + r")"
    r"|(?P<close>" + "|".join(re.escape(m[1:]) for m in _PAIRS.values() if m[0] == "<") + r")"
    r"|(?P<wrapper>" + "|".join(re.escape(m[1:]) for m in _WRAPPERS) + r"))"
)
# `re` skips to a single first character at the speed of memchr; one pattern for all three is several times slower
_TAG = re.compile("<" + _AFTER, re.IGNORECASE)
_OTHERS = [
    re.compile("|".join(map(re.escape, pair)), re.IGNORECASE) for pair in _PAIRS.items() if not pair[0].startswith("<")
]
_ESCAPED = re.compile(rf"&lt;(/?(?:{_NAMES}))&gt;", re.IGNORECASE)  # of models that were trained on web pages
_TAIL = 200  # characters, more than any mark has
_OPENING = {mark.lower(): mark for mark in _PAIRS}
_CLOSING = {close.lower(): mark for mark, close in _PAIRS.items()}
# Granite writes sentences; gpt-oss without its special tokens runs the names of its channels into the text.
_SENTENCES = (
    ("here is my thought process:", "here is my response:"),
    ("here's my thought process:", "here's my response:"),
    ("analysis", "assistantfinal"),
    ("thinking...\n", "...done thinking."),  # Ollama's console
    ('<details type="reasoning"', "</details>"),  # Open WebUI
)
_RUN_IN = re.compile(r"\s*analysis(?=[^\W_])")  # `analysisWe need to`; `Analysis: ...` is a heading of what is said


@dataclass(frozen=True)
class Said:
    """A text, split. `cut` says that a thought never ended: what the model meant to say then was not said."""

    text: str
    thought: str = ""
    cut: bool = False


def split(text: str) -> Said:
    """Thought and said text.

    A thought that is not closed reaches to the end. A closing mark without an opening one ends a thought that began
    with the text (the chat template wrote the opening), however much was said before. Marks of another family inside
    a thought are part of it.
    """
    if text.lstrip().startswith("&lt;") or "&lt;/" in text:  # not: words about a tag
        text = _ESCAPED.sub(r"<\1>", text)
    text, before, cut = _sentences(text)
    if cut:
        return Said("", before, True)
    said: list[str] = []
    thought: list[str] = [before] if before else []
    inside: str | None = None
    at, marks = 0, 0
    for mark in _marks(text):
        opens, family = _reading(mark)
        if inside is not None and (opens or family != inside):
            continue
        marks += 1
        piece, at = text[at : mark.start()], mark.end()
        if inside is not None:
            thought.append(piece)
            inside = None
        else:
            said.append(piece)
            if opens:
                inside = family
            elif opens is False and family != _CHANNEL:
                thought += said
                said = []
    rest = text[at:]
    (said if inside is None else thought).append(rest)
    if not marks:
        return Said(text, before)
    return Said(
        "\n".join(p.strip() for p in said if p.strip()),
        "\n".join(p.strip() for p in thought if p.strip()),
        inside is not None,
    )


def opened(prompt: str) -> str:
    """The mark with which a rendered prompt leaves a thought open, so that what the model says begins inside it; or "".

    Templates of models that always think end so (R1, Qwen3-Thinking). The mark belongs before the model's text: else a
    thought that never ends would pass for what was said.
    """
    tail = prompt[-_TAIL:].rstrip()
    last = deque(_marks(tail), maxlen=1)
    return last[0][0] if last and last[0].end() == len(tail) and _reading(last[0])[0] else ""


def kept(text: str, thought: str) -> str:
    """A text as it is recorded: with the thought before it that a server told apart."""
    return f"<think>\n{thought}\n</think>\n\n{text}" if thought else text


def _marks(text: str) -> Iterator[re.Match[str]]:
    """Marks of every family in order; what looks like one inside another (an attribute of a tag) is none."""
    others = [mark for family in _OTHERS for mark in family.finditer(text)]
    found = _TAG.finditer(text)
    past = 0
    for mark in sorted([*found, *others], key=re.Match.start) if others else found:
        if mark.start() >= past:
            past = mark.end()
            yield mark


def _reading(mark: re.Match[str]) -> tuple[bool | None, str]:
    """Whether a mark opens (True) or closes (False) a thought of that family; None for one that only falls away."""
    if mark.re is not _TAG:
        opened = _OPENING.get(mark[0].lower())
        return opened is not None, opened or _CLOSING[mark[0].lower()]
    if mark["name"]:
        return not mark["slash"], mark["name"].lower()
    if mark["channel"]:
        return mark["which"].lower() in ("analysis", "thought", "thinking", "reasoning"), _CHANNEL
    if mark["stop"]:
        return False, _CHANNEL
    if mark["open"]:
        return True, _OPENING[mark[0].lower()]
    if mark["close"]:
        return False, _CLOSING[mark[0].lower()]
    return None, ""


def _sentences(text: str) -> tuple[str, str, bool]:
    """Thought that sentences mark instead of tags: (the rest, the thought, whether it never ends)."""
    head = text[:64].lstrip().lower()
    for opening, closing in _SENTENCES:
        if head.startswith(opening):
            found = re.search(re.escape(closing), text, re.IGNORECASE)
            if found:
                return text[found.end() :].strip(), text[: found.start()].strip(), False
            if opening != "analysis" or _RUN_IN.match(text):
                return "", text.strip(), True
    return text, "", False
