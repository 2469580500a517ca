"""Stands in for `-m verl.trainer.main_ppo` and `-m flywheel_jobs.trainer.merge` in tests of the driver.

It keeps verl's side of the contract: hydra arguments in; `global_step_<n>` folders, the tracker file and console lines
out; resumes from the tracker. FAKE_VERL says where to end: `crash:<step>` (after its checkpoint) or `hang:<step>`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def train(arguments: list[str]) -> int:
    if "FAKE_VERL_LOG" in os.environ:
        Path(os.environ["FAKE_VERL_LOG"]).write_text("started")
    settings = dict(a.lstrip("+").split("=", 1) for a in arguments)
    root = Path(settings["trainer.default_local_dir"])
    rollouts = Path(settings["ray_kwargs.ray_init.runtime_env.env_vars.FLYWHEEL_ROLLOUTS"])
    total, every = int(settings["trainer.total_training_steps"]), int(settings["trainer.save_freq"])
    tracker = root / "latest_checkpointed_iteration.txt"
    start = int(tracker.read_text()) if tracker.exists() else 0
    if start:
        assert (root / f"global_step_{start}" / "actor" / "model_world_size_1_rank_0.pt").exists()
    how, _, where = os.environ.get("FAKE_VERL", "").partition(":")
    for step in range(start + 1, total + 1):
        folder = rollouts / f"step-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"id": f"{step}-{i}", "track": "reasoning", "item": "i", "score": step / 10} for i in range(2)]
        (folder / "1.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        print('(TaskRunnerV1 pid=1) flywheel-groups {"groups": 2, "masked": 0, "zero_variance": 1}', flush=True)
        if step % every == 0 or step == total:
            save(root, step)
        line = f"step:{step} - critic/score/mean:0.5 - timing_s/step:2.0 - perf/total_num_tokens:100"
        print(f"\x1b[36m(TaskRunnerV1 pid=1)\x1b[0m {line}", flush=True)
        if how == "crash" and step == int(where):
            print("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.")
            return 1
        if how == "hang" and step == int(where):
            time.sleep(600)
    return 0


def save(root: Path, step: int) -> None:
    actor = root / f"global_step_{step}" / "actor"
    actor.mkdir(parents=True, exist_ok=True)
    (actor / "model_world_size_1_rank_0.pt").write_text(f"weights {step}")
    (actor.parent / "data.pt").write_text("loader")
    (root / "latest_checkpointed_iteration.txt").write_text(str(step))
    payload = json.dumps({"step": step, "directory": str(actor.parent)})
    print(f"(TaskRunnerV1 pid=1) flywheel-checkpoint {payload}", flush=True)


def merge(arguments: list[str]) -> int:
    source = Path(arguments[arguments.index("--shards") + 1])
    target = Path(arguments[arguments.index("--target") + 1])
    target.mkdir(parents=True)
    (target / "model.safetensors").write_text((source / "model_world_size_1_rank_0.pt").read_text())
    (target / "tokenizer.json").write_text("changed by the merger")
    (target / "dtype").write_text(arguments[arguments.index("--dtype") + 1])
    return 0


if __name__ == "__main__":
    sys.exit(merge(sys.argv[1:]) if sys.argv[1:2] == ["--shards"] else train(sys.argv[1:]))
