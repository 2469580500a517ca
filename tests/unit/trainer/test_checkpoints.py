"""Checkpoints: what is committed, what a second attempt finds, what the policy deletes and what it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Owner
from flywheel_api.results import CurvePoint, ModelResult
from flywheel_api.rljob import CheckpointSpec
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import publish, retention, signals
from flywheel_jobs.trainer.checkpoints import TRACKER
from flywheel_store.memory import MemoryBucket
from unit.trainer.checkpoint_run import ANOTHER, CONTENT, OTHER_CONTENT, SHARD, Run


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Store(MemoryBucket())
    monkeypatch.setattr(Store, "from_env", classmethod(lambda _cls, _environ=None: made))
    return made


def test_a_second_attempt_has_files_curve_and_trajectories(store: Any, tmp_path: Path) -> None:
    first = Run(store, tmp_path / "a", keep_last=2, keep_best=0)
    first.step(1, 0.0, 1.0)
    first.step(2, 1.0, 1.0, None)
    first.end()

    second = Run(store, tmp_path / "b", keep_last=2, keep_best=0)
    history = second.checkpoints.restore()
    assert history.resumed_from == 2
    assert [p.reward for p in history.curve.upto(9)] == [0.5, 1.0], "an outage is no reward 0"
    assert history.curve.upto(9)[1].masked == 1
    assert sorted(history.rollouts) == [1, 2]
    root = second.checkpoints.root
    assert (root / "global_step_2" / SHARD).read_bytes() == b"weights 2 of uid-1"
    assert (root / TRACKER).read_text() == "2"


def test_nothing_to_resume_from(store: Any, tmp_path: Path) -> None:
    history = Run(store, tmp_path).checkpoints.restore()
    assert history.resumed_from is None
    assert history.curve.points == {}


def test_a_damaged_checkpoint_falls_back_to_an_earlier_one(store: Any, tmp_path: Path) -> None:
    first = Run(store, tmp_path / "a", keep_last=2, keep_best=0)
    first.step(1, 0.0)
    first.step(2, 1.0)
    first.end()
    entry = next(f for f in first.checkpoints.committed[2].manifest.files if f.path.endswith(SHARD))
    store.delete(artifacts.blob_key(entry.sha256))
    assert Run(store, tmp_path / "b", keep_last=2, keep_best=0).checkpoints.restore().resumed_from == 1


def test_what_cannot_be_read_is_no_checkpoint(store: Any, tmp_path: Path) -> None:
    first = Run(store, tmp_path / "a", keep_last=3, keep_best=0)
    first.step(1, 0.0)
    first.end()
    store.put_bytes(first.checkpoints.key(2), b"{torn")
    store.put_bytes(first.checkpoints.key(3), first.manifest(ModelResult(), []).canonical())
    assert Run(store, tmp_path / "b").checkpoints.restore().resumed_from == 1


def test_a_checkpoint_without_its_numbers_is_committed_at_the_end(store: Any, tmp_path: Path) -> None:
    run = Run(store, tmp_path)
    run.save(1)
    run.end()
    assert list(run.checkpoints.committed) == [1]


def test_the_first_commit_of_a_step_stands(store: Any, tmp_path: Path) -> None:
    first, second = Run(store, tmp_path / "a"), Run(store, tmp_path / "b", owner=ANOTHER)
    for run, score in ((first, 0.25), (second, 0.75)):
        run.step(1, score)
        run.end()
    assert second.checkpoints.committed[1].manifest.digest == first.checkpoints.committed[1].manifest.digest
    assert second.attempt.pulse.progress.checkpoint_digest == first.attempt.pulse.progress.checkpoint_digest
    assert not (second.checkpoints.root / "global_step_1").exists(), "what lies there must not be published as it"


def test_a_checkpoint_that_its_owner_drops_meanwhile_ends_nobody(store: Any, tmp_path: Path) -> None:
    first, second = Run(store, tmp_path / "a"), Run(store, tmp_path / "b", owner=ANOTHER)
    first.step(1, 0.25)
    first.end()
    store.delete(artifacts.manifest_digest_key(first.checkpoints.committed[1].manifest.digest))
    second.step(1, 0.75)
    second.end()


def test_another_rljob_of_the_same_content_goes_on(store: Any, tmp_path: Path) -> None:
    first = Run(store, tmp_path / "a", keep_last=2, keep_best=0)
    first.step(1, 0.0, 1.0)
    first.end()
    second = Run(store, tmp_path / "b", owner=ANOTHER, keep_last=2, keep_best=0)
    history = second.checkpoints.restore()
    assert history.resumed_from == 1
    assert (second.checkpoints.root / "global_step_1" / SHARD).read_bytes() == b"weights 1 of uid-1"
    second.sync._history = history
    second.step(2, 1.0)
    second.end()
    last = second.checkpoints.last()
    assert last is not None and last.manifest.owner == ANOTHER
    assert [(p.step, p.reward) for p in last.state.curve] == [(1, 0.5), (2, 1.0)]
    assert [f.path for f in last.rollouts] == ["rollouts/step-1.jsonl", "rollouts/step-2.jsonl"]


@pytest.mark.parametrize(
    ("owner", "content"), [(ANOTHER, OTHER_CONTENT), (ANOTHER.model_copy(update={"namespace": "m"}), CONTENT)]
)
def test_other_contents_and_other_namespaces_see_nothing(
    store: Any, tmp_path: Path, owner: Owner, content: str
) -> None:
    first = Run(store, tmp_path / "a")
    first.step(1, 0.0)
    first.end()
    assert Run(store, tmp_path / "b", owner, content).checkpoints.restore().resumed_from is None


def test_the_policy_counts_everybodys_checkpoints_of_a_content(store: Any, tmp_path: Path) -> None:
    first = Run(store, tmp_path / "a", keep_last=2, keep_best=0)
    second = Run(store, tmp_path / "b", owner=ANOTHER, keep_last=2, keep_best=0)
    first.step(1, 0.0)
    first.step(2, 0.0)
    first.end()
    second.step(3, 0.0)
    second.end()
    assert sorted(second.checkpoints.committed) == [2, 3]
    assert store.get_bytes(first.checkpoints.key(1)) is None
    assert b"weights 1 of uid-1" not in set(store.bucket.objects.values())


def test_retention_deletes_commit_and_shards_but_nothing_shared(store: Any, tmp_path: Path) -> None:
    run = Run(store, tmp_path, keep_last=1, keep_best=1)
    for step, reward in ((10, 0.2), (20, 0.9), (30, 0.5)):
        run.step(step, reward)
    run.end()
    assert sorted(run.checkpoints.committed) == [20, 30]
    assert store.get_bytes(run.checkpoints.key(10)) is None
    contents = set(store.bucket.objects.values())
    assert b"weights 10 of uid-1" not in contents
    assert {b"weights 20 of uid-1", b"weights 30 of uid-1", b"{}", b"loader"} <= contents
    assert list((tmp_path / "ckpt").glob("global_step_*")) == [tmp_path / "ckpt" / "global_step_30"]


@pytest.mark.parametrize(
    ("owner", "content"), [(ANOTHER, OTHER_CONTENT), (ANOTHER.model_copy(update={"namespace": "m"}), CONTENT)]
)
def test_retention_spares_the_same_bytes_of_another_training(
    store: Any, tmp_path: Path, owner: Owner, content: str
) -> None:
    other = Run(store, tmp_path / "other", owner, content)
    other.roll(1, 1.0)
    other.save(1, b"equal")
    other.end()
    run = Run(store, tmp_path / "run", keep_last=1, keep_best=0)
    run.save(1, b"equal")
    run.save(2, b"later")
    run.end()
    assert sorted(run.checkpoints.committed) == [2]
    assert b"equal" in store.bucket.objects.values()
    assert other.checkpoints.restore().resumed_from == 1


def test_retention_spares_the_same_bytes_of_the_same_content(store: Any, tmp_path: Path) -> None:
    other = Run(store, tmp_path / "other", owner=ANOTHER)
    other.save(2, b"equal")
    other.end()
    run = Run(store, tmp_path / "run", keep_last=1, keep_best=0)
    run.checkpoints.committed.clear()  # as if the other one had committed after this one looked
    run.save(1, b"equal")
    run.end()
    assert sorted(run.checkpoints.committed) == [2]
    assert b"equal" in store.bucket.objects.values()
    assert other.checkpoints.restore().resumed_from == 2


def test_an_unreachable_store_is_told_to_the_driver(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(store, tmp_path)

    def refuse(*_args: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr(store, "commit", refuse)
    run.step(1, 1.0)
    run.sync.start()
    assert run.sync.finish(10)
    assert isinstance(run.sync.error, OSError)


@pytest.mark.parametrize(
    ("rewards", "last", "best", "kept"),
    [
        ({}, 2, 1, set()),
        ({10: 0.1, 20: 0.2, 30: 0.3}, 1, 0, {30}),
        ({10: 0.9, 20: 0.2, 30: 0.1, 40: 0.3}, 1, 1, {10, 30, 40}),
        ({10: 0.5, 20: 0.5, 30: 0.1, 40: 0.3}, 1, 1, {20, 30, 40}),
        ({10: None, 20: None, 30: None}, 1, 1, {20, 30}),
        ({10: 0.6, 20: 0.5, 30: 0.1, 40: 0.3, 50: 0.2}, 2, 2, {10, 20, 40, 50}),
        ({1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.1}, 1, 1, {2, 3, 4, 5}),
    ],
)
def test_policy(rewards: dict[int, float | None], last: int, best: int, kept: set[int]) -> None:
    assert retention.keep(rewards, CheckpointSpec(keep_last=last, keep_best=best)) == kept


@pytest.mark.parametrize(
    ("published", "last", "best", "kept"), [(5, 1, 1, {4, 5}), (4, 1, 1, {4, 5}), (2, 1, 1, {2, 4, 5}), (5, 1, 0, {5})]
)
def test_when_it_has_ended_the_published_one_stays_in_place_of_those_that_might_have_been(
    published: int, last: int, best: int, kept: set[int]
) -> None:
    rewards = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.1}
    assert retention.keep(rewards, CheckpointSpec(keep_last=last, keep_best=best), published) == kept


# ---- damage, other attempts, and stores in trouble -------------------------------------------------------------------
def shard_of(run: Run, step: int) -> FileEntry:
    return next(f for f in run.checkpoints.committed[step].manifest.files if f.path.endswith(SHARD))


@pytest.mark.parametrize("damage", ["lost", "wrong", "wrong, and the same bytes are made again"])
def test_a_damaged_step_is_committed_again_by_a_later_attempt(store: Any, tmp_path: Path, damage: str) -> None:
    first = Run(store, tmp_path / "a", keep_last=3, keep_best=0)
    first.step(1, 0.0)
    first.step(2, 0.0)
    first.end()
    key = artifacts.blob_key(shard_of(first, 2).sha256)
    if damage == "lost":
        store.delete(key)
    else:
        store.put_bytes(key, b"weights 9 of uid-1")
    second = Run(store, tmp_path / "b", keep_last=3, keep_best=0)
    second.sync._history = second.checkpoints.restore()
    assert second.sync._history.resumed_from == 1 and second.checkpoints.last() == first.checkpoints.committed[1]
    assert not signals.checkpoint_folder(second.checkpoints.root, 2).exists(), "training would wait for its upload"
    second.roll(2, 1.0)
    second.save(2, b"weights 2 of uid-1" if "same" in damage else b"weights 2 anew")
    second.sync.stepped(CurvePoint(step=2, reward=0.0, seconds=1.0))
    second.end()
    third = Run(store, tmp_path / "c", keep_last=3, keep_best=0)
    history = third.checkpoints.restore()
    assert history.resumed_from == 2 and history.curve.upto(2)[-1].reward == 1.0


def test_a_step_that_was_damaged_behind_our_back_is_replaced(store: Any, tmp_path: Path) -> None:
    """Whoever never read it finds out at its own commit."""
    second = Run(store, tmp_path / "b", owner=ANOTHER)
    first = Run(store, tmp_path / "a")
    first.step(1, 0.0)
    first.end()
    store.delete(artifacts.blob_key(shard_of(first, 1).sha256))
    second.step(1, 1.0)
    second.end()
    assert second.checkpoints.committed[1].manifest.owner == ANOTHER
    assert Run(store, tmp_path / "c").checkpoints.restore().resumed_from == 1


def test_all_steps_damaged_means_a_new_beginning_that_is_committed(store: Any, tmp_path: Path) -> None:
    first = Run(store, tmp_path / "a", keep_last=3, keep_best=0)
    first.step(1, 0.0)
    first.end()
    store.delete(artifacts.blob_key(shard_of(first, 1).sha256))
    second = Run(store, tmp_path / "b", keep_last=3, keep_best=0)
    assert second.checkpoints.restore().resumed_from is None and second.checkpoints.last() is None
    second.save(1, b"weights of a second beginning")
    second.end()
    assert Run(store, tmp_path / "c").checkpoints.restore().resumed_from == 1


def test_shards_of_two_attempts_never_meet_in_one_model(store: Any, tmp_path: Path) -> None:
    """Equal names and sizes: only the content tells them apart."""
    first = Run(store, tmp_path / "a")
    first.save(1, b"shard of attempt one")
    first.end()
    local = tmp_path / "b" / "global_step_1"
    (local / "actor").mkdir(parents=True)
    (local / SHARD).write_bytes(b"shard of attempt two")
    state = first.checkpoints.committed[1].manifest
    folder = publish.actor_folder(store, state, local, tmp_path / "scratch")
    assert (folder / Path(SHARD).name).read_bytes() == b"shard of attempt one"


def test_what_is_not_merged_is_not_fetched(store: Any, tmp_path: Path) -> None:
    run = Run(store, tmp_path / "a")
    run.save(1, b"shard")
    run.end()
    state = run.checkpoints.committed[1].manifest
    absent = FileEntry(path="state/actor/optim_world_size_1_rank_0.pt", sha256="0" * 64, size=8)
    state.files.append(absent)
    folder = publish.actor_folder(store, state, tmp_path / "none", tmp_path / "scratch")
    assert {p.name for p in folder.iterdir()} == {"config.json", Path(SHARD).name}


@pytest.mark.parametrize("content", [CONTENT, OTHER_CONTENT])
def test_retention_between_the_upload_and_the_commit_of_another_run(store: Any, tmp_path: Path, content: str) -> None:
    first = Run(store, tmp_path / "a", keep_last=1, keep_best=0)
    first.save(1, b"equal")
    first.sync.stepped(CurvePoint(step=1, reward=0.0, seconds=1.0))
    first.save(2, b"later")
    second = Run(store, tmp_path / "b", ANOTHER, content, keep_last=3, keep_best=0)
    second.save(1, b"equal")
    real = second.checkpoints.commit

    def commit(*args: Any) -> Any:
        first.end()  # drops step 1, and its blob if nobody needs it
        second.checkpoints.commit = real  # type: ignore[method-assign]
        return real(*args)

    second.checkpoints.commit = commit  # type: ignore[method-assign]
    second.end()
    assert b"equal" in store.bucket.objects.values() and 1 in second.checkpoints.committed
    assert not store.absent(second.checkpoints.committed[1].manifest.files)


def test_a_blob_that_is_gone_at_the_commit_is_uploaded_again(store: Any, tmp_path: Path) -> None:
    run = Run(store, tmp_path)
    run.save(1, b"here")
    real = run.checkpoints.upload

    def upload(*args: Any) -> Any:
        found = real(*args)
        run.checkpoints.upload = real  # type: ignore[method-assign]
        store.delete(artifacts.blob_key(next(f.sha256 for f in found if f.path.endswith(SHARD))))
        return found

    run.checkpoints.upload = upload  # type: ignore[method-assign]
    run.end()
    assert not store.absent(run.checkpoints.committed[1].manifest.files)


def test_a_deletion_that_is_under_way_is_waited_for(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who drops has looked for references; who comes then must not find the blob just before it goes."""
    monkeypatch.setattr(retention, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(retention, "_WAITS", 3000)
    first = Run(store, tmp_path / "a", keep_last=1, keep_best=0)
    first.save(1, b"equal")
    first.end()
    second = Run(store, tmp_path / "b", ANOTHER, OTHER_CONTENT)
    second.save(1, b"equal")
    real = store.delete

    def delete(key: str) -> None:
        if key.startswith("blobs/"):
            second.sync.start()
            assert not second.sync.finish(0.5), "it has referred, and waits before it looks"
        real(key)

    monkeypatch.setattr(store, "delete", delete)
    first.checkpoints.load()
    manifest = first.checkpoints.committed[1].manifest
    retention.drop(store, manifest, first.checkpoints.key(1), [])
    assert second.sync.finish(10) and second.sync.error is None
    assert not store.absent(second.checkpoints.committed[1].manifest.files)
