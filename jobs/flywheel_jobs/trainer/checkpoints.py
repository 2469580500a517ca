"""Checkpoints beside training: uploaded in parallel parts while verl trains on, committed, kept by policy, restored.

A checkpoint is the tree that verl writes as `global_step_<n>`: one file per rank and kind, on the node of that rank.
Its commit is a create-only manifest whose `details` carry the curve so far and whose files carry the trajectories so
far, so that a later attempt has the whole story from the store alone.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest, ManifestKind, Owner
from flywheel_api.rljob import CheckpointSpec
from flywheel_api.stages import TRAIN_STAGE
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.attempt import now
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import retention, rollouts, signals
from flywheel_jobs.trainer.metrics import Curve
from flywheel_jobs.trainer.nodes import Nodes
from flywheel_store.store import parse_manifest

STATE = "state/"
TRACKER = "latest_checkpointed_iteration.txt"
DOWNLOADS = 4
log = get_logger(__name__)


@dataclass
class History:
    """What a run has produced so far, across its attempts."""

    curve: Curve = field(default_factory=Curve)
    rollouts: dict[int, FileEntry] = field(default_factory=dict)
    resumed_from: int | None = None

    def rollout_files(self, upto: int) -> list[FileEntry]:
        """Trajectory files of steps up to and including `upto`."""
        return [self.rollouts[s] for s in sorted(self.rollouts) if s <= upto]


def upload_tree(directory: str) -> list[tuple[str, str, int]]:
    """Stores this node's files of a checkpoint as blobs: (path below the folder, sha256, size). Runs on every node."""
    root = Path(directory)
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and not p.name.startswith(".")] if root.is_dir() else []
    entries = Store.from_env().put_files([(p.relative_to(root).as_posix(), p) for p in files], parallel=2)
    return [(e.path, e.sha256, e.size) for e in entries]


def download_tree(files: list[tuple[str, str, int]], directory: str, tracker: str, step: int) -> None:
    """Puts a checkpoint's files on this node and points verl at it. Runs on every node."""
    store = Store.from_env()
    root = Path(directory)
    with ThreadPoolExecutor(max_workers=DOWNLOADS) as pool:
        list(pool.map(lambda f: store.fetch_blob(f[1], root / f[0]), files))
    signals.mark_committed(root)
    Path(tracker).write_text(str(step))


class Checkpoints:
    """The committed checkpoints of a run."""

    def __init__(self, store: Store, owner: Owner, policy: CheckpointSpec, root: Path, nodes: Nodes) -> None:
        self.store = store
        self.owner = owner
        self.policy = policy
        self.root = root
        self.nodes = nodes
        self.committed: dict[int, Manifest] = {}

    def key(self, step: int) -> str:
        """Where the checkpoint of a step is committed."""
        return artifacts.checkpoint_key(self.owner.uid, TRAIN_STAGE, step)

    def load(self) -> None:
        """Reads which checkpoints earlier attempts committed."""
        prefix = artifacts.checkpoints_prefix(self.owner.uid, TRAIN_STAGE)
        for key in self.store.list_keys(prefix + "/"):
            data = self.store.get_bytes(key) if key.endswith("/manifest.json") else None
            if data is not None:
                manifest = parse_manifest(data, key)
                self.committed[int(manifest.details["step"])] = manifest

    def last(self) -> Manifest | None:
        """The newest committed checkpoint."""
        return self.committed[max(self.committed)] if self.committed else None

    def restore(self) -> History:
        """Puts the newest intact checkpoint where verl resumes from; a fresh History when there is none."""
        for step in sorted(self.committed, reverse=True):
            manifest = self.committed[step]
            files = [(f.path.removeprefix(STATE), f.sha256, f.size) for f in manifest.files if f.path.startswith(STATE)]
            folder = self.root / f"global_step_{step}"
            try:
                self.nodes.each(download_tree, files, str(folder), str(self.root / TRACKER), step)
            except CorruptArtifact as error:
                log.warning("checkpoint is damaged, trying an earlier one", step=step, error=str(error))
                continue
            carried = [f for f in manifest.files if f.path.startswith(rollouts.PREFIX)]
            steps = {int(f.path.rsplit("-", 1)[1].removesuffix(".jsonl")): f for f in carried}
            return History(Curve.from_points(manifest.details.get("curve", [])), steps, resumed_from=step)
        return History()

    def upload(self, directory: str) -> list[FileEntry]:
        """Blobs of a checkpoint folder from all nodes, as entries under `state/`."""
        found: dict[str, FileEntry] = {}
        for part in self.nodes.each(upload_tree, directory):
            for path, sha, size in part:
                found[path] = FileEntry(path=STATE + path, sha256=sha, size=size)
        return [found[path] for path in sorted(found)]

    def commit(
        self, step: int, state: list[FileEntry], history: History, base: Callable[[dict[str, object]], Manifest]
    ) -> Manifest:
        """Commits a checkpoint create-only. If another attempt has committed this step before, that one stands."""
        points = history.curve.upto(step)
        reward = points[-1].get("reward") if points and points[-1]["step"] == step else None
        manifest = base(
            {
                "kind": ManifestKind.TRAINING_STATE,
                "step": step,
                "files": [*state, *history.rollout_files(step)],
                "metrics": {} if reward is None else {"reward": float(reward)},
                "details": {"step": step, "curve": points},
                "created_at": now(),
            }
        )
        retention.refer(self.store, manifest)
        done = self.store.commit(manifest, self.key(step))
        standing = manifest if done.won else self.store.get_manifest(done.digest)
        self.committed[step] = standing
        signals.mark_committed(self.root / f"global_step_{step}")
        return standing

    def apply_retention(self) -> None:
        """Deletes committed checkpoints that the policy does not keep."""
        kept = retention.keep({s: m.metrics.get("reward") for s, m in self.committed.items()}, self.policy)
        for step in sorted(set(self.committed) - kept):
            manifest = self.committed.pop(step)
            freed = retention.drop(self.store, manifest, self.key(step), list(self.committed.values()))
            log.info("checkpoint dropped by policy", step=step, freed_bytes=freed)
