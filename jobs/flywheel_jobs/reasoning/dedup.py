"""Exact and near duplicates, and contamination by evaluation suites (docs/method.md, "Dedup and decontamination").

A problem is judged with its context: the same question after another story is another problem. Two problems of nearly
the same wording but with other numbers or other signs of mathematics are different problems.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable

from flywheel_api.records.base import Message
from flywheel_api.records.reasoning import Problem
from flywheel_jobs.reading.equality import normal_form
from flywheel_jobs.reasoning.neighbours import Neighbours
from flywheel_jobs.reasoning.text import Reading, read

SHINGLE = 3
REWORDED = 0.6  # of the words of two problems with the same numbers and answer: then one is the other in other words
PHRASE = 3  # items of the suites from which a shared n-gram is a phrase of the language ("find the sum of all ...")


def _digest(*parts: Iterable[str]) -> bytes:
    text = "\n".join(["\t".join(part) for part in parts])  # no token holds a blank
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _whole(problem: Problem) -> str:
    return "\n".join([*(m.content for m in problem.context), problem.question])


def _own(problem: Problem) -> list[Message]:
    """The messages before the question that are an item's own: a prompt of a whole suite is not."""
    return [m for m in problem.context if m.role != "system"]


def _story(messages: Iterable[Message]) -> bytes:
    return _digest(*(read(m.content).words for m in messages))


class Duplicates:
    """Problems seen so far."""

    def __init__(self, threshold: float) -> None:
        self._exact: set[bytes] = set()
        self._near = Neighbours(threshold)

    def add(self, problem: Problem) -> str | None:
        """Takes a problem; the reason if it repeats an earlier one (it is then not kept), else None."""
        text = read(_whole(problem))
        key = _digest(text.words)
        if key in self._exact:
            return "duplicate"
        kind = int.from_bytes(_digest(text.numbers, text.signs)[:8], "big")
        if not self._near.add(text.ngrams(SHINGLE), kind):
            return "near-duplicate"
        self._exact.add(key)
        return None


class Contamination:
    """The evaluation items that no training problem may repeat."""

    def __init__(self, items: Iterable[Problem], ngram: int) -> None:
        """`items` of every evaluation suite; `ngram` is in words."""
        self._ngram = ngram
        self._questions: dict[bytes, set[bytes]] = defaultdict(set)  # -> contexts and answers they stand with
        self._values: set[tuple[tuple[str, ...], str]] = set()
        self._long: dict[tuple[tuple[str, ...], str], list[frozenset[str]]] = defaultdict(list)
        seen: Counter[str] = Counter()
        stories: dict[bytes, set[bytes]] = defaultdict(set)  # of each question of `ngram` words or more
        for item in {item.content: item for item in items}.values():
            question = read(item.question)
            key = _digest(question.words)
            self._questions[key] |= self._standing(item)
            seen.update({gram for text in self._texts(_own(item), question) for gram in text.ngrams(ngram)})
            if len(question.words) < ngram:
                self._values |= self._facts(item, question)
                continue
            stories[key].add(_story(_own(item)))
            for fact in self._facts(item, question):
                self._long[fact].append(frozenset(question.words))
        self._grams = {gram for gram, items_with in seen.items() if items_with < PHRASE}
        self._asked_often = {key: found for key, found in stories.items() if len(found) >= PHRASE}

    @staticmethod
    def _facts(problem: Problem, question: Reading) -> set[tuple[tuple[str, ...], str]]:
        """Numbers with the answer, as they stand in digits and with those in words."""
        if not problem.answer:
            return set()
        answer = normal_form(problem.answer)
        return {(numbers, answer) for numbers in (question.numbers, question.said) if numbers}

    def _reworded(self, fact: tuple[tuple[str, ...], str], words: frozenset[str]) -> bool:
        return any(len(words & own) >= REWORDED * len(words | own) for own in self._long.get(fact, ()))

    def _texts(self, before: Iterable[Message], question: Reading) -> list[Reading]:
        """The messages that are long enough to have n-grams."""
        return [text for text in (*(read(m.content) for m in before), question) if len(text.words) >= self._ngram]

    def _standing(self, problem: Problem) -> set[bytes]:
        found = {_story(problem.context), _story(_own(problem))}
        return found | ({_digest(("the answer",), (normal_form(problem.answer),))} if problem.answer else set())

    def reason(self, problem: Problem) -> str | None:
        """Why a problem may not be trained on.

        A message of it shares an n-gram with an item; a message is an item's whole question, with its context or its
        answer; or the numbers and the answer are those of a short item, whatever the wording, or of a longer one in
        mostly the same words. (Among longer items equal numbers alone say nothing.) A long question that items ask
        after PHRASE stories is a phrase like their n-grams, and one of them only after its story.
        """
        question = read(problem.question)
        for text in self._texts(problem.context, question):
            if not self._grams.isdisjoint(text.ngrams(self._ngram)):
                return "contaminated"
        if self._asked(problem, question) or self._example(problem):
            return "contaminated"
        facts = self._facts(problem, question)
        if not facts.isdisjoint(self._values):
            return "contaminated-values"
        if any(self._reworded(fact, frozenset(question.words)) for fact in facts):
            return "contaminated"
        return None

    def _asked(self, problem: Problem, question: Reading) -> bool:
        """Whether an item asks the same, with the same context or answer: also where all its n-grams are phrases."""
        key = _digest(question.words)
        stories = self._asked_often.get(key)
        if stories is not None:
            return _story(_own(problem)) in stories
        return key in self._questions and not self._questions[key].isdisjoint(self._standing(problem))

    def _example(self, problem: Problem) -> bool:
        """Whether a message before the question is the whole question of an item: a worked example, mostly."""
        keys = (_digest(read(m.content).words) for m in problem.context)
        return any(key in self._questions and key not in self._asked_often for key in keys)
