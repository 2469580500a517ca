"""Whole attempts over a fake verl: commits, crashes, resumption, second incarnations, termination."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flywheel_api import artifacts
from flywheel_api.artifacts import Dropped, Manifest, StepRecord
from flywheel_api.causes import Cause, ExitCode
from flywheel_api.conditions import Reason
from flywheel_api.content import content_key
from flywheel_api.stages import TRAIN_CONFIG_ENV
from flywheel_api.tracking import Tracker, TrackingSpec
from flywheel_jobs.core.errors import StoreProblem
from flywheel_jobs.harness import kept_output
from flywheel_jobs.trainer import driver, main, nodes, trackers
from unit.trainer.driver_run import (
    CONTENT,
    LATER,
    MADE_OF,
    OWNER,
    STEPS,
    content,
    manifest,
    record,
    run,
    started,
    training,
)
from unit.trainer.driver_run import store as store  # a fixture


def test_a_whole_run(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1) == 0
    m = manifest(store)
    result = training(m)
    assert (m.stage, m.content_key, m.made_of) == ("Train", CONTENT, MADE_OF)
    assert (result.step, result.total_steps, result.algorithm, result.resumed_from_step) == (STEPS, STEPS, "GRPO", None)
    assert content(store, m, "model/model.safetensors") == b"weights 4"
    assert content(store, m, "model/tokenizer.json") == b"the base's tokenizer"
    assert content(store, m, "model/dtype") == b"float32", "as sampled: bfloat16 would round small updates away"
    assert [p.reward for p in result.curve] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert (result.curve[0].groups, result.curve[0].zero_variance_groups) == (2, 1)
    assert (m.counts.in_, m.counts.out) == (8, 8)
    assert m.standin and m.notice, "the data came from a stand-in, so the model says so"
    dataset = store.get_manifest(result.rollouts)
    assert dataset.kind == "Rollouts" and dataset.standin
    assert [f.path for f in dataset.files] == [f"rollouts/step-{n}.jsonl" for n in (1, 2, 3, 4)]
    progress = record(store, "progress", 1)
    assert (progress["done"], progress["total"], progress["checkpointStep"]) == (4, 4, 4)
    assert progress["manifest"] == m.digest
    assert record(store, "failure", 1) is None


def test_a_crash_is_classified_and_the_next_attempt_resumes(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "crash:3") == ExitCode.APP
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.APP, "OutOfMemory")
    assert "algorithm.microBatchSize" in failure["message"]
    assert store.get_bytes(artifacts.manifest_key("n", CONTENT)) is None
    assert "manifest" not in record(store, "progress", 1)

    assert run(store, monkeypatch, 2) == 0
    result = training(manifest(store))
    assert result.resumed_from_step == 2
    assert [p.step for p in result.curve] == [1, 2, 3, 4], "the curve spans both attempts"
    assert len(store.get_manifest(result.rollouts).files) == 4
    assert record(store, "progress", 2)["resumedFromStep"] == 2


def test_another_rljob_of_the_same_content_resumes(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "crash:3") == ExitCode.APP
    assert run(store, monkeypatch, 1, owner=LATER) == 0
    m = manifest(store)
    result = training(m)
    assert (m.owner, result.resumed_from_step) == (LATER, 2)
    assert [p.step for p in result.curve] == [1, 2, 3, 4], "with the curve"
    assert len(store.get_manifest(result.rollouts).files) == 4, "and the trajectories of the first one"
    progress = record(store, "progress", 1, LATER)
    assert (progress["resumedFromStep"], progress["manifest"]) == (2, m.digest)
    assert record(store, "failure", 1, LATER) is None


def test_a_content_that_is_finished_ends_at_once(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(store, monkeypatch, 1) == 0 and started(tmp_path)
    before = manifest(store)
    assert run(store, monkeypatch, 1, "crash:1", owner=LATER) == 0
    assert not started(tmp_path), "there is nothing left to train"
    assert manifest(store) == before
    progress = record(store, "progress", 1, LATER)
    assert (progress["manifest"], progress["done"], progress["total"]) == (before.digest, STEPS, STEPS)
    assert progress["reward"] == pytest.approx(0.4) and "job" in progress["text"]


def test_another_content_is_trained_from_the_start(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(store, monkeypatch, 1) == 0 and started(tmp_path)
    other = {**MADE_OF, "spec.seed": "sha256:" + "1" * 64}
    assert run(store, monkeypatch, 1, owner=LATER, made_of=other) == 0 and started(tmp_path)
    assert training(manifest(store, content_key(other))).resumed_from_step is None


def test_what_stands_is_what_is_published(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two RLJobs train the same at once: the one whose last checkpoint lost publishes the one that stands."""
    assert run(store, monkeypatch, 1) == 0
    stands = store.get_manifest(training(manifest(store)).training_state)
    shard = next(f for f in stands.files if f.path.endswith("rank_0.pt"))
    sha, size = store.put_blob(b"WEIGHTS 4")
    assert size == shard.size, "as large as what the second one has on its disk"
    files = [f if f != shard else f.model_copy(update={"sha256": sha}) for f in stands.files]
    theirs = stands.model_copy(update={"files": files, "owner": LATER})
    store.put_manifest(theirs)
    key = artifacts.checkpoint_key("n", CONTENT, STEPS)
    store.delete(artifacts.manifest_key("n", CONTENT))
    store.delete(key)
    real = store.commit

    def commit_late(m: Manifest, where: str) -> Any:
        if where == key:
            store.put_bytes(key, theirs.canonical())
        return real(m, where)

    monkeypatch.setattr(store, "commit", commit_late)
    assert run(store, monkeypatch, 2) == 0
    assert training(manifest(store)).training_state == theirs.digest
    assert content(store, manifest(store), "model/model.safetensors") == b"WEIGHTS 4"


