"""Checkpoints beside training: uploaded in parallel parts while verl trains on, committed, kept by policy, restored.

A checkpoint is the tree that verl writes as `global_step_<n>`: one file per rank and kind, on the node of that rank.
Its commit is a create-only manifest under the content of the training, whose result carries the curve so far and whose
files carry the trajectories so far: whoever trains the same next has the whole story from the store alone.
"""

from __future__ import annotations

import re
import shutil
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_api.ends import End
from flywheel_api.results import TrainingStateResult
from flywheel_api.rljob import CheckpointSpec
from flywheel_jobs.core.errors import CorruptArtifact, StoreProblem, Superseded
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.storage.store import Store, inside, need_space
from flywheel_jobs.trainer import retention, rollouts, signals
from flywheel_jobs.trainer.metrics import Curve
from flywheel_jobs.trainer.nodes import NodeLost, Nodes, Share

STATE = "state/"
TRACKER = "latest_checkpointed_iteration.txt"
DOWNLOADS = 4
MERIT_STEPS = 4  # of the training's own reward: one step's is luck
CLEARLY = 0.05  # by which another checkpoint must be better than the last one
_COMMITS = 3
_SHARD = re.compile(r"_world_size_(\d+)_rank_(\d+)\.pt$")
log = get_logger(__name__)

MakeManifest = Callable[[TrainingStateResult, list[FileEntry]], Manifest]


@dataclass
class History:
    """What a training has produced so far, over everybody who trained the same."""

    curve: Curve = field(default_factory=Curve)
    rollouts: dict[int, FileEntry] = field(default_factory=dict)
    resumed_from: int | None = None

    def rollout_files(self, upto: int) -> list[FileEntry]:
        """Trajectory files of steps up to and including `upto`."""
        return [self.rollouts[s] for s in sorted(self.rollouts) if s <= upto]


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint."""

    manifest: Manifest
    state: TrainingStateResult

    @classmethod
    def of(cls, manifest: Manifest) -> Checkpoint:
        """Raises CorruptArtifact for a manifest of anything else."""
        if not isinstance(manifest.result, TrainingStateResult):
            raise CorruptArtifact(f"{manifest.digest} is a {manifest.kind} where a training's checkpoint was expected")
        return cls(manifest, manifest.result)

    @property
    def merit(self) -> float | None:
        """How good its weights look: validation at its step, else training's own reward over the last steps.

        The share of right answers goes before a reward that also pays for form.
        """
        curve = self.state.curve
        last = curve[-1] if curve else None
        if last is not None and last.step == self.state.step and last.validation:
            return statistics.fmean(last.validation.values())
        said = [p.success if p.success is not None else p.reward for p in curve[-MERIT_STEPS:]]
        known = [value for value in said if value is not None]
        return statistics.fmean(known) if known else None

    @property
    def rollouts(self) -> list[FileEntry]:
        """Files of trajectories, by step."""
        return sorted((f for f in self.manifest.files if f.path.startswith(rollouts.PREFIX)), key=rollouts.step_of)

    def history(self) -> History:
        """What a training that resumes here starts from."""
        files = {rollouts.step_of(f): f for f in self.rollouts}
        return History(Curve.of(self.state.curve), files, resumed_from=self.state.step)


def upload_tree(directory: str, referrer: retention.Referrer) -> list[tuple[str, str, int]]:
    """Stores this node's files of a checkpoint as blobs: (path below the folder, sha256, size). Runs on every node."""
    root, store = Path(directory), Store.from_env()
    if not root.is_dir():
        return []
    with signals.uploading(root):
        files = [p for p in sorted(root.rglob("*")) if p.is_file() and not p.name.startswith(".")]
        named = [(p.relative_to(root).as_posix(), p) for p in files]
        entries = store.put_files(named, parallel=2, need=lambda entry: retention.refer(store, referrer, entry))
    return [(e.path, e.sha256, e.size) for e in entries]


