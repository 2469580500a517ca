"""A training without verl: its checkpoints on disk and in the store, as the thread beside it stores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flywheel_api.artifacts import FileEntry, Manifest, Owner
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import CurvePoint, Result, Track
from flywheel_api.rljob import CheckpointSpec
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.trainer import signals
from flywheel_jobs.trainer.checkpoints import Checkpoints, History
from flywheel_jobs.trainer.nodes import Nodes
from flywheel_jobs.trainer.sync import Sync
from flywheel_jobs.trainer.trajectory import line_of

OWNER = Owner(kind="RLJob", namespace="n", name="job", uid="uid-1")
ANOTHER = Owner(kind="RLJob", namespace="n", name="other", uid="uid-2")
CONTENT, OTHER_CONTENT = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SHARD = "actor/model_world_size_1_rank_0.pt"


class Run:
    """A run's checkpoints on disk and in the store, without verl."""

    def __init__(self, store: Any, root: Path, owner: Owner = OWNER, content: str = CONTENT, **policy: int) -> None:
        self.store, self.root, self.owner, self.content = store, root, owner, content
        self.checkpoints = Checkpoints(
            store, owner.namespace, content, CheckpointSpec(**policy), root / "ckpt", Nodes(spread=False)
        )
        self.checkpoints.load()
        self.history = History()
        self.attempt = Attempt(store, owner, "Train", 1, content)
        self.points: list[CurvePoint] = []
        self.sync = Sync(
            self.attempt,
            self.checkpoints,
            self.history,
            Nodes(spread=False),
            root / "rollouts",
            self.manifest,
            self.points.append,
        )

    def manifest(self, result: Result, files: list[FileEntry]) -> Manifest:
        return Manifest(
            owner=self.owner,
            stage="Train",
            attempt=1,
            content_key=self.content,
            files=files,
            result=result,
            created_at=f"2026-01-01T00:00:00Z by {self.owner.uid}",
        )

    def save(self, step: int, content: bytes | None = None) -> None:
        folder = self.root / "ckpt" / f"global_step_{step}"
        (folder / "actor").mkdir(parents=True)
        (folder / SHARD).write_bytes(content or f"weights {step} of {self.owner.uid}".encode())
        (folder / "actor" / "config.json").write_text("{}")
        (folder / "data.pt").write_bytes(b"loader")
        self.sync.saved(signals.Saved(step=step))

    def roll(self, step: int, *scores: float | None) -> None:
        folder = self.root / "rollouts" / f"step-{step}"
        folder.mkdir(parents=True)
        rows = [
            Trajectory(id=str(i), track=Track.AGENTIC, item="i", score=s, outcome="cancel")
            for i, s in enumerate(scores)
        ]
        (folder / "1.jsonl").write_bytes(b"".join(line_of(r) + b"\n" for r in rows))

    def step(self, step: int, *scores: float | None) -> None:
        self.roll(step, *scores)
        self.save(step)
        self.sync.stepped(CurvePoint(step=step, reward=0.0, seconds=1.0))

    def end(self) -> None:
        self.sync.start()
        assert self.sync.finish(10)
        assert self.sync.error is None, self.sync.error