FALLS = "scores:0.9,1.0,0.9,0.1,0.0,0.0,0.0,0.0 dead:4"  # of two groups a step: less could be chance


def test_a_collapse_is_stopped_and_the_best_checkpoint_published(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, f"{FALLS} hang:7", steps=8) == 0, "verl hangs: only the guard can end it"
    m = manifest(store)
    result = training(m)
    assert (result.stopped, result.step, result.total_steps) == (True, 2, 8)
    assert result.unhealthy is not None and "reward 0.00, 0.90 at its best; 100% of groups" in result.unhealthy
    assert content(store, m, "model/model.safetensors") == b"weights 2"
    assert [p.reward for p in result.curve][:6] == pytest.approx([0.9, 1.0, 0.9, 0.1, 0.0, 0.0]), "the whole story"
    assert result.trained_steps == result.curve[-1].step >= 6
    assert len(store.get_manifest(result.rollouts).files) == 6, "also what it did while it fell"
    assert record(store, "progress", 1)["unhealthy"] == result.unhealthy


def test_a_training_that_an_alarm_stopped_publishes_its_best(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever `publish` says: the last is what the alarm was about, and the condition has promised the best."""
    assert run(store, monkeypatch, 1, f"{FALLS} hang:7", steps=8, publish="Last") == 0
    result = training(manifest(store))
    assert (result.stopped, result.step) == (True, 2)


def test_a_collapse_is_only_told_where_the_spec_says_so(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, FALLS, steps=8, on_collapse="Warn", publish="Last") == 0
    result = training(manifest(store))
    assert (result.stopped, result.step, result.trained_steps) == (False, 8, 8) and result.unhealthy
    assert content(store, manifest(store), "model/model.safetensors") == b"weights 8"


def test_the_best_checkpoint_is_published_without_an_alarm_too(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "scores:0.5,0.8,0.4,0.4") == 0
    result = training(manifest(store))
    assert (result.step, result.trained_steps, result.unhealthy) == (2, 4, None)
    assert content(store, manifest(store), "model/model.safetensors") == b"weights 2"


def test_the_last_checkpoint_is_published_where_none_was_clearly_better(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(store, monkeypatch, 1, "scores:0.5,0.5,0.46,0.46") == 0
    assert training(manifest(store)).step == 4


def checkpoints_of(store: Any) -> list[int]:
    keys = store.list_keys(artifacts.checkpoints_prefix(OWNER.namespace, CONTENT))
    return sorted(int(key.split("/step-")[1][:8]) for key in keys if key.endswith("/manifest.json"))


def test_what_might_have_been_published_goes_when_something_is(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the guard may come to doubt the newest ones; afterwards each is three times the model in bytes."""
    seen: list[list[int]] = []
    commit = store.commit

    def noted(made: Manifest, key: str) -> Any:
        if made.stage == "Train" and made.kind != "TrainingState":
            seen.append(checkpoints_of(store))
        return commit(made, key)

    monkeypatch.setattr(store, "commit", noted)
    assert run(store, monkeypatch, 1, "scores:0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8", steps=8) == 0
    assert seen[-1] == [4, 6, 8] and checkpoints_of(store) == [8] == [training(manifest(store)).step]


def test_the_published_checkpoint_stays_beside_the_last(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, FALLS, steps=8) == 0
    step = training(manifest(store)).step
    assert step == 2 and checkpoints_of(store)[0] == 2 and len(checkpoints_of(store)) == 2


def test_on_cpu_what_is_held_out_decides_where_there_is_something(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training's own reward rises all the while: by it the last one would be the best."""
    fake = "scores:0.1,0.2,0.8,0.9 held:0.0,0.6,0.0,0.3"
    assert run(store, monkeypatch, 1, fake, held_out=True) == 0
    result = training(manifest(store))
    assert [list(p.validation.values()) for p in result.curve] == [[], [0.6], [], [0.3]], "at checkpoints"
    assert (result.step, content(store, manifest(store), "model/model.safetensors")) == (2, b"weights 2")


def test_nothing_is_validated_where_nothing_is_held_out_and_last_is_last(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = "scores:0.1,0.2,0.8,0.9 held:0.0,0.6,0.0,0.3"
    assert run(store, monkeypatch, 1, fake) == 0
    result = training(manifest(store))
    assert result.step == 4 and not any(p.validation for p in result.curve)
    other = {**MADE_OF, "spec.publish": "sha256:" + "2" * 64}
    assert run(store, monkeypatch, 1, fake, owner=LATER, made_of=other, held_out=True, publish="Last") == 0
    assert training(manifest(store, content_key(other))).step == 4


def test_a_second_incarnation_stops(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "crash:1") == ExitCode.APP
    assert run(store, monkeypatch, 1) == ExitCode.HEAD_LOST
    assert record(store, "failure", 1)["reason"] == "HeadLost"


def test_a_committed_attempt_is_left_alone(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1) == 0
    before = manifest(store).digest
    assert run(store, monkeypatch, 1, "crash:1") == 0
    assert manifest(store).digest == before


def test_all_steps_committed_but_not_published(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "crash:4") == ExitCode.APP
    assert run(store, monkeypatch, 2, "crash:1") == 0, "nothing is left to train"
    assert content(store, manifest(store), "model/model.safetensors") == b"weights 4"


def test_a_training_that_waits_for_a_lost_node_ends(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step_2 = artifacts.checkpoint_key("n", CONTENT, 2)
    with monkeypatch.context() as patch:
        patch.setattr(nodes.Nodes, "lost", lambda _self: ["10.0.0.9"] if store.get_bytes(step_2) else [])
        patch.setattr(nodes, "LOOK_SECONDS", 0.0)
        patch.setattr(nodes, "OUTLIVES_SECONDS", 0.1)
        assert run(store, monkeypatch, 1, "hang:3") != 0
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.INFRA, "WorkerNodeLost") and "10.0.0.9" in failure["message"]
    assert run(store, monkeypatch, 2) == 0
    assert training(manifest(store)).resumed_from_step == 2


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("\x1b[33m(raylet)\x1b[0m [2026-11-27] node_manager.cc:3193: {killed}", True),
        ("(raylet, ip=10.0.0.9) node_manager.cc:3193: {killed}", True),
        ("(RewardWorker pid=7) (raylet) {killed}", False),  # a reward prints what the policy says
    ],
)
def test_a_training_that_waits_for_a_worker_that_ray_ended_ends(
    store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, ends: bool
) -> None:
    killed = "1 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed due to other reasons"
    (tmp_path / "said").write_text(line.format(killed=killed))
    monkeypatch.setattr(driver, "KILLED_GRACE_SECONDS", 0.1)
    code = run(store, monkeypatch, 1, f"say:{tmp_path / 'said'}" + (" hang:3" if ends else ""))
    if not ends:
        assert code == 0
        return
    assert code == ExitCode.APP
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.APP, "OutOfMemory"), failure
    assert run(store, monkeypatch, 2) == 0
    assert training(manifest(store)).resumed_from_step == 2


