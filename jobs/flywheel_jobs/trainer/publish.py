"""The end of a run: shards merged into a Hugging Face model, stored, committed."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from flywheel_api.artifacts import Counts, Dropped, FileEntry, Manifest
from flywheel_api.results import CurvePoint
from flywheel_jobs.storage.store import Store, inside
from flywheel_jobs.trainer.checkpoints import STATE
from flywheel_jobs.trainer.failures import TrainingFailed, excerpt
from flywheel_jobs.trainer.process import Child
from flywheel_store.store import hash_file
from flywheel_store.traffic import MOVED, Others

MERGER = ("-m", "flywheel_jobs.trainer.merge")
ACTOR = "actor/"
POLL_SECONDS = 0.5
FROM_BASE = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
"""Files that training does not change: the base's own bytes are kept, tokenizer and chat template included."""
NOT_MERGED = ("optim_", "extra_state_")
"""Begin the names of shards that only a training that goes on needs: two thirds of a checkpoint's bytes."""


def actor_folder(store: Store, state: Manifest, local: Path, scratch: Path) -> Path:
    """A folder with the model's shards of a committed checkpoint: the local one, completed from the store if needed."""
    actor = STATE + ACTOR
    files = [f for f in state.files if f.path.startswith(actor) and not f.path[len(actor) :].startswith(NOT_MERGED)]
    if not files:
        raise TrainingFailed("the last checkpoint holds no actor: actor.checkpoint.save_contents must contain model")
    folder = local if local.is_dir() else scratch
    for entry in files:
        path = inside(folder, entry.path.removeprefix(STATE))
        # by content: a shard of another attempt has the same size
        if not path.is_file() or path.stat().st_size != entry.size or hash_file(path) != entry.sha256:
            store.fetch_blob(entry.sha256, path)
    return folder / ACTOR


def merge(actor: Path, target: Path, base: Path, dtype: str) -> None:
    """Runs the merger in a process of its own, then restores what belongs to the base model. Raises TrainingFailed."""
    command = [sys.executable, *MERGER, "--shards", str(actor), "--target", str(target), "--dtype", dtype]
    child = Child(command, {"CUDA_VISIBLE_DEVICES": ""}, target.parent, lambda _line: None)
    code = _awaited(child)
    if code != 0 or not any(target.glob("*.safetensors")):
        raise TrainingFailed(f"merging the shards ended with exit code {code}; {excerpt(list(child.lines))}")
    keep_own(base, target)


def keep_own(base: Path, target: Path) -> None:
    """Puts the base's own files beside weights that were made of it."""
    for name in FROM_BASE:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)


def _awaited(child: Child) -> int:
    """Its exit code. The bytes that it moves meanwhile are progress: hundreds of gigabytes take their time."""
    others = Others(MOVED)
    while child.poll() is None:
        others.moved(child.moved_bytes())
        time.sleep(POLL_SECONDS)
    return child.wait()


def model_files(store: Store, merged: Path) -> list[FileEntry]:
    """The merged model in the store, as entries under `model/`."""
    files = [p for p in sorted(merged.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    return store.put_files([(f"model/{p.relative_to(merged).as_posix()}", p) for p in files])


def counts(curve: Sequence[CurvePoint], dropped_prompts: int = 0) -> Counts:
    """Trajectories of all steps, less those that do not count; prompts that were too long to make any are dropped."""
    seen = sum(p.trajectories or 0 for p in curve)
    names = ("masked", "unscored", "overlong")
    masked, unscored, overlong = (sum(getattr(p, name) or 0 for p in curve) for name in names)
    outages = masked - unscored - overlong
    reasons = {"outage": outages, "unscored": unscored, "overlong": overlong, "prompt-too-long": dropped_prompts}
    dropped = [Dropped(reason=reason, count=count) for reason, count in reasons.items() if count]
    return Counts(in_=seen + dropped_prompts, out=seen - masked, dropped=dropped)


def outcome(curve: Sequence[CurvePoint]) -> dict[str, float]:
    """Numbers of a run: rewards of the first and last thirds of its steps, the last reward, steps."""
    rewards = [p.reward for p in curve if p.reward is not None]
    if not rewards:
        return {}
    third = max(1, len(rewards) // 3)
    return {
        "reward": rewards[-1],
        "rewardFirstThird": sum(rewards[:third]) / third,
        "rewardLastThird": sum(rewards[-third:]) / third,
        "steps": float(len(rewards)),
    }
