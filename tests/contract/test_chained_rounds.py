"""Three chained rounds: what comes back is known, lineage is whole, fresh seeds are always in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from contract.chained import STARTS, Chain, Skill, problems_of
from contract.models import serving
from contract.rounds import Round
from flywheel_api.records.reasoning import Band, Problem
from flywheel_api.results import MeasuredResult, MinedResult
from flywheel_api.stages import Stage


@pytest.fixture(scope="module")
def rounds() -> Iterator[list[Round]]:
    skill = Skill(STARTS, 1)
    with serving(extra=(skill.answer,)) as endpoint:
        chain = Chain(skill, endpoint)
        for _ in range(3):
            turn = chain.turn()
            chain.trained(turn, problems_of(turn, Stage.MEASURE_REASONING, "training.jsonl"))
        yield chain.rounds


def training(round_: Round) -> list[Problem]:
    return problems_of(round_, Stage.MEASURE_REASONING, "training.jsonl")


def seeds(round_: Round) -> dict[str, Problem]:
    return {p.id: p for p in problems_of(round_, Stage.PREPARE, "seeds/reasoning.jsonl")}


def test_a_root_is_followed_through_three_rounds(rounds: list[Round]) -> None:
    every: dict[str, Problem] = {}
    for round_ in rounds:
        for stage, path in ((Stage.PREPARE, "seeds/reasoning.jsonl"), (Stage.SYNTHESIZE_REASONING, "candidates.jsonl"),
                            (Stage.MEASURE_REASONING, "measured.jsonl")):  # fmt: skip
            every |= {p.id: p for p in problems_of(round_, stage, path) if p.id not in every}
    long_ones = 0
    for problem in training(rounds[2]):
        walked = [problem]
        while walked[-1].lineage.parent_ids:
            (parent,) = walked[-1].lineage.parent_ids
            assert parent != walked[-1].id and len(walked) < 30
            walked.append(every[parent])
        root = walked[-1]
        assert root.lineage.operator == "seed" and root.id == (problem.lineage.root_id or problem.id)
        made_in = {p.lineage.round for p in walked if p.lineage.round}
        long_ones += root.id in seeds(rounds[0]) and {"r2", "r3"} <= made_in
    assert long_ones, "nothing of the third round goes back over the second to a seed of the first"


def test_what_was_trained_on_comes_back_as_replay_or_not_at_all(rounds: list[Round]) -> None:
    before: set[str] = set()
    for round_ in rounds:
        result = round_.done[Stage.MEASURE_REASONING].result
        assert isinstance(result, MeasuredResult)
        contents = {p.content for p in training(round_)}
        assert len(contents) == len(training(round_))
        assert len(contents & before) <= result.replayed
        assert result.replayed <= 4 and (result.replayed > 0) == bool(before) and result.found + result.replayed == 24
        before |= contents
        known = round_.records(Stage.MEASURE_REASONING, "known.jsonl")
        assert {k["id"] for k in known} == before and len(known) == len(before)
        left = [p.content for p in problems_of(round_, Stage.MINE_REASONING, "pool.jsonl")]
        assert len(left) == len(set(left)), "both trainings of a round lead to one pool"


def test_a_round_on_the_base_of_a_held_one_tries_again_what_that_trained_on() -> None:
    skill = Skill(STARTS, 2)
    with serving(extra=(skill.answer,)) as endpoint:
        chain = Chain(skill, endpoint)
        first = chain.turn()
        chain.trained(first, training(first))
        second = chain.turn(held=True)
    result = second.done[Stage.MINE_REASONING].result
    assert isinstance(result, MinedResult) and (result.low, result.high) == (0.05, 0.95), "it is a first round again"
    assert not second.records(Stage.MINE_REASONING, "known.jsonl"), "its base has learned nothing of it"
    mined = problems_of(second, Stage.MINE_REASONING, "mined.jsonl")
    again = {p.content for p in training(first)} & {p.content for p in mined}
    measured = second.done[Stage.MEASURE_REASONING]
    assert isinstance(measured.result, MeasuredResult) and measured.result.replayed == 0
    assert again and again & {p.content for p in training(second)}, "what stands in the band is trained on again"


def test_rollouts_propose_fresh_samples_decide_and_seeds_are_always_in(rounds: list[Round]) -> None:
    for earlier, round_ in pairwise(rounds):
        result = round_.done[Stage.MINE_REASONING].result
        assert isinstance(result, MinedResult) and (result.low, result.high) == (0.2, 0.8)
        tried = [s["problemId"] for s in round_.records(Stage.MINE_REASONING, "samples.jsonl")]
        assert len(tried) == len(set(tried)) == 32 and 0 < result.carried <= 16
        assert set(tried[result.carried :]) <= set(seeds(round_)), "half of them are seeds"
        carried = set(tried[: result.carried])
        assert carried & {p.id for p in training(earlier)}, "what the last training failed at"
        left = problems_of(earlier, Stage.MEASURE_REASONING, "pool.jsonl")
        trained = {k["id"] for k in earlier.records(Stage.MEASURE_REASONING, "known.jsonl")}
        hard = {p.id for p in left if p.band is Band.HARD and p.content not in trained}
        assert carried & hard, "what was too hard is measured again"
        for problem in problems_of(round_, Stage.MINE_REASONING, "mined.jsonl"):
            assert problem.policy_pass is not None and problem.policy_pass.n == 4


def test_a_second_round_measures_and_replays_as_the_table_says_of_its_number() -> None:
    skill = Skill(STARTS, 1)
    with serving(extra=(skill.answer,)) as endpoint:
        chain = Chain(skill, endpoint)
        chain.table = [{"from": 2, "replayShare": "0", "difficulty": {"low": "0.4"}}]
        first = chain.turn()
        chain.trained(first, training(first))
        second = chain.turn()
    mined = [r.done[Stage.MINE_REASONING].result for r in (first, second)]
    assert [(m.low, m.high) for m in mined if isinstance(m, MinedResult)] == [(0.05, 0.95), (0.4, 0.8)]
    measured = [r.done[Stage.MEASURE_REASONING].result for r in (first, second)]
    assert [m.replayed for m in measured if isinstance(m, MeasuredResult)] == [0, 0], "the preset's is a fifth"


def test_a_seed_that_was_trained_on_is_no_fresh_seed(rounds: list[Round]) -> None:
    trained = {k["id"] for k in rounds[0].records(Stage.MEASURE_REASONING, "known.jsonl")}
    again = [p for p in seeds(rounds[1]).values() if p.content in trained]
    dropped = {d.reason: d.count for d in rounds[1].done[Stage.MINE_REASONING].counts.dropped}
    assert dropped.get("trained-before", 0) == len(again)