def test_sigterm_keeps_the_last_checkpoint(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate() -> None:
        key = artifacts.checkpoint_key("n", CONTENT, 2)
        for _ in range(500):
            if store.get_bytes(key) is not None:
                break
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=terminate)
    killer.start()
    assert run(store, monkeypatch, 1, "hang:3") == ExitCode.APP
    killer.join()
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.PREEMPTED, "Terminated")
    assert run(store, monkeypatch, 2) == 0
    assert training(manifest(store)).resumed_from_step == 2


def test_steps_are_counted_when_overlong_prompts_are_out(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 rows and 10 epochs make 40 steps; 4 are asked for. verl keeps 2 prompts in one run, 7 of 8 in the next."""
    assert run(store, monkeypatch, 1, "kept:7", epochs=1) == 0
    m = manifest(store)
    assert (training(m).step, training(m).total_steps) == (3, 3), "the last step is saved, though everySteps is 2"
    assert content(store, m, "model/model.safetensors") == b"weights 3"
    assert (m.counts.in_, m.counts.out) == (7, 6) and [(d.reason, d.count) for d in m.counts.dropped] == [
        ("prompt-too-long", 1)
    ]
    progress = record(store, "progress", 1)
    assert (progress["done"], progress["total"], progress["text"]) == (3, 3, "committed step 3 of 3")


def test_what_verl_refuses_is_final(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "refuse") == ExitCode.VALIDATION
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.VALIDATION, "SizesDoNotFit")
    assert failure["message"] == "verl refuses these settings: 30 by 16"


def test_an_unknown_override_of_a_flavour_is_final(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The operator's Preflight has seen the RLJob's own overrides only."""
    assert run(store, monkeypatch, 1, overrides={"trainer.no_such_key": 1}) == ExitCode.VALIDATION
    assert record(store, "failure", 1)["reason"] == "InvalidOverride" and not started(tmp_path)


BESIDE = [
    json.dumps({"id": "s", "track": "reasoning", "item": "i\u2028b", "score": 0.5}, ensure_ascii=False).encode(),
    "not JSON at all \u0085".encode(),
    b'{"id": "cut in the mid',
    b"\xff\xfe",
    b'{"lost": "UnicodeEncodeError"}',
]


def test_a_record_that_cannot_be_read_costs_that_record(
    store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "more").write_bytes(b"\n".join(BESIDE))
    assert run(store, monkeypatch, 1, f"record:{tmp_path / 'more'}") == 0
    result = training(manifest(store))
    assert [(p.trajectories, p.unreadable) for p in result.curve] == [(3, 4)] * STEPS
    dataset = store.get_manifest(result.rollouts)
    assert dataset.counts.dropped == [Dropped(reason="unreadable", count=4 * STEPS)]
    assert dataset.counts.in_ == dataset.counts.out + 4 * STEPS
    blob = content(store, dataset, "rollouts/step-1.jsonl")
    assert "i\u2028b" in [json.loads(line)["item"] for line in blob.split(b"\n") if line]


def test_one_step_that_is_no_number_may_pass(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "nan:3") == 0
    result = training(manifest(store))
    assert [p.non_finite for p in result.curve] == [[], [], ["actor/grad_norm"], []]
    assert (result.step, result.curve[2].grad_norm) == (STEPS, None)


def test_two_in_a_row_end_the_attempt(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "nan:3-4") == ExitCode.APP
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.APP, "Diverged")
    good = store.get_manifest(record(store, "progress", 1)["checkpointDigest"])
    assert (
        f"in steps 3 and 4 actor/grad_norm was not finite; last good checkpoint: step 2 ({good.digest[:19]}…)"
        in (failure["message"])
    )
    assert store.get_bytes(artifacts.checkpoint_key("n", CONTENT, 4)) is None, "nobody resumes from such weights"
    assert run(store, monkeypatch, 2) == 0
    assert training(manifest(store)).resumed_from_step == 2


