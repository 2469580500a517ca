"""Stands in for `run_verl`, `run_sft` and `merge` of `flywheel_jobs.trainer` in tests of the driver.

It keeps verl's side of the contract: a file of settings in; `global_step_<n>` folders, the tracker file, records and
lines out; validates at checkpoints where it is told to; resumes from the tracker. FAKE_VERL says what happens, words
apart: `crash:<step>` (after its checkpoint), `hang:<step>`, `kept:<prompts>` (the others are too long),
`nan:<step>[-<step>]` (loss and gradient), `record:<file>` (further lines of every step's records), `scores:<one for
each step>`, `held:<validation, one for each step>`, `dead:<step>` (from there on no group differs), `say:<file>` (text
that a reward prints), `refuse` (the settings). FAKE_SFT does for the warm-up: `crash`, `hang`,
`nan`, `refuse`, or nothing; FAKE_VERL_LOG says which of the two was started.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def say(name: str, **fields: Any) -> None:
    """A signal as `signals.emit` writes it; imports of our own would take longer than the rest of a run."""
    print(f"(TaskRunnerV1 pid=1) flywheel:{os.environ['FLYWHEEL_SIGNALS']}:{name} {json.dumps(fields)}", flush=True)


def train(path: str) -> int:
    if "FAKE_VERL_LOG" in os.environ:
        with Path(os.environ["FAKE_VERL_LOG"]).open("a") as log:
            log.write(f"{Path(path).stem} ")
    settings = json.loads(Path(path).read_text())
    if "optim.lr" in settings:
        return fine_tune(settings, os.environ.get("FAKE_SFT", ""))
    does = dict(part.partition(":")[::2] for part in os.environ.get("FAKE_VERL", "").split())
    if "refuse" in does:
        say("refused", reason="SizesDoNotFit", message="verl refuses these settings: 30 by 16")
        return 64
    prompts = int(os.environ["FAKE_VERL_PROMPTS"])
    kept = int(does.get("kept", prompts))
    total = kept // settings["data.train_batch_size"] * settings["trainer.total_epochs"]
    total = min(total, settings["trainer.total_training_steps"] or total)
    say("planned", prompts=prompts, kept=kept, steps=total)
    return steps(settings, does, total)


def fine_tune(settings: dict[str, Any], does: str) -> int:
    if does == "refuse":
        say("refused", reason="TooLittleData", message="0 of 3 conversations fit")
        return 64
    say("planned", prompts=10, kept=8, steps=2)
    for step in (1, 2):
        say("step", step=step, numbers={"train/loss": float("nan") if does == "nan" else 2.0 / step})
        if does == "crash":
            print("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.")
            return 1
        if does == "hang":
            time.sleep(600)
    model = Path(settings["trainer.default_local_dir"]) / "global_step_2" / "huggingface"
    model.mkdir(parents=True)
    start = Path(settings["model.path"]) / "tokenizer.json"
    (model / "model.safetensors").write_text(f"fine-tuned from {start.read_text()}")
    (model / "tokenizer.json").write_text("as the trainer saves it")
    return 0


def steps(settings: dict[str, Any], does: dict[str, str], total: int) -> int:
    root = Path(settings["trainer.default_local_dir"])
    tracker = root / "latest_checkpointed_iteration.txt"
    start = int(tracker.read_text()) if tracker.exists() else 0
    if start:
        assert (root / f"global_step_{start}" / "actor" / "model_world_size_1_rank_0.pt").exists()
    first, _, last = does.get("nan", "0").partition("-")
    for step in range(start + 1, total + 1):
        record(Path(os.environ["FLYWHEEL_ROLLOUTS"]) / f"step-{step}", step, does)
        if "say" in does:
            print(Path(does["say"]).read_text(), flush=True)
        say("groups", groups=2, masked=0, zero_variance=2 if step >= int(does.get("dead", total + 1)) else 1)
        if step % settings["trainer.save_freq"] == 0 or step == total:
            save(root, step)
        broken = int(first) <= step <= int(last or first)
        numbers = {"critic/score/mean": 0.5, "timing_s/step": 2.0, "perf/total_num_tokens": 100}
        if settings["trainer.test_freq"] > 0 and (step % settings["trainer.test_freq"] == 0 or step == total):
            assert settings["data.val_files"] != settings["data.train_files"]
            numbers["val-core/d/reward/mean@1"] = float(does["held"].split(",")[step - 1])
        numbers["actor/grad_norm"] = float("nan") if broken else 0.25
        sys.stdout.write("\x1b[36mTraining Progress: 10%|#   | 1/10\x1b[0m")
        say("step", step=step, numbers=numbers)
        if does.get("crash") == str(step):
            print("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.")
            return 1
        if does.get("hang") == str(step):
            time.sleep(600)
    return 0


def record(folder: Path, step: int, does: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scores = does.get("scores", "").split(",")
    score = float(scores[step - 1]) if len(scores) >= step and scores[0] else step / 10
    rows = [{"id": f"{step}-{i}", "track": "reasoning", "item": "i", "score": score} for i in range(2)]
    lines = b"".join(json.dumps(r).encode() + b"\n" for r in rows)
    (folder / "1.jsonl").write_bytes(lines + (Path(does["record"]).read_bytes() if "record" in does else b""))


def save(root: Path, step: int) -> None:
    actor = root / f"global_step_{step}" / "actor"
    actor.mkdir(parents=True, exist_ok=True)
    (actor / "model_world_size_1_rank_0.pt").write_text(f"weights {step}")
    (actor.parent / "data.pt").write_text("loader")
    (root / "latest_checkpointed_iteration.txt").write_text(str(step))
    say("checkpoint", step=step)


def merge(arguments: list[str]) -> int:
    source = Path(arguments[arguments.index("--shards") + 1])
    target = Path(arguments[arguments.index("--target") + 1])
    target.mkdir(parents=True)
    (target / "model.safetensors").write_text((source / "model_world_size_1_rank_0.pt").read_text())
    (target / "tokenizer.json").write_text("changed by the merger")
    (target / "dtype").write_text(arguments[arguments.index("--dtype") + 1])
    return 0


if __name__ == "__main__":
    sys.exit(merge(sys.argv[1:]) if sys.argv[1:2] == ["--shards"] else train(sys.argv[1]))
