"""The agentic track from personas to a verdict: real processes, S3 and HTTP; only the models are scripted."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from contract import stages
from contract.models import Endpoint, serving
from contract.servers import S3Server
from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import Stage
from flywheel_jobs.agentic.parser import render
from flywheel_jobs.storage.store import Store
from flywheel_standin import agentic as script
from flywheel_standin.protocol import Answer, Behaviour, ChatRequest

BASE, CANDIDATE = "sha256:" + "0" * 64, "sha256:" + "1" * 64
AGENTIC = {
    "personas": "builtin://personas",
    "domains": ["airline"],
    "branchesPerTree": 4,
    "maxTasks": 30,
    "legalShare": "0.5",
    "trapShare": "0.5",
}
SUITES = [{"name": "airline-heldout", "items": 12, "repeats": 4, "gate": {"minGainOverBase": "0.1"}}]


def policy(skill: float) -> Behaviour:
    """A policy that looks up first with probability `skill` and else writes blindly."""

    def respond(request: ChatRequest) -> Answer | None:
        if request.model != "policy":
            return None
        right = script.solve(request.messages)
        key = json.loads(right.removeprefix("<tool_call>").removesuffix("</tool_call>"))["arguments"]["id"]
        blind = request.rng().random() >= skill and request.messages[-1]["role"] == "user"
        return Answer(render("refund", {"id": key}) if blind else right)

    return respond


def wrong_branch(request: ChatRequest) -> Answer | None:
    """A solver that does the other write."""
    if not request.system.startswith("Tools: ") or request.model == "policy":
        return None
    right = script.solve(request.messages)
    swap = {"cancel": "refund", "refund": "cancel"}
    for one, other in swap.items():
        if one in right:
            return Answer(right.replace(one, other))
    return Answer(right)


def never_ends(request: ChatRequest) -> Answer | None:
    """A solver that looks up for ever."""
    if not request.system.startswith("Tools: ") or request.model == "policy":
        return None
    return Answer(render("get_booking", {"id": 11}))


class Round:
    """Stages of one round, run one after the other, with what each gave."""

    def __init__(self, s3: S3Server, endpoint: Endpoint, **agentic: Any) -> None:
        self.s3, self.endpoint, self.prefix = s3, endpoint, f"t-{uuid.uuid4().hex[:8]}"
        self.spec: FlywheelRoundSpec = stages.round_spec(
            reasoning=None, agentic={**AGENTIC, **agentic}, evaluation={"suites": SUITES}
        )
        self.store = Store.from_env(s3.environ(self.prefix))
        self.digests: dict[str, str] = {}

    def run(self, stage: Stage, *inputs: Stage, **more: Any) -> Manifest:
        chosen = {s.value: self.digests[s.value] for s in inputs}
        config = stages.config(stage, self.spec, self.endpoint.url, chosen, **more)
        stages.run(config, self.s3, self.prefix)
        manifest = stages.manifest_of(self.store, config)
        self.digests[stage.value] = manifest.digest
        return manifest

    def to_tasks(self) -> Manifest:
        self.run(Stage.PREPARE)
        self.run(Stage.SEED_AGENTIC, Stage.PREPARE)
        self.run(Stage.EXPAND_AGENTIC, Stage.PREPARE, Stage.SEED_AGENTIC)
        return self.run(Stage.INVERT_AGENTIC, Stage.PREPARE, Stage.EXPAND_AGENTIC)

    def records(self, manifest: Manifest, path: str) -> list[dict[str, Any]]:
        return stages.records(self.store, manifest, path)


@pytest.fixture
def make(minio: S3Server) -> Iterator[Callable[..., Round]]:
    opened: list[Any] = []

    def build(*extra: Behaviour, **agentic: Any) -> Round:
        context = serving(extra=extra or (policy(0.4),))
        opened.append(context)
        return Round(minio, context.__enter__(), **agentic)

    yield build
    for context in opened:
        context.__exit__(None, None, None)


def dropped(manifest: Manifest) -> dict[str, int]:
    return {d.reason: d.count for d in manifest.counts.dropped}


def test_whole_track_to_parquet(make: Callable[..., Round]) -> None:
    round_ = make()
    inverted = round_.to_tasks()
    tasks = round_.records(inverted, "tasks.jsonl")
    assert 20 <= len(tasks) <= 30
    assert inverted.counts.in_ == inverted.counts.out + sum(dropped(inverted).values())
    assert inverted.metrics["legalShare"] == pytest.approx(0.5, abs=0.1)
    assert inverted.metrics["trapShare"] == pytest.approx(0.5, abs=0.2)
    solved = round_.run(Stage.SOLVE_AGENTIC, Stage.PREPARE, Stage.INVERT_AGENTIC)
    kept = round_.records(solved, "tasks.jsonl")
    assert {"cancel", "refund"} <= {t["outcome"] for t in kept}
    assert solved.standin and solved.notice
    parents = {
        t["id"] for t in round_.records(round_.store.get_manifest(round_.digests["ExpandAgentic"]), "trees.jsonl")
    }
    assert all(set(t["lineage"]["parentIds"]) <= parents and t["lineage"]["personaId"] for t in kept)
    package = round_.run(Stage.PACKAGE, Stage.PREPARE, Stage.SOLVE_AGENTIC)
    entry = next(f for f in package.files if f.path == "agentic/train.parquet")
    rows = pq.read_table(io.BytesIO(round_.store.get_blob(entry.sha256))).to_pylist()
    assert rows and all(json.loads(r["extra_info"]["task"])["db"] for r in rows)


def test_collected_rollouts_shape_the_trees(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.0))
    round_.run(Stage.PREPARE)
    seeded = round_.run(Stage.SEED_AGENTIC, Stage.PREPARE)
    assert seeded.metrics["success"] == 0.0 and set(seeded.details["endGroups"]) == {"early-write"}
    expanded = round_.run(Stage.EXPAND_AGENTIC, Stage.PREPARE, Stage.SEED_AGENTIC)
    trees = round_.records(expanded, "trees.jsonl")
    assert all(t["observed"] == {"early-write": 4} for t in trees)
    assert all(t["tree"]["branches"][0]["next"][0]["id"] == "other-fare" for t in trees)
    assert expanded.metrics["depth"] > 1.5


def test_rollouts_of_the_base_round_seed_deeper_trees(make: Callable[..., Round]) -> None:
    round_ = make(maxTasks=10)
    first = round_.to_tasks()
    rows = [
        {"id": f"{t['id']}-{n}", "step": n, "score": float(n == 0), "masked": False, "task": t, "details": {}}
        for t in round_.records(first, "tasks.jsonl")
        for n in range(2)
    ]
    sha, size = round_.store.put_blob(b"".join(json.dumps(r).encode() + b"\n" for r in rows))
    entry = FileEntry(path="rollouts/step-1.jsonl", sha256=sha, size=size)
    rollouts = first.model_copy(update={"files": [entry]})
    more = {"uid": "u2", "previous_rollouts": [round_.store.put_manifest(rollouts)]}
    seeded = round_.run(Stage.SEED_AGENTIC, Stage.PREPARE, **more)
    assert seeded.counts.out == 2 and dropped(seeded) == {"over-limit": len(rows) // 2 - 2}
    assert not any(u.role == "Policy" for u in seeded.usage.roles), "training's own rollouts are enough"
    round_.run(Stage.EXPAND_AGENTIC, Stage.PREPARE, Stage.SEED_AGENTIC, uid="u2")
    second = round_.run(Stage.INVERT_AGENTIC, Stage.PREPARE, Stage.EXPAND_AGENTIC, uid="u2")
    deepest = max(len(t["lineage"]["branchPath"]) for t in round_.records(first, "tasks.jsonl"))
    assert second.metrics["depth"] > first.metrics["depth"]
    assert max(len(t["lineage"]["branchPath"]) for t in round_.records(second, "tasks.jsonl")) <= deepest + 1


@pytest.mark.parametrize(
    ("solver", "reason"), [(wrong_branch, {"trap-taken", "branch-missed"}), (never_ends, {"never-ended"})]
)
def test_negative_controls_are_rejected(make: Callable[..., Round], solver: Behaviour, reason: set[str]) -> None:
    round_ = make(solver, policy(0.4), branchesPerTree=2, maxTasks=6)
    tasks = round_.records(round_.to_tasks(), "tasks.jsonl")
    solved = round_.run(Stage.SOLVE_AGENTIC, Stage.PREPARE, Stage.INVERT_AGENTIC)
    assert tasks and solved.counts.out == 0
    assert set(dropped(solved)) <= reason and sum(dropped(solved).values()) == len(tasks)


def test_band_keeps_what_the_policy_sometimes_solves(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.0), branchesPerTree=2, maxTasks=6, difficulty={"low": "0.1", "high": "0.9", "samples": 2})
    round_.to_tasks()
    solved = round_.run(Stage.SOLVE_AGENTIC, Stage.PREPARE, Stage.INVERT_AGENTIC)
    assert solved.counts.out == 0 and set(dropped(solved)) == {"too-hard-for-policy"}


def evaluated(round_: Round, gate: bool = True) -> Manifest:
    """Base at the endpoint's first skill, candidate at a better one, and the gate's manifest."""
    round_.run(Stage.PREPARE)
    round_.run(Stage.EVALUATE_BASE, Stage.PREPARE, base_model=BASE)
    round_.endpoint.standin.behaviours = [policy(0.95), *round_.endpoint.standin.behaviours[1:]]
    round_.run(Stage.EVALUATE_CANDIDATE, Stage.PREPARE, base_model=BASE, candidate_model=CANDIDATE)
    inputs = (Stage.PREPARE, Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE)
    return round_.run(Stage.GATE, *inputs, base_model=BASE, candidate_model=CANDIDATE)


def test_evaluation_and_promotion(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.3))
    verdict = evaluated(round_)
    suite = verdict.details["suites"][0]
    assert verdict.details["verdict"] == "Promoted" and verdict.details["model"] == CANDIDATE
    assert suite["gate"] == "Passed" and suite["gainInterval"][0] > 0
    promotion = round_.store.get_json(artifacts.promotion_key("n", "c", "u1"))
    assert promotion is not None and promotion["modelDigest"] == CANDIDATE
    stored = round_.store.get_manifest(promotion["verdictDigest"])
    assert stored.details["verdict"] == "Promoted"
    base = round_.store.get_manifest(round_.digests["EvaluateBase"])
    groups = base.details["suites"]["airline-heldout"]["groups"]
    assert set(groups) == {"cancel", "refund"} and groups["cancel"]["n"] == 24
    samples = round_.records(base, "samples.jsonl")
    assert len(samples) == 48 and samples[0]["messages"][0]["role"] == "system"


def test_no_gain_is_held_and_says_why(make: Callable[..., Round]) -> None:
    round_ = make(policy(0.95))
    verdict = evaluated(round_)
    assert verdict.details["verdict"] == "Held"
    assert "gain over the base" in verdict.details["reasons"][0] and "below 0.1" in verdict.details["reasons"][0]
    assert round_.store.get_json(artifacts.promotion_key("n", "c", "u1")) is None
