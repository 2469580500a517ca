"""Parts `grpo` and `agentic`: verl as the driver starts and watches it; then merged and loaded again."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpu.notes import FW, GB, MODEL, Notes, Result, wait_for_model

DIGEST = "sha256:" + "a" * 64  # the spec wants a reference; the paths below are what is read
KEPT = ("timing_s/", "perf/max_memory", "actor/grad_norm", "rollout_corr", "training/rollout")  # of verl's numbers


def reasoning_rows(path: Path) -> int:
    from flywheel_api.records.prompt import of_problem
    from flywheel_jobs.seeds import numeracy

    return write_rows(path, map(of_problem, numeracy.seeds(random.Random(1), 128, ("add", "sub"))))


def booking_rows(path: Path) -> int:
    from flywheel_api.records.prompt import of_task
    from flywheel_jobs.agentic import heldout
    from flywheel_jobs.domains import packages
    from flywheel_jobs.domains.shelf import Shelf
    from flywheel_jobs.seeds import personas

    shelf, booking = Shelf(path.parent / "packages"), packages.builtin("booking")
    shelf.put(booking)
    return write_rows(path, map(of_task, heldout.build("booking-heldout", 64, personas.builtin(), booking, shelf)))


def write_rows(path: Path, prompts: Iterable[Any]) -> int:
    """A training set as Package writes it; the number of its rows."""
    from flywheel_api.results import Split
    from flywheel_jobs.stages import package

    examples = [package.Example(f"row {n}", prompt) for n, prompt in enumerate(prompts)]
    path.write_bytes(package.parquet([p.row() for p in package.numbered(examples, Split.TRAIN)]))
    return len(examples)


def specification(kind: str) -> Any:
    """One GPU; everything else as the presets of the demo and the defaults say."""
    from flywheel_api.common import DomainRef
    from flywheel_api.rljob import (
        AgentLoopSpec,
        AlgorithmSpec,
        CheckpointSpec,
        DataSpec,
        RewardSpec,
        RewardType,
        RLJobSpec,
    )

    common: Result = {"model": DIGEST, "data": DataSpec(train=[DIGEST]), "nodes": 1, "gpus_per_node": 1, "seed": 1}
    if kind == "grpo":
        return RLJobSpec(
            **common,
            reward=RewardSpec(type=RewardType.MATH),
            checkpoint=CheckpointSpec(every_steps=4),
            algorithm=AlgorithmSpec(
                group_size=8,
                prompts_per_step=16,
                mini_batch_prompts=8,
                learning_rate="2e-5",
                epochs=10,
                max_steps=4,
                max_prompt_tokens=128,
                max_response_tokens=64,
            ),
        )
    return RLJobSpec(
        **common,
        reward=RewardSpec(type=RewardType.STATE_DIFF),
        checkpoint=CheckpointSpec(every_steps=2),
        agent_loop=AgentLoopSpec(domains=[DomainRef(name="booking")], max_turns=3),
        algorithm=AlgorithmSpec(
            group_size=8,
            prompts_per_step=8,
            mini_batch_prompts=8,
            learning_rate="2e-5",
            temperature="0.8",
            epochs=10,
            max_steps=2,
            max_prompt_tokens=512,
            max_response_tokens=192,
        ),
    )


def settings_of(kind: str, workspace: Any, train: Path, extra: list[str], mark: str) -> Result:
    """Exactly what the driver tells verl (`flywheel_jobs.trainer.driver`), for one machine without a network."""
    from flywheel_api.verl.settings import settings
    from flywheel_jobs.trainer.standalone import ray_settings

    told = settings(specification(kind), workspace.paths([train], [], None), f"gpu-check-{kind}", "check", mark=mark)
    more = {key: json.loads(value) for key, _, value in (o.partition("=") for o in extra)}
    return told | ray_settings() | more


class Card(threading.Thread):
    """Watches the card's memory; the highest value since it was last asked."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = self.highest = self.lowest_later = 0
        self.processes: dict[str, int] = {}
        self.over = threading.Event()

    def run(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            while not self.over.wait(0.2):
                used = pynvml.nvmlDeviceGetMemoryInfo(handle).used
                self.peak, self.highest = max(self.peak, used), max(self.highest, used)
                for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                    self.processes[str(p.pid)] = max(self.processes.get(str(p.pid), 0), p.usedGpuMemory or 0)
        except Exception as error:
            print(f"no watch of the card: {error}", flush=True)

    def take(self) -> float:
        value, self.peak = self.peak, 0
        return round(value / GB, 2)


def train(kind: str, notes: Notes, args: argparse.Namespace) -> None:
    """verl as the driver starts it, watched as the driver watches it; then merged and loaded again."""
    from flywheel_api.verl.hardware import rollout_dtype
    from flywheel_api.verl.settings import worker_environment
    from flywheel_jobs.trainer import metrics, publish, signals
    from flywheel_jobs.trainer.driver import SETTINGS, STARTUP_SIGNS, TRAINER
    from flywheel_jobs.trainer.process import Child
    from flywheel_jobs.trainer.workspace import Workspace

    root = FW / "run" / kind
    shutil.rmtree(root, ignore_errors=True)
    workspace = Workspace(root=root, model=MODEL)
    workspace.data.mkdir(parents=True)
    data = workspace.data / "train.parquet"
    notes.put(rows=(reasoning_rows if kind == "grpo" else booking_rows)(data))
    spec = specification(kind)
    mark = os.urandom(8).hex()
    told = settings_of(kind, workspace, data, args.override, mark)
    notes.put(settings=told)
    settings_file = root / SETTINGS
    settings_file.write_text(json.dumps(told))
    environment = worker_environment(spec, str(workspace.rollouts), mark) | {"RAY_DEDUP_LOGS": "0"}
    if args.no_ipc:
        environment["VERL_USE_EXTERNAL_MODULES"] = "gpu.no_cuda_ipc"
    wait_for_model()
    card = Card()
    card.start()
    started = time.monotonic()
    steps: list[Result] = []
    milestones: Result = {}
    waiting = list(STARTUP_SIGNS)

    def on_line(line: str) -> None:
        for said in signals.parse(line, mark):
            if isinstance(said, signals.Stepped):
                raw = {k: round(v, 3) for k, v in said.numbers.items() if k.startswith(KEPT)}
                point = metrics.point_of(said.step, said.numbers)
                at = round(time.monotonic() - started, 1)
                seen = {} if point is None else point.model_dump(mode="json", exclude_none=True)
                steps.append(seen | {"at": at, "card_gb": card.take(), "raw": raw})
                notes.put(steps=steps)
            else:
                notes.put(**{f"signal_{type(said).__name__.lower()}": said.model_dump()})
        if waiting and waiting[0][0] in line:
            milestones[waiting.pop(0)[1]] = round(time.monotonic() - started, 1)
            notes.put(milestones=milestones, card_before_step=card.highest / GB)

    child = Child([sys.executable, *TRAINER, str(settings_file)], environment, root / "run", on_line)

    def end(*_: object) -> None:
        child.stop()
        os._exit(143)

    signal.signal(signal.SIGTERM, end)
    code = child.wait()
    card.over.set()
    notes.put(
        exit_code=code,
        seconds=round(time.monotonic() - started, 1),
        card_highest_gb=round(card.highest / GB, 2),
        processes_gb={k: round(v / GB, 2) for k, v in card.processes.items()},
    )
    if code != 0:
        from flywheel_jobs.trainer.failures import diagnose

        failure = diagnose(code, list(child.lines))
        notes.put(diagnosis=str(failure)[:1500], last_lines=[line[-400:] for line in list(child.lines)[-60:]])
        return
    step = spec.algorithm.max_steps
    checkpoint = workspace.checkpoints / f"global_step_{step}"
    notes.put(
        checkpoint={
            str(p.relative_to(checkpoint)): p.stat().st_size for p in sorted(checkpoint.rglob("*")) if p.is_file()
        }
    )
    notes.put(
        rollouts={
            str(p.relative_to(root)): sum(1 for _ in p.open()) for p in sorted((root / "rollouts").rglob("*.jsonl"))
        }
    )
    sample = next(iter(sorted((root / "rollouts").rglob("*.jsonl"))), None)
    if sample is not None:
        notes.put(
            sample={
                k: v
                for k, v in json.loads(sample.open().readline()).items()
                if k in ("messages", "score", "turns", "closed", "details")
            }
        )

    def merge() -> Result:
        begun = time.monotonic()
        publish.merge(checkpoint / "actor", workspace.merged, MODEL, rollout_dtype(spec))
        return {
            "seconds": round(time.monotonic() - begun, 1),
            "files": {p.name: p.stat().st_size for p in sorted(workspace.merged.iterdir())},
        }

    if notes.attempt("merged", merge) is not None:
        notes.attempt("reloaded", lambda: reload(workspace.merged))


def reload(folder: Path) -> Result:
    """The merged model loads, differs from its base, and answers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, tuned = (AutoModelForCausalLM.from_pretrained(p, dtype=torch.bfloat16) for p in (MODEL, folder))
    pairs = list(zip(base.parameters(), tuned.parameters(), strict=True))
    changed = sum(int((a != b).sum()) for a, b in pairs)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "2+4"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = tuned.generate(**ids, max_new_tokens=8, do_sample=False)  # on the CPU, where the base is too
    return {
        "weights": sum(a.numel() for a, _ in pairs),
        "changed": changed,
        "largest": max(float((a - b).abs().max()) for a, b in pairs),
        "answer": tokenizer.decode(out[0][ids["input_ids"].shape[1] :]),
    }


def part_grpo(notes: Notes, args: argparse.Namespace) -> None:
    train("grpo", notes, args)


def part_agentic(notes: Notes, args: argparse.Namespace) -> None:
    train("agentic", notes, args)
