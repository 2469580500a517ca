"""A domain of one's own beside a built-in one, through every stage of a round, as `make demo DOMAIN=dir` packs it.

It is the tutorial's, made of the page's text alone. Models are functions; the stages are the pods' own code.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

from contract import stages
from contract.models import agentic_policy, serving
from contract.rounds import Round, run_whole
from demo.domain import given, longest_prompt
from flywheel_api.records.agentic import Task
from flywheel_api.results import EvaluationResult, PreparedResult, VerdictResult
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.storage.store import Store
from flywheel_standin.domains import domain_of
from flywheel_store.memory import MemoryBucket
from unit.domains import tutorial

NAMES = ("booking", "library")


def spec_of(name: str, source: str) -> FlywheelRoundSpec:
    return stages.round_spec(
        reasoning=None,
        agentic={
            "personas": "builtin://personas",
            "domains": [{"name": "booking"}, {"name": name, "source": source}],
            "branchesPerTree": 3,
            "maxTasks": 16,
            "difficulty": {"samples": 2},
        },
        evaluation={"suites": [{"name": "booking-heldout", "items": 4}, {"name": f"{name}-heldout", "items": 4}]},
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the packed folder where the demo puts it."""
    (own,) = given(str(tutorial.library(tmp_path_factory.mktemp("own"))))
    assert own.name == "library"
    assert 500 < longest_prompt([own]) < 1500, "the tester has nothing to say, and the demo knows how long prompts are"
    found = Store(MemoryBucket())
    found.bucket.put(own.key, base64.b64decode(own.packed))
    return found


@pytest.fixture(scope="module")
def round_(store: Store) -> Iterator[Round]:
    with serving(extra=(agentic_policy(0.5),)) as endpoint:
        made = Round(store, endpoint, spec_of("library", store.uri("domains/library.tgz")))
        prepared = made.run(Stage.PREPARE).result
        assert isinstance(prepared, PreparedResult) and [pin.name for pin in prepared.domains] == list(NAMES)
        domain_of(prepared.domains[1].digest, store)  # the stand-in has it from the round's store
        run_whole(made)
        yield made


def test_both_domains_have_tasks_that_are_solved_and_packed(round_: Round) -> None:
    made = Counter(t["domain"] for t in round_.records(Stage.INVERT_AGENTIC, "tasks.jsonl"))
    assert set(made) == set(NAMES) and min(made.values()) >= 5, made
    kept = [Task.model_validate(t) for t in round_.records(Stage.SOLVE_AGENTIC, "tasks.jsonl")]
    assert {task.domain for task in kept} == set(NAMES) and all(task.policy_pass for task in kept)
    entry = next(f for f in round_.done[Stage.PACKAGE].files if f.path == "agentic/train.parquet")
    rows = pq.read_table(io.BytesIO(round_.store.get_blob(entry.sha256))).to_pylist()
    assert {json.loads(row["extra_info"]["task"])["domain"] for row in rows} == set(NAMES)


def test_scores_verdict_and_report_name_it(round_: Round) -> None:
    names = [f"{name}-heldout" for name in NAMES]
    scored, verdict = round_.done[Stage.EVALUATE_CANDIDATE].result, round_.done[Stage.GATE].result
    assert isinstance(scored, EvaluationResult) and [s.name for s in scored.suites] == names
    assert isinstance(verdict, VerdictResult) and [s.suite for s in verdict.suites] == names
    entry = next(f for f in round_.done[Stage.REPORT].files if f.path.endswith(".html"))
    page = round_.store.get_blob(entry.sha256).decode()
    assert all(name in page for name in names)


def test_another_name_than_the_packages_is_said(store: Store) -> None:
    spec = spec_of("libary", store.uri("domains/library.tgz"))
    with (
        serving() as endpoint,
        pytest.raises(ValidationFailure, match=r"names libary, the package says .*: name it library"),
    ):
        Round(store, endpoint, spec).run(Stage.PREPARE)
