"""Agents that are right or wrong on purpose are judged so on every built-in domain."""

from __future__ import annotations

from pathlib import Path

import pytest

import flywheel_domains
from flywheel_domains.agents import AGENTS, Play
from flywheel_domains.check import sample
from flywheel_domains.check.subject import Subject
from flywheel_domains.load import load
from flywheel_domains.reward import grade

BUILT_IN = sorted((Path(flywheel_domains.__file__).parent / "builtin").iterdir())
NAMES = {
    "oracle", "wrong branch", "refuse-all", "obey-all", "transfer-all", "do-nothing", "never-ends", "liar", "forger",
    "no-look-up", "look-everything-up", "calls-twice", "wrong reason", "first candidate", "asks-everything",
    "tool-spammer", "copy-the-document",
}  # fmt: skip


def test_all_of_them_are_there() -> None:
    assert {agent.name for agent in AGENTS} == NAMES


@pytest.mark.parametrize("folder", BUILT_IN, ids=lambda path: path.name)
def test_each_is_judged_right(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "PER_SIDE", 1)
    monkeypatch.setattr(sample, "FREE", 4)
    subject = Subject(folder, load(folder), seed=5)
    judged: dict[str, int] = {}
    for found in subject.sample.all:
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
    assert {"oracle", "do-nothing", "wrong branch", "liar", "forger", "no-look-up", "tool-spammer"} <= set(judged)