def download_tree(files: list[tuple[str, str, int]], directory: str, tracker: str, step: int) -> None:
    """Puts a checkpoint's files on this node and points verl at it. Runs on every node.

    Leaves nothing of one that is damaged. Raises CorruptArtifact, ValidationFailure without space.
    """
    store = Store.from_env()
    root = Path(directory)
    need_space(root, sum(size for _, _, size in files), f"the checkpoint of step {step}")
    try:
        with ThreadPoolExecutor(max_workers=DOWNLOADS) as pool:
            list(pool.map(lambda f: store.fetch_blob(f[1], inside(root, f[0])), files))
    except CorruptArtifact:
        shutil.rmtree(root, ignore_errors=True)
        raise
    signals.mark_committed(root)
    Path(tracker).write_text(str(step))


def _download(
    files: list[tuple[str, str, int]], place: tuple[str, str, int], share: Share | None
) -> tuple[list[tuple[str, str, int]], str, str, int]:
    """What a node fetches: shards of its own ranks, two thirds of whose bytes are the optimiser's, and all the rest."""
    return [f for f in files if share is None or _needed(f[0], share)], *place


def _needed(path: str, share: Share) -> bool:
    shard = _SHARD.search(path)
    return shard is None or share.holds(rank=int(shard[2]), world_size=int(shard[1]))


def missing_ranks(paths: Iterable[str]) -> set[int]:
    """Ranks of which some kind of shard is not among the files of a checkpoint, though another rank has one."""
    ranks: dict[tuple[str, int], set[int]] = defaultdict(set)
    for path in paths:
        if shard := _SHARD.search(path):
            ranks[path[: shard.start()], int(shard[1])].add(int(shard[2]))
    return {rank for (_, world), there in ranks.items() for rank in set(range(world)) - there}


