"""Agents that are right or wrong on purpose are judged so on every built-in domain."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import flywheel_domains
from flywheel_domains.agents import AGENTS, Play
from flywheel_domains.behaviour import Behaviour
from flywheel_domains.check import sample
from flywheel_domains.check.subject import Subject
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.load import load
from flywheel_domains.lookups import Unprovable, path_of
from flywheel_domains.reward import grade
from flywheel_domains.wishes import NotDrawn

BUILT_IN = sorted((Path(flywheel_domains.__file__).parent / "builtin").iterdir())
NAMES = {
    "oracle", "wrong branch", "refuse-all", "obey-all", "transfer-all", "do-nothing", "never-ends", "liar", "forger",
    "no-look-up", "look-everything-up", "calls-twice", "wrong reason", "first candidate", "asks-everything",
    "tool-spammer", "copy-the-document", "polite liar", "done but sorry", "early yes", "number dumper",
}  # fmt: skip
EXCEPT = {
    "airline": set[str](),
    "retail": set[str](),
    "nomination": {"number dumper"},  # no rule and no wish of it asks for an amount
    "booking": {
        "first candidate",  # no slot is the best of several
        "early yes",  # no rule asks for the caller's consent
        "number dumper",
    },
}
"""What a domain cannot tell apart, and why; every other agent must have been judged there."""
DRAWS = 400  # cases that are looked through for one by which an agent can be judged
RARE = ("first candidate", "number dumper")  # judged in few cases: such cases are looked for


def test_all_of_them_are_there() -> None:
    assert {agent.name for agent in AGENTS} == NAMES


@pytest.mark.parametrize("folder", BUILT_IN, ids=lambda path: path.name)
def test_each_is_judged_right(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "PER_SIDE", 1)
    monkeypatch.setattr(sample, "FREE", 4)
    subject = Subject(folder, load(folder), seed=5)
    judged: dict[str, int] = {}
    for found in (*subject.sample.all, *rare(subject, EXCEPT[folder.name])):
        path = subject.path(found)
        if path is None:
            continue  # `domain test` tells it
        play = Play(subject.domain, found, path)
        for agent in AGENTS:
            expected = agent.expected(play)
            if expected is None:
                continue
            graded = grade(subject.domain, found.case, found, agent.play(play), confirmations=True)
            assert graded.paid == expected, (agent.name, graded.reasons, found.endings, found.case)
            judged[agent.name] = judged.get(agent.name, 0) + 1
    assert set(judged) == NAMES - EXCEPT[folder.name]


def rare(subject: Subject, without: set[str]) -> Iterator[Behaviour]:
    """A case for each agent that chance would hardly ever let be judged."""
    left = {agent.name: agent for agent in AGENTS if agent.name in RARE and agent.name not in without}
    for number in range(DRAWS):
        if not left:
            return
        try:
            found = draw_behaviour(subject.domain, subject.worlds[0], random.Random(number))
            play = Play(subject.domain, found, path_of(subject.domain, found))
        except (NotDrawn, Unprovable):
            continue
        judges = {name for name, agent in left.items() if agent.expected(play) is not None}
        if judges:
            yield found
        left = {name: agent for name, agent in left.items() if name not in judges}
