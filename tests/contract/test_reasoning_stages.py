"""The reasoning track from seeds to Parquet: real processes, S3 and HTTP; only the models are scripted."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from contract import stages
from contract.models import Endpoint, serving
from contract.rounds import PodRound, Round, dropped
from contract.servers import BUCKET, S3Server
from flywheel_api import artifacts
from flywheel_api.artifacts import Failure, Manifest, Progress
from flywheel_api.causes import Cause, ExitCode
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import DatasetResult, EvaluationResult, MeasuredResult, PackageResult, Split, Track
from flywheel_api.stages import Stage
from flywheel_jobs.reasoning.text import normalised, numbers
from flywheel_jobs.rewards import math
from flywheel_jobs.seeds.numeracy import Typed

SMALL = {"training": {"preset": "smollm2-135m-cpu"}}
PATIENCE = 90  # seconds for what takes three on an idle machine


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as running:
        yield running


@pytest.fixture
def prefix() -> str:
    return f"r-{uuid.uuid4().hex[:8]}"


def make(s3: S3Server, prefix: str, endpoint: Endpoint, **spec: Any) -> Round:
    return Round(s3.store(prefix), endpoint, stages.round_spec(**{**SMALL, **spec}))


def test_whole_track(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    round_ = PodRound(minio, prefix, endpoint, stages.round_spec(**SMALL))
    package = round_.until(Stage.PACKAGE)

    for stage, manifest in round_.done.items():
        counts = manifest.counts
        assert counts.in_ == counts.out + sum(d.count for d in counts.dropped), stage
        assert manifest.stage == stage.value and manifest.owner.uid == "u1"
    assert not round_.done[Stage.PREPARE].standin  # nobody was asked anything yet
    for stage in list(round_.done)[1:]:
        assert round_.done[stage].standin, stage  # Package asks nobody: the mark comes from its inputs
        assert round_.done[stage].notice == artifacts.STANDIN_NOTICE
    assert package.served_by == []
    mine = round_.done[Stage.MINE_REASONING]
    assert [(s.role, s.owned_by, s.standin) for s in mine.served_by] == [("Policy", "flywheel-standin", True)]
    assert mine.usage.roles[0].calls == 24 and mine.usage.roles[0].completion_tokens >= 24 * 8

    mined = round_.records(Stage.MINE_REASONING, "mined.jsonl")
    for problem in mined:
        rate = problem["policyPass"]["k"] / problem["policyPass"]["n"]
        assert problem["band"] == ("hard" if rate < 0.05 else "frontier") and rate <= 0.95
    samples = round_.records(Stage.MINE_REASONING, "samples.jsonl")
    assert len(samples) == 24 and all(len(s["texts"]) == 8 for s in samples)

    candidates = {c["id"]: c for c in round_.records(Stage.SYNTHESIZE_REASONING, "candidates.jsonl")}
    parents = {p["id"]: p for p in mined}
    for candidate in candidates.values():
        parent = parents[candidate["lineage"]["parentIds"][0]]
        assert "answer" not in candidate
        if candidate["lineage"]["operator"] == "persona":
            assert numbers(candidate["question"]) == numbers(parent["question"])
    lost = dropped(round_.done[Stage.VERIFY_REASONING])
    assert lost.get("votes-disagree", 0) > 0  # the ill-posed ones
    suite = round_.records(Stage.PREPARE, "suites/numeracy-heldout.jsonl")
    held = {normalised(i["question"]) for i in suite} | {(numbers(i["question"]), i["answer"]) for i in suite}
    verified = round_.records(Stage.VERIFY_REASONING, "verified.jsonl")
    for problem in verified:
        typed = problem.get("typed")
        if typed and problem["lineage"]["operator"] != "persona":
            assert problem["answer"] == str(Typed.parse(typed).answer())  # the vote found the computed truth
        assert normalised(problem["question"]) not in held
        assert (numbers(problem["question"]), problem["answer"]) not in held
    assert len({normalised(p["question"]) for p in verified}) == len(verified)
    measured_before_training(round_, verified)


def measured_before_training(round_: Round, verified: list[dict[str, Any]]) -> None:
    """Every verified variant was sampled; what is trained on lies in the band, and no family is above a third."""
    found = round_.done[Stage.MEASURE_REASONING].result
    assert isinstance(found, MeasuredResult) and found.found == found.wanted == 24 and found.waves <= 3
    measured = {p["id"]: p for p in round_.records(Stage.MEASURE_REASONING, "measured.jsonl")}
    assert {p["id"] for p in verified} <= set(measured)
    assert all(measured[p["id"]]["policyPass"]["n"] == 8 for p in verified)
    training = round_.records(Stage.MEASURE_REASONING, "training.jsonl")
    assert len({p["id"] for p in training}) == len(training) == 24
    assert all(0.05 <= p["policyPass"]["k"] / p["policyPass"]["n"] <= 0.95 for p in training)
    families = Counter(p["family"] for p in training)
    assert max(families.values()) <= 8 and families == found.families
    samples = round_.records(Stage.MEASURE_REASONING, "samples.jsonl")
    assert found.samples == sum(len(s["texts"]) for s in samples) and found.tokens > found.samples
    use = {u.role: u.calls for u in round_.done[Stage.MEASURE_REASONING].usage.roles}
    assert use["Policy"] == len(samples), "one request for all samples of a variant"


def test_package_rows(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    training = SMALL["training"] | {"warmUp": "SFT", "gpusPerNode": 1}
    round_ = Round(minio.store(prefix), endpoint, stages.round_spec(training=training))
    package = round_.until(Stage.PACKAGE)
    files = {f.path: f for f in package.files}
    tables = {}
    for path in ("reasoning/train.parquet", "reasoning/validation.parquet"):
        tables[path] = pq.read_table(io.BytesIO(round_.store.get_blob(files[path].sha256))).to_pylist()
        name = path.split("/")[1].removesuffix(".parquet")
        assert isinstance(package.result, PackageResult)
        digest = package.result.dataset(Track.REASONING, Split(name))
        assert digest is not None
        sub = round_.store.get_manifest(digest)
        assert sub.result == DatasetResult(track=Track.REASONING, split=Split(name))
        assert [f.sha256 for f in sub.files] == [files[path].sha256] and sub.standin
        assert len(tables[path]) == files[path].records
    train, validation = tables.values()
    assert len(train) == 24 - len(validation) and validation
    for row in train:
        assert row["prompt"][-1]["role"] == "user" and row["reward_model"]["style"] == "rule"
        assert math.score(row["reward_model"]["ground_truth"], row["reward_model"]["ground_truth"])["score"] == 1.0
        assert row["extra_info"]["split"] == "train" and row["extra_info"]["id"]
    assert [r["extra_info"]["index"] for r in train] == list(range(len(train)))
    sides = [{r["extra_info"]["root_id"] for r in t} for t in (train, validation)]
    assert sides[0].isdisjoint(sides[1])
    warm_up_rows(round_, package, {row["extra_info"]["root_id"] for row in validation})
    on_cpu(round_)


def on_cpu(round_: Round) -> None:
    """A training on CPU looks at no held-out rows: nothing is taken from it."""
    same = Round(round_.store, round_.endpoint, stages.round_spec(**SMALL))
    same.done = {stage: manifest for stage, manifest in round_.done.items() if stage is not Stage.PACKAGE}
    result = same.run(Stage.PACKAGE).result
    assert isinstance(result, PackageResult)
    assert [(d.split, d.records) for d in result.datasets] == [(Split.TRAIN, 24)]


def warm_up_rows(round_: Round, package: Manifest, held: set[str]) -> None:
    """Right answers to what the policy does not always solve, nothing of which validation has kin."""
    entry = next(f for f in package.files if f.path == "reasoning/warm-up.parquet")
    rows = pq.read_table(io.BytesIO(round_.store.get_blob(entry.sha256))).to_pylist()
    assert isinstance(package.result, PackageResult) and package.result.dataset(Track.REASONING, Split.WARM_UP)
    assert package.counts.out == sum(d.records for d in package.result.datasets if d.split is not Split.WARM_UP)
    measured = {p["id"]: p for p in round_.records(Stage.MEASURE_REASONING, "measured.jsonl")}
    verified = {p["id"] for p in round_.records(Stage.VERIFY_REASONING, "verified.jsonl")}
    shown = {row["id"] for row in rows}
    assert all(measured[i]["band"] != "solved" for i in shown), "of those that are never solved, too"
    assert shown & verified
    for row in rows:
        problem = measured[row["id"]]
        assert problem["lineage"]["rootId"] not in held
        assert [m["learn"] for m in row["messages"]] == [False] * 4 + [True]
        said = row["messages"][-1]["content"]
        assert said == problem["answer"] == str(Typed.parse(problem["typed"]).answer()), "bare, as the example answers"


def test_failures_of_the_last_training_are_mined_again(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    round_ = make(minio, prefix, endpoint)
    round_.run(Stage.PREPARE)
    store = round_.store
    planted = round_.records(Stage.PREPARE, "suites/numeracy-heldout.jsonl")[0]

    def rollout(question: str, truth: str, score: float) -> Trajectory:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "?"}]
        item = f"old-{question}"
        return Trajectory(id=item, track=Track.REASONING, item=item, score=score, truth=truth, messages=messages)

    kept = [
        rollout("8+9+5", "22", 0.5),
        rollout("8+8", "16", 1.0),
        rollout(planted["question"], planted["answer"], 0.0),
    ]
    config = round_.config(Stage.MINE_REASONING, previous_rollouts=[stages.rollouts(store, kept)])
    stages.run_here(config, round_.store)
    manifest = stages.manifest_of(store, config)
    sampled = [s["problemId"] for s in stages.records(store, manifest, "samples.jsonl")]
    assert sampled[0] == "old-8+9+5" and len(sampled) == 24 and "old-8+8" not in sampled
    assert dropped(manifest)["contaminated"] == 1


def test_same_seed_same_data(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    one, two = make(minio, prefix, endpoint), make(minio, f"{prefix}b", endpoint)
    for round_ in (one, two):
        round_.until(Stage.SYNTHESIZE_REASONING)
    for stage in one.done:
        assert [f.sha256 for f in one.done[stage].files] == [f.sha256 for f in two.done[stage].files], stage


def test_killed_in_the_middle_fills_only_the_missing(minio: S3Server, prefix: str) -> None:
    with serving(delay_seconds=1.2) as slow:
        round_ = make(minio, prefix, slow)
        round_.run(Stage.PREPARE)
        config = round_.config(Stage.MINE_REASONING)
        process = stages.start(config, minio, prefix)
        items = artifacts.items_prefix("n", config.content_key)
        deadline = time.monotonic() + PATIENCE
        while not round_.store.list_keys(items):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
        journaled = sum(len((round_.store.get_json(k) or {})["items"]) for k in round_.store.list_keys(items))
        assert 0 < journaled < 24
        time.sleep(1.5)  # the server finishes what the dead client had asked for
        before = slow.standin.served
        manifest = round_.run(Stage.MINE_REASONING)
        assert slow.standin.served - before == 24 - journaled
    assert manifest.counts.in_ == 24
    assert manifest.usage.roles[0].calls == 24  # the killed process's calls are accounted for
    assert len(round_.records(Stage.MINE_REASONING, "samples.jsonl")) == 24


def test_sigterm_is_a_clean_end(minio: S3Server, prefix: str) -> None:
    with serving(delay_seconds=0.4) as slow:
        round_ = make(minio, prefix, slow)
        round_.run(Stage.PREPARE)
        config = round_.config(Stage.MINE_REASONING)
        process = stages.start(config, minio, prefix)
        deadline = time.monotonic() + PATIENCE
        while slow.standin.served < 9:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
        process.wait(timeout=PATIENCE)
        assert process.returncode == 143
        assert round_.store.get_json(artifacts.failure_key("u1", "MineReasoning", 1)) is None
        before = slow.standin.served
        round_.run(Stage.MINE_REASONING)
        assert slow.standin.served - before <= 24 - 8


def test_dead_endpoint_then_only_the_missing(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    round_ = make(minio, prefix, endpoint)
    round_.until(Stage.MINE_REASONING)
    config = round_.config(Stage.SYNTHESIZE_REASONING)
    endpoint.standin.delay_seconds = 0.3
    process = stages.start(config, minio, prefix)
    before = endpoint.standin.served
    deadline = time.monotonic() + PATIENCE
    while endpoint.standin.served < before + 12:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    endpoint.standin.faults.set({"status": 503})
    log = process.wait(timeout=PATIENCE)
    assert process.returncode == ExitCode.ENDPOINT, log
    failure = Failure.model_validate(round_.store.get_json(artifacts.failure_key("u1", "SynthesizeReasoning", 1)))
    assert failure.cause is Cause.ENDPOINT and "Teacher at http://127.0.0.1" in failure.message
    progress = Progress.model_validate(round_.store.get_json(artifacts.progress_key("u1", "SynthesizeReasoning", 1)))
    assert progress.waiting_for and "HTTP 503" in progress.waiting_for
    assert 0 < progress.done < (progress.total or 0)

    endpoint.standin.faults.set({})
    endpoint.standin.delay_seconds = 0.0
    before = endpoint.standin.served
    again = round_.config(Stage.SYNTHESIZE_REASONING, attempt=2)
    stages.run_here(again, round_.store)
    manifest = stages.manifest_of(round_.store, again)
    assert manifest.counts.in_ == progress.total
    repairs = sum(u.calls for u in manifest.usage.roles) - manifest.counts.in_
    assert endpoint.standin.served - before <= manifest.counts.in_ - progress.done + repairs


def test_transient_trouble_is_survived(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    round_ = make(minio, prefix, endpoint)
    round_.run(Stage.PREPARE)
    for fault in (
        {"status": 429, "retry_after": 0.2, "first": 5},
        {"status": 500, "share": 0.3, "first": 12},
        {"malformed": True, "first": 3},
    ):
        endpoint.standin.faults.set(fault)
        config = round_.config(Stage.MINE_REASONING, only_for=json.dumps(fault))
        stages.run_here(config, round_.store)
        assert stages.manifest_of(round_.store, config).counts.in_ == 24


def test_shards_share_the_work_and_one_commits(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    round_ = make(minio, prefix, endpoint)
    round_.run(Stage.PREPARE)
    config = round_.config(Stage.MINE_REASONING, shards=3)
    before = endpoint.standin.served
    processes = [stages.start(config, minio, prefix, index=i) for i in range(3)]
    for process in processes:
        log = process.wait(timeout=PATIENCE)
        assert process.returncode == 0, log
    assert endpoint.standin.served - before == 24
    manifest = stages.manifest_of(round_.store, config)
    assert manifest.counts.in_ == 24 and manifest.usage.roles[0].calls == 24
    whole = round_.run(Stage.MINE_REASONING) if not round_.done.get(Stage.MINE_REASONING) else manifest
    assert whole == manifest  # a second run finds the commit and leaves it


def test_a_suite_of_ones_own(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    own = [{"id": f"own-{n}", "question": f"How much is {n} dozen?", "answer": str(12 * n)} for n in (3, 5, 7)]
    seeds = [
        {"id": "known", "question": "How much is 5 dozen?", "answer": "60"},
        {"id": "new", "question": "9+4", "answer": "13"},
    ]

    def put(name: str, records: list[dict[str, str]]) -> str:
        data = "".join(json.dumps(r) + "\n" for r in records).encode()
        minio.client().put_object(BUCKET, f"{prefix}/{name}", io.BytesIO(data), len(data))
        return f"s3://{BUCKET}/{prefix}/{name}"

    def with_suite(records: list[dict[str, str]]) -> Round:
        suite = {"name": "dozens", "source": put("suite.jsonl", records), "items": 3}
        reasoning = {"seeds": put("seeds.jsonl", seeds), "mining": {"samples": 4}}
        return make(minio, prefix, endpoint, evaluation={"suites": [suite]}, reasoning=reasoning)

    for wrong in (
        [*own, {"id": "own-9", "question": "Unanswered?"}][1:],
        [own[0], own[0]],  # one item where three are asked for
        [own[0], {**own[0], "id": "b", "answer": "4"}, own[1]],
    ):
        round_ = with_suite(wrong)
        code, failure = stages.refused_here(round_.config(Stage.PREPARE), round_.store)
        assert code == ExitCode.VALIDATION and failure.cause is Cause.VALIDATION, failure
    round_ = with_suite(own)
    round_.run(Stage.PREPARE)
    assert [i["id"] for i in round_.records(Stage.PREPARE, "suites/dozens.jsonl")] == ["own-3", "own-5", "own-7"]
    assert [i["id"] for i in round_.records(Stage.PREPARE, "seeds/reasoning.jsonl")] == ["new"]
    evaluated = round_.run(Stage.EVALUATE_BASE).result
    assert isinstance(evaluated, EvaluationResult) and [s.items for s in evaluated.suites] == [3]


def test_token_budget_stops_the_stage(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    round_ = make(minio, prefix, endpoint)
    round_.run(Stage.PREPARE)
    config = round_.config(Stage.MINE_REASONING)
    endpoints = [e.model_copy(update={"token_limit": 100}) for e in config.endpoints]
    code, failure = stages.refused_here(config.model_copy(update={"endpoints": endpoints}), round_.store)
    assert code == ExitCode.BUDGET
    assert failure.cause is Cause.BUDGET and "spec.budget.tokens for role Policy" in failure.message


def test_too_few_rows_says_what_to_change(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    training = {"reasoning": {"algorithm": {"promptsPerStep": 96}}}
    few = {**stages.reasoning().dump(), "difficulty": {"prompts": 8, "waves": 1}}
    round_ = make(minio, prefix, endpoint, training=training, reasoning=few)
    round_.until(Stage.MEASURE_REASONING)
    code, failure = stages.refused_here(round_.config(Stage.PACKAGE), round_.store)
    assert code == ExitCode.VALIDATION
    assert failure.reason == "TooFewRows" and "maxProblems" in failure.message


def test_no_secret_in_logs_or_store(minio: S3Server, endpoint: Endpoint, prefix: str) -> None:
    round_ = make(minio, prefix, endpoint)
    round_.run(Stage.PREPARE)
    config = round_.config(Stage.MINE_REASONING)
    endpoints = [e.model_copy(update={"api_key_env": "FLYWHEEL_API_KEY_POLICY"}) for e in config.endpoints]
    endpoint.standin.faults.set({"status": 503, "first": 2})
    keyed = config.model_copy(update={"endpoints": endpoints})
    log = stages.run_command(keyed, minio, prefix, FLYWHEEL_API_KEY_POLICY="canary-sk-123456")
    secrets = ("canary-sk-123456", "flywheel-test-secret")
    store = round_.store
    texts = [log, *(str(store.get_bytes(k)) for k in store.list_keys("") if not k.startswith("blobs/"))]
    assert len(texts) > 5
    assert not [s for s in secrets for t in texts if s in t]
