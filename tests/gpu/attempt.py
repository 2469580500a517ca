"""The parts that train: an attempt of an RLJob each, by the project's own entry point, over a store in memory.

`resumed` has two: what holds the card is killed once the first has committed a checkpoint, the second goes on from it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from gpu import scored
from gpu.notes import FW, GB, MODEL, PART, Notes, Result, kill, marked, wait_for_model
from gpu.training import BESIDE, DATA, KINDS, specification

NAMESPACE = "gpu-check"


class Card(threading.Thread):
    """Watches the card's memory; the highest value since it was last asked."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = self.highest = 0
        self.over = threading.Event()

    def run(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            while not self.over.wait(0.2):
                used = pynvml.nvmlDeviceGetMemoryInfo(handle).used
                self.peak, self.highest = max(self.peak, used), max(self.highest, used)
        except Exception as error:
            print(f"no watch of the card: {error}", flush=True)

    def take(self) -> float:
        value, self.peak = self.peak, 0
        return round(value / GB, 2)


class Loss(threading.Thread):
    """Kills what the part has on the card, once: a GPU that is lost, as seen by those that drive the training."""

    def __init__(self, notes: Notes) -> None:
        super().__init__(daemon=True)
        self._notes = notes

    def run(self) -> None:
        lost = sorted(on_the_card() & set(own_processes()))
        self._notes.put(killed={pid: title(pid) for pid in lost})
        kill(lost)


def on_the_card() -> set[int]:
    """The processes of all parts that compute there."""
    import pynvml

    pynvml.nvmlInit()
    return {p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0))}


def own_processes() -> list[int]:
    """What this part started."""
    return [pid for pid in marked(f"{PART}={os.environ[PART]}") if pid != os.getpid()] if PART in os.environ else []


def title(pid: int) -> str:
    """What a process calls itself."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")


class Watch:
    """What the operator would read in the store while an attempt runs, with the seconds since it began."""

    def __init__(self, notes: Notes, card: Card) -> None:
        self._notes, self._card = notes, card
        self._started = time.monotonic()
        self._said: list[tuple[float, str]] = []
        self._steps: dict[int, Result] = {}
        self.at_a_checkpoint: threading.Thread | None = None  # is started at the next one

    def told(self, key: str, data: bytes) -> None:
        from flywheel_api.artifacts import StepRecord

        at = round(time.monotonic() - self._started, 1)
        if "/checkpoints/" in key and self.at_a_checkpoint is not None:
            self._said.append((at, f"committed {key.rpartition('/')[2]}"))
            self.at_a_checkpoint.start()
            self.at_a_checkpoint = None
        if key.endswith("/progress.json"):
            text = json.loads(data).get("text", "")
            if text and text not in [said for _, said in self._said[-1:]]:
                self._said.append((at, text))
                self._notes.put(progress=self._said, card_highest_gb=round(self._card.highest / GB, 2))
        elif "/steps/" in key:
            point = StepRecord.model_validate_json(data).point
            seen = point.model_dump(mode="json", exclude_none=True)
            self._steps[point.step] = seen | {"at": at, "card_gb": self._card.take()}
            self._notes.put(steps=list(self._steps.values()))


def memory_store(watch: Watch) -> Any:
    """The store of everything in this process: passes the contract of a real one."""
    from flywheel_jobs.storage.store import Store
    from flywheel_store.memory import MemoryBucket

    class Watched(MemoryBucket):
        def put(self, key: str, data: bytes, content_type: str = "") -> None:
            super().put(key, data, content_type)
            watch.told(key, data)

    store = Store(Watched())
    Store.from_env = classmethod(lambda *_given: store)  # type: ignore[method-assign, assignment]
    return store


def put_inputs(store: Any, kind: str) -> dict[str, str]:
    """The base model and the part's data sets in the store; their digests by name."""
    from flywheel_api.artifacts import FileEntry, Manifest, Owner
    from flywheel_api.results import DatasetResult, ModelResult, Split, Track
    from flywheel_jobs.core.clock import now
    from flywheel_jobs.stages.package import parquet
    from flywheel_jobs.storage.models import imported

    files = store.put_files([(f"model/{p.name}", p) for p in sorted(MODEL.iterdir()) if p.name != "done"])
    refs = {"model": imported(store, "models/base", files, {"name": "base"}, ModelResult()).digest}
    for name in KINDS[kind]:
        sha, size = store.put_blob(parquet(DATA[name]()))
        manifest = Manifest(
            owner=Owner(kind="FlywheelRound", namespace=NAMESPACE, name="round", uid="round"),
            stage="Package",
            attempt=1,
            files=[FileEntry(path=f"{name}.parquet", sha256=sha, size=size)],
            result=DatasetResult(track=Track.REASONING, split=Split.TRAIN),
            created_at=now(),
        )
        refs[name] = store.put_manifest(manifest)
    return refs


def configuration(kind: str, number: int, overrides: Result, refs: dict[str, str]) -> Any:
    """What the operator would hand to an attempt of that number."""
    from flywheel_api.artifacts import Owner
    from flywheel_api.content import content_key, training_content
    from flywheel_api.stages import TrainConfig

    spec = specification(kind, overrides, refs)
    made_of = training_content(spec, spec.model)
    owner = Owner(kind="RLJob", namespace=NAMESPACE, name=kind.replace("_", "-"), uid=kind)
    key = content_key(made_of)
    return TrainConfig(owner=owner, attempt=number, content_key=key, made_of=made_of, spec=spec, model=spec.model)


