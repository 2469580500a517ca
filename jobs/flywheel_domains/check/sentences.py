"""Words of the policy and of the tools: a sentence says a condition, a description what a tool does, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from flywheel_domains.check.report import Finding
from flywheel_domains.check.subject import Subject, words_of
from flywheel_domains.model import Act, Tool
from flywheel_domains.values import fold

ORDER = re.compile(r"\b(?:then|afterwards|subsequently|step \d+)\b|\b(?:first|next|finally),|\bfirst\b.*\bthen\b", re.I)
"""Words that tell an agent what to do when; "before they are identified" is a condition and stays."""

RULE = re.compile(
    r"\b(?:must|may not|not allowed|forbidden|unless|never|only (?:if|when|for|within|once|after|before)|"
    r"no more than|at most|at least|not (?:more|later|earlier) than|within \w+ (?:hours?|days?|weeks?)|"
    r"requires?|eligible|entitled|provided that|as long as)\b",
    re.I,
)
SHARED = 5  # words in a row that a description may not share with a rule's sentence
WORD = re.compile(r"[\w'-]+")


def tool_names(subject: Subject) -> Iterator[Finding]:
    """A tool's, act's or argument's name in a sentence tells which call to make instead of what is right."""
    parts: list[Tool | Act] = [*subject.domain.tools.values(), *subject.domain.acts.values()]
    names = {part.name for part in parts} | {arg for part in parts for arg in part.args}
    for rule, sentence in _sentences(subject):
        found = sorted(name for name in names if _in(name, sentence))
        for name in found:
            yield subject.finding(
                "sentences",
                f"the sentence names {name!r}",
                "say the condition in a customer's words",
                "rules",
                rule,
                "say",
            )


def alike(subject: Subject) -> Iterator[Finding]:
    """Two rules with one sentence: a reason that is given in its words could be either."""
    first: dict[str, str] = {}
    for rule, sentence in _sentences(subject):
        other = first.setdefault(fold(sentence), rule)
        if other != rule:
            advice = "say what differs, or make one rule of the two"
            yield subject.finding("sentences", f"the same sentence as rule {other}", advice, "rules", rule, "say")


def order_words(subject: Subject) -> Iterator[Finding]:
    """An order of steps in a sentence is a procedure: the agent has to find its own."""
    for rule, sentence in _sentences(subject):
        if match := ORDER.search(sentence):
            message = f"the sentence says an order of steps ({match.group()!r})"
            yield subject.finding(
                "sentences", message, "say what must hold, not what is done when", "rules", rule, "say"
            )


def own_values(subject: Subject) -> Iterator[Finding]:
    """An id, name or address of a row in a sentence gives a task away, or is wrong in the next world."""
    for rule, sentence in _sentences(subject):
        for value in sorted(words_of(sentence) & subject.identifiers):
            message = f"the sentence holds {value!r}, a value of a row"
            yield subject.finding("sentences", message, "say the condition", "rules", rule, "say")


def descriptions(subject: Subject) -> Iterator[Finding]:
    """A tool's description that states a rule is read instead of the policy, and stays when the policy changes."""
    sentences = dict(_sentences(subject))
    for name, tool in subject.domain.tools.items():
        texts: list[tuple[tuple[str, ...], str]] = [(("about",), tool.about)]
        texts += [(("args", arg), spec.about) for arg, spec in tool.args.items()]
        for path, text in texts:
            said = _stated(text, sentences)
            if said:
                advice = "describe what the call does; conditions belong to `say` of a rule"
                yield subject.finding("descriptions", said, advice, "tools", name, *path)


def _stated(text: str, sentences: Mapping[str, str]) -> str:
    if match := RULE.search(text):
        return f"the description states a rule ({match.group()!r})"
    ours = _runs(text)
    rule = next((name for name, sentence in sentences.items() if ours & _runs(sentence)), None)
    return f"the description repeats the sentence of rule {rule}" if rule else ""


def _runs(text: str) -> set[tuple[str, ...]]:
    words = [word.lower() for word in WORD.findall(text)]
    return {tuple(words[at : at + SHARED]) for at in range(len(words) - SHARED + 1)}


def _sentences(subject: Subject) -> Iterator[tuple[str, str]]:
    for rule in subject.domain.rules:
        yield rule.id, rule.say


def _in(name: str, sentence: str) -> bool:
    """A name as it is spelled; one plain word (`refund`, `cancel`) is English before it is a tool."""
    return ("_" in name or "-" in name) and bool(re.search(rf"\b{re.escape(name)}\b", sentence))
