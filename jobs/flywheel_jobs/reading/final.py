"""The final answer of a text, by the conventions of the public sets.

`<answer>…</answer>`, `\\boxed{…}`, `#### …` (GSM8K), `Answer: …` (DAPO), `The final answer is …` (Minerva): whichever
stands last in what was said. Thought is split off first. A mark inside a mark is read too: a box in a tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flywheel_jobs.reading.fold import MAX_ANSWER
from flywheel_jobs.reading.kinds import CHECKABLE, Kind
from flywheel_jobs.reading.thought import Said, split
from flywheel_jobs.reading.values import read

_TAG = re.compile(r"<(/?)(?:final_)?answer(?:\s[^<>]{0,80})?>", re.IGNORECASE)
_WRAPPER = re.compile(r"<(response|solution|output|result|final)>(.*)</\1>", re.IGNORECASE | re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
_HASHES = re.compile(r"(?<![^\s*>])####[ \t]*(?!#)")
_PHRASE = re.compile(
    r"\b(?:final(?:\s+answer)?|answer(?:\s+to\s+th(?:e|is)\s+(?:question|problem))?|correct\s+(?:option|choice))\b[*_:\s]{0,8}"
    r"(?:\bis\b|=|:|\bshould\s+be\b|(?<=\n))[*_:\s]{0,8}|答案\s*(?:[是为][：:]?|[：:])\s*",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?%?")
_LAST = 8  # marks of one kind that are looked at, from the end; only the last that holds an answer counts
_NESTED = 4
_TAIL = re.compile(r"\.?\s+I hope it is correct\.?\s*$|,?\s+(?:because|since)\s.*", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """A final answer as it was written; `marked` says that the text marks it, else the text is nothing else."""

    text: str
    marked: bool
    said: Said


def find(text: str) -> Answer:
    """The final answer of what a model wrote; empty where it gives none. Linear in the text, never raises."""
    said = split(text)
    bare = _unwrapped(said.text.strip())
    found = _marked(bare, _NESTED)
    if found is not None:
        return Answer(found, True, said)
    return Answer(bare if len(bare) <= MAX_ANSWER and not _TAG.search(bare) else "", False, said)


def last(text: str) -> list[str]:
    """The last number and the last line of what was said: where an answer may stand that nothing marks."""
    said = split(text).text.strip()
    return _NUMBER.findall(said)[-1:] + said.split("\n")[-1:]


def truth(answer: str) -> str:
    """A truth as a data set writes it: a bare answer, or a whole solution that marks its own."""
    stripped = answer.strip()
    found = _marked(stripped, _NESTED)
    return stripped if found is None else found


def _marked(text: str, depth: int) -> str | None:
    """The last marked answer of a text, without the marks inside it."""
    if not depth:
        return None
    ends = [found for find_last in (_tagged, _boxed, _hashed, _phrased) if (found := find_last(text))]
    if not ends:
        return None
    _, inner = max(ends)
    deeper = _marked(inner, depth - 1)
    return _unwrapped(inner) if deeper is None else deeper


def _unwrapped(text: str) -> str:
    """A text without the tag around all of it, which some families put around what they say."""
    found = _WRAPPER.fullmatch(text)
    return found[2].strip() if found else text


def _tagged(text: str) -> tuple[int, str] | None:
    """The last pair of tags that holds something, from its innermost opening; or an opening that nothing closes."""
    marks = list(_TAG.finditer(text))
    for number in range(len(marks) - 1, max(-1, len(marks) - 1 - _LAST), -1):
        mark = marks[number]
        before = marks[number - 1] if number else None
        if before is not None and not before[1]:  # whatever closes it: `<answer>5<answer>` is a slip
            inner = text[before.end() : mark.start()].strip()
            if inner and (mark[1] or _value(inner)):
                return mark.start(), inner
        if not mark[1] and number == len(marks) - 1:  # the closing tag was a stop sequence
            inner = text[mark.end() :].strip()
            if inner and "\n" not in inner and _value(inner) and read(inner).kind is not Kind.WORDS:
                return mark.end(), inner
    return None


def _boxed(text: str) -> tuple[int, str] | None:
    marks = list(_BOX.finditer(text))[-_LAST:]
    for mark in reversed(marks):
        inner = _braced(text, mark.end()) if text[mark.end() : mark.end() + 1] == "{" else _word(text, mark.end())
        if inner and inner.strip():
            return mark.start(), inner.strip()
    return None


def _braced(text: str, start: int) -> str | None:
    """What the braces at `start` hold; None when they are not closed within the length of an answer."""
    level, at = 0, start
    while at < min(len(text), start + 4 * MAX_ANSWER):
        char = text[at]
        if char == "\\":
            at += 2
            continue
        level += (char == "{") - (char == "}")
        if level == 0:
            return text[start + 1 : at]
        at += 1
    return None


def _word(text: str, start: int) -> str | None:
    found = re.compile(r"[^\s$.,;]{1,40}").match(text, start)
    return found[0] if found else None


def _hashed(text: str) -> tuple[int, str] | None:
    return _line_after(text, list(_HASHES.finditer(text))[-_LAST:])


def _phrased(text: str) -> tuple[int, str] | None:
    return _line_after(text, list(_PHRASE.finditer(text))[-_LAST:])


def _line_after(text: str, marks: list[re.Match[str]]) -> tuple[int, str] | None:
    """The rest of the line behind the last of these marks, where that is an answer and not prose."""
    for mark in reversed(marks):
        end = text.find("\n", mark.end(), mark.end() + MAX_ANSWER)
        inner = text[mark.end() : end if end >= 0 else mark.end() + MAX_ANSWER]
        inner = re.sub(r"(\*+|_+)\.$", "", _TAIL.sub("", inner).strip()).strip("*_ ").strip()
        if inner and (_value(inner) or _boxed(inner) or _tagged(inner)):  # the others would be found by themselves
            return mark.start(), inner
    return None


def _value(text: str) -> bool:
    found = read(text)
    return found.kind in CHECKABLE and (found.kind is not Kind.WORDS or len(text.split()) <= 3)