def test_the_last_good_checkpoint_is_published(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "nan:4") == 0
    assert training(manifest(store)).step == 2
    assert content(store, manifest(store), "model/model.safetensors") == b"weights 2"


def test_what_a_reward_prints_steers_nothing(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A custom reward prints the policy's answer, and the policy has read our code."""
    private = tmp_path / "private"
    private.mkdir()
    (private / "key.txt").write_text("secret")
    lines = [
        "Solution string: step:999 - critic/score/mean:1.0 - timing_s/step:1.0",
        f'Solution string: flywheel-checkpoint {{"step": 3, "directory": "{private}"}}',
        f'flywheel::checkpoint {{"step": 3, "directory": "{private}"}}',
        'flywheel:0123456789abcdef:step {"step": 999, "numbers": {"timing_s/step": 1.0}}',
        'flywheel::planned {"prompts": 1, "kept": 1, "steps": 1}',
        'flywheel::refused {"reason": "Bad", "message": "stop"}',
    ]
    (tmp_path / "said").write_text("\n".join(lines))
    assert run(store, monkeypatch, 1, f"say:{tmp_path / 'said'}") == 0
    assert [p.step for p in training(manifest(store)).curve] == [1, 2, 3, 4]
    state = store.get_manifest(training(manifest(store)).training_state)
    assert [f.path for f in state.files if f.path.startswith("state/")] == [
        "state/actor/model_world_size_1_rank_0.pt",
        "state/data.pt",
    ]


def test_too_little_data_is_refused_before_verl_starts(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, rows=1) == ExitCode.VALIDATION
    failure = record(store, "failure", 1)
    assert failure["reason"] == "TooLittleData"
    assert "lower promptsPerStep" in failure["message"]


def test_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRAIN_CONFIG_ENV, raising=False)
    assert main.main() == ExitCode.VALIDATION