def train(kind: str, notes: Notes, args: argparse.Namespace) -> None:
    """Attempts as a RayJob's entry point makes them; what they left in the store; the model that was published."""
    from flywheel_api.stages import MODEL_DIR_ENV, TRAIN_CONFIG_ENV
    from flywheel_api.verl.settings import PLUGINS_ENV
    from flywheel_jobs.trainer import main
    from flywheel_jobs.trainer.workspace import WORK_DIR_ENV

    root = FW / "run" / kind
    shutil.rmtree(root, ignore_errors=True)
    wait_for_model()
    card = Card()
    card.start()
    watch = Watch(notes, card)
    store = memory_store(watch)
    own = {key: json.loads(value) for key, _, value in (o.partition("=") for o in args.override)}
    overrides, refs = (BESIDE if args.beside else {}) | own, put_inputs(store, kind)
    plugins = ["gpu.head", *(["gpu.apart"] if args.beside else []), *(["gpu.no_cuda_ipc"] if args.no_ipc else [])]
    os.environ |= {
        WORK_DIR_ENV: str(root),
        MODEL_DIR_ENV: str(root / "model"),
        PLUGINS_ENV: ",".join(plugins),
        "CUDA_VISIBLE_DEVICES": "",  # as on a head, see `head`
    }
    notes.put(overrides=overrides)
    started, codes = time.monotonic(), list[int]()
    attempts = (1, 2) if kind == "resumed" else (1,)
    for number in attempts:
        watch.at_a_checkpoint = Loss(notes) if number < len(attempts) else None
        config = configuration(kind, number, overrides, refs)
        os.environ[TRAIN_CONFIG_ENV] = config.model_dump_json(by_alias=True)
        codes.append(main.main())
        notes.put(exit_codes=codes, seconds=round(time.monotonic() - started, 1))
        kill(own_processes())  # Ray's daemons: the next attempt has pods of its own
    card.over.set()
    report(store, config, root, notes)


def report(store: Any, config: Any, root: Path, notes: Notes) -> None:
    """The commits of the attempts, or their failure records; the model compared with what it started from."""
    from flywheel_api import artifacts
    from flywheel_api.stages import TRAIN_STAGE
    from flywheel_jobs.storage.models import fetch_model

    owner, key = config.owner, config.content_key
    failures = [store.get_json(artifacts.failure_key(owner.uid, TRAIN_STAGE, n + 1)) for n in range(config.attempt)]
    if any(failures):
        notes.put(failures=failures)
    held = (
        ("checkpoints", artifacts.checkpoints_prefix(NAMESPACE, key)),
        ("steps", artifacts.steps_prefix(NAMESPACE, key)),
        ("tensorboard", artifacts.board_prefix(NAMESPACE, key)),
        ("log pieces", artifacts.log_prefix(owner.uid, TRAIN_STAGE, config.attempt)),
    )
    notes.put(in_the_store={name: len(store.list_keys(prefix)) for name, prefix in held})
    manifest = store.manifest_at(artifacts.manifest_key(NAMESPACE, key))
    if manifest is None:
        return
    result = manifest.result
    state = store.get_manifest(result.training_state)
    notes.put(
        committed={
            "step": result.step,
            "trained": result.trained_steps,
            "resumed from": result.resumed_from_step,
            "unhealthy": result.unhealthy,
            "counts": manifest.counts.model_dump(),
        },
        published={f.path: f.size for f in manifest.files},
        checkpoint={f.path: f.size for f in state.files if f.size > 1e6},
        trajectories=sum(f.records or 0 for f in store.get_manifest(result.rollouts).files),
        warmed_up=result.warm_up and result.warm_up.model_dump(),
    )
    notes.attempt("sample", lambda: sample(store, result.rollouts))
    models = {"published": manifest.digest}
    if result.warm_up is not None:
        models = {"warm": manifest.inputs["warmModel"], **models}
    base = MODEL
    for name, digest in models.items():
        folder = root / name
        fetch_model(store, digest, folder)
        notes.attempt(f"reloaded_{name}", partial(compared, base, folder))
        base = folder
    if owner.name == "climb":
        notes.attempt("held_out", partial(scored.apart, root / "scored.json", MODEL, base))


def sample(store: Any, rollouts: str) -> Result:
    """A trajectory to read."""
    last = store.get_manifest(rollouts).files[-1]
    first = json.loads(store.get_blob(last.sha256).splitlines()[0])
    return {name: first.get(name) for name in ("messages", "score", "turns", "closed", "details")}


def compared(base: Path, tuned: Path) -> Result:
    """The published model loads, differs from what it started from, and answers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_grad_enabled(False)
    before, after = (AutoModelForCausalLM.from_pretrained(p, dtype=torch.bfloat16) for p in (base, tuned))
    pairs = [(n, a, b) for (n, a), b in zip(before.named_parameters(), after.parameters(), strict=True)]
    changed = {name: int((a != b).sum()) for name, a, b in pairs}
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "2+4"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = after.generate(**ids, max_new_tokens=8, do_sample=False)  # on the CPU, where the base is too
    return {
        "weights": sum(a.numel() for _, a, _ in pairs),
        "changed": sum(changed.values()),
        "changed_in": sorted({name.split(".")[-2] for name, count in changed.items() if count}),
        "largest": max(float((a - b).abs().max()) for _, a, b in pairs),
        "answer": tokenizer.decode(out[0][ids["input_ids"].shape[1] :]),
    }