class Checkpoints:
    """The committed checkpoints of a training: of all attempts and all RLJobs of its content in its namespace."""

    def __init__(
        self, store: Store, namespace: str, content_key: str, policy: CheckpointSpec, root: Path, nodes: Nodes
    ) -> None:
        self.store = store
        self.namespace = namespace
        self.content_key = content_key
        self.policy = policy
        self.root = root
        self.nodes = nodes
        self.committed: dict[int, Checkpoint] = {}
        self._damaged: set[str] = set()  # digests of checkpoints that could not be restored

    def key(self, step: int) -> str:
        """Where the checkpoint of a step is committed."""
        return artifacts.checkpoint_key(self.namespace, self.content_key, step)

    def load(self) -> None:
        """Reads what is committed now. A checkpoint that cannot be read is no checkpoint."""
        found: dict[int, Checkpoint] = {}
        for key in self.store.list_keys(artifacts.checkpoints_prefix(self.namespace, self.content_key) + "/"):
            checkpoint = self._read(key) if key.endswith("/manifest.json") else None
            if checkpoint is not None:
                found[checkpoint.state.step] = checkpoint
        self.committed = found

    def _read(self, key: str) -> Checkpoint | None:
        try:
            manifest = self.store.manifest_at(key)
            damaged = manifest is None or manifest.digest in self._damaged
            return None if damaged or manifest is None else Checkpoint.of(manifest)
        except CorruptArtifact as error:
            log.warning("checkpoint cannot be read", key=key, error=str(error))
            return None

    def last(self) -> Checkpoint | None:
        """The newest committed checkpoint."""
        return self.committed[max(self.committed)] if self.committed else None

    def best(self, suspect: int | None = None) -> Checkpoint | None:
        """The checkpoint of highest merit; the last one unless it is worse by more than noise.

        With `suspect`, the first step that the collapse guard doubts, of those before it; else the first there is: the
        mean of several steps would call a policy good that fell in the last of them.
        """
        if not self.committed:
            return None
        sound = [s for s in self.committed if suspect is None or s < suspect] or [min(self.committed)]
        last, judged = self.committed[max(sound)], [self.committed[s] for s in sound]
        if last.merit is None:
            return last
        best = max((c for c in judged if c.merit is not None), key=lambda c: (c.merit, c.state.step))
        return best if (best.merit or 0.0) > last.merit + CLEARLY else last

    def restore(self) -> History:
        """Puts the newest intact checkpoint where verl resumes from; a fresh History when there is none."""
        for step in sorted(self.committed, reverse=True):
            checkpoint = self.committed[step]
            state = [f for f in checkpoint.manifest.files if f.path.startswith(STATE)]
            files = [(f.path.removeprefix(STATE), f.sha256, f.size) for f in state]
            place = (str(signals.checkpoint_folder(self.root, step)), str(self.root / TRACKER), step)
            try:
                self.nodes.each_own(download_tree, partial(_download, files, place))
            except CorruptArtifact as error:
                log.warning("checkpoint is damaged, trying an earlier one", step=step, error=str(error))
                self._damaged.add(checkpoint.manifest.digest)
                del self.committed[step]
                continue
            return checkpoint.history()
        return History()

    def upload(self, step: int, owner_uid: str) -> list[FileEntry]:
        """Blobs of the local checkpoint of a step from all nodes, as entries under `state/`.

        Raises NodeLost when ranks are missing: a node that is lost takes with it what was not in the store yet.
        """
        found: dict[str, FileEntry] = {}
        referrer = retention.Referrer(self.namespace, self.content_key, owner_uid)
        for part in self.nodes.each(upload_tree, str(signals.checkpoint_folder(self.root, step)), referrer):
            for path, sha, size in part:
                found[path] = FileEntry(path=STATE + path, sha256=sha, size=size)
        missing = missing_ranks(found)
        if missing:
            ranks = ", ".join(map(str, sorted(missing)))
            text = f"the checkpoint of step {step} has no shards of rank {ranks}, which were on a node that is lost"
            raise NodeLost(text, End.NODE_LOST)
        return [found[path] for path in sorted(found)]

    def commit(self, step: int, state: list[FileEntry], history: History, make: MakeManifest) -> Checkpoint:
        """Commits a checkpoint create-only. One of this step that stands already stays, unless it is damaged.

        Raises CorruptArtifact when a blob of ours is gone again: then the files must be uploaded anew.
        """
        result = TrainingStateResult(step=step, curve=history.curve.upto(step))
        ours = Checkpoint(make(result, [*state, *history.rollout_files(step)]), result)
        standing = self._stand(ours, self.key(step))
        self.committed[step] = standing
        folder = signals.checkpoint_folder(self.root, step)
        # what lies on the nodes and is not what stands must not be published
        self.nodes.tell(signals.mark_committed if standing is ours else signals.forget, folder)
        return standing

    def _stand(self, ours: Checkpoint, key: str) -> Checkpoint:
        for _ in range(_COMMITS):
            done = self.store.commit(ours.manifest, key)
            if done.digest == ours.manifest.digest:
                return ours
            standing = self._read(key)
            if standing is not None and self._whole(standing):
                return standing
            log.warning("the checkpoint that stands is damaged and is replaced", key=key, digest=done.digest)
            self.store.delete(key)
        raise Superseded(f"{key} is committed and damaged by someone else again and again")

    def _whole(self, checkpoint: Checkpoint) -> bool:
        files = checkpoint.manifest.files
        return not self.store.absent(files) and not any(self.store.is_condemned(f.sha256) for f in files)

    def apply_retention(self, published: int | None = None) -> None:
        """Deletes committed checkpoints that the policy does not keep, those of others who train the same included.

        A store that is away costs space, and is asked again after the next step.
        """
        try:
            self._retain(published)
        except StoreProblem as problem:
            log.warning("checkpoints were not dropped", error=str(problem))

    def _retain(self, published: int | None) -> None:
        self.load()
        kept = retention.keep({step: c.merit for step, c in self.committed.items()}, self.policy, published)
        for step in sorted(set(self.committed) - kept):
            manifest = self.committed.pop(step).manifest
            freed = retention.drop(self.store, manifest, self.key(step), [c.manifest for c in self.committed.values()])
            log.info("checkpoint dropped by policy", step=step, freed_bytes=freed)