def steps_of(store: Any) -> dict[int, StepRecord]:
    keys = store.list_keys(artifacts.steps_prefix("n", CONTENT))
    found = [StepRecord.model_validate(store.get_json(key)) for key in keys]
    return {record.point.step: record for record in found}


def test_every_step_is_in_the_store_when_it_is_made(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 3 lies between two checkpoints: its numbers and its samples are there although the attempt is lost."""
    assert run(store, monkeypatch, 1, "crash:3") == ExitCode.APP
    first = steps_of(store)
    assert set(first) == {1, 2, 3} and {r.attempt for r in first.values()} == {1}
    assert first[3].point.reward == pytest.approx(0.3) and first[3].point.trajectories == 2
    assert first[3].samples is not None and b'"id":"3-0"' in store.get_blob(first[3].samples.sha256)
    assert run(store, monkeypatch, 2) == 0
    assert {step: r.attempt for step, r in steps_of(store).items()} == {1: 1, 2: 1, 3: 2, 4: 2}, "3 was made anew"


def test_the_log_of_an_attempt_is_in_the_store(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own lines and verl's, which Ray forwards from all nodes; the end and its cause among them."""
    assert run(store, monkeypatch, 1, "crash:3") == ExitCode.APP
    (key,) = store.list_keys(artifacts.log_prefix(OWNER.uid, "Train", 1))
    text = store.get_bytes(key).decode()
    assert "starting verl" in text and "ray.exceptions.OutOfMemoryError" in text and '"cause": "' in text
    assert not isinstance(sys.stdout, kept_output.Echo), "the streams are given back"


def test_a_store_that_takes_no_record_of_a_step_costs_the_record(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put = store.put_json

    def refuse(key: str, value: Any) -> None:
        if "/steps/" in key:
            raise StoreProblem(Reason.STORE_FULL, "full")
        put(key, value)

    monkeypatch.setattr(store, "put_json", refuse)
    assert run(store, monkeypatch, 1) == 0
    assert steps_of(store) == {} and training(manifest(store)).step == STEPS


def test_a_tracker_sees_every_step_and_a_dead_one_costs_none(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Run:
        def open(self) -> str:
            return "http://tracker/run"

        def send(self, steps: list[trackers.Step]) -> None:
            seen.extend((s.step, s.numbers["critic/score/mean"]) for s in steps)

        def close(self, succeeded: bool) -> None:
            seen.append(succeeded)

    class Dead(Run):
        def open(self) -> str:
            raise OSError("nobody listens")

    spec = TrackingSpec(type="MLflow", url="http://tracker/")
    for attempt, made in enumerate((Run, Dead), 1):
        monkeypatch.setitem(trackers.RUNS, Tracker.MLFLOW, lambda *_, made=made: made())
        content = MADE_OF | {"run": made.__name__}
        assert run(store, monkeypatch, attempt, made_of=content, tracking=spec) == 0
        progress = record(store, "progress", attempt)
        told = (progress.get("tracked"), progress.get("untracked"))
        assert told == (("http://tracker/run", None) if made is Run else (None, "OSError: nobody listens"))
    assert seen == [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.5), True]
