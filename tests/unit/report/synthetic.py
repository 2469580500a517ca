"""A round's manifests as a store would hold them, small enough to read, with text that must be escaped."""

from __future__ import annotations

import json
import random
from typing import Any

from flywheel_api.artifacts import Counts, FileEntry, Manifest, Owner, RoleUsage, ServedBy, Usage
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import Stage, StageConfig
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

OWNER = Owner(kind="FlywheelRound", namespace="flywheel-demo", name="demo", uid="7c0c6a0e-61f4-4a53-8d3c-2f8d6b6f1f10")
HOSTILE = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>"
BASE_MODEL = "sha256:" + "b" * 64
SPEC = FlywheelRoundSpec.model_validate(
    {
        "campaign": "demo",
        "base": {"model": BASE_MODEL},
        "endpoints": [
            {"role": "Policy", "pool": {"gpusPerReplica": 0}},
            {"role": "Teacher", "url": "http://user:hunter2@standin.flywheel-demo.svc:8000/v1", "model": "teacher"},
        ],
        "reasoning": {"seeds": "builtin://arithmetic"},
        "agentic": {"personas": "builtin://personas", "domains": ["airline"]},
        "evaluation": {"suites": [{"name": "arithmetic-heldout", "gate": {"minGainOverBase": "0"}}]},
    }
)
# stage, start and end in minutes, in, out, drops, tokens of the Teacher
_STAGES: tuple[tuple[str, float, float, int, int, dict[str, int], int], ...] = (
    ("Preflight", 0.0, 0.02, 0, 0, {}, 0),
    ("Prepare", 0.02, 0.2, 300, 300, {}, 0),
    ("ServeBase", 0.02, 1.5, 0, 0, {}, 0),
    ("EvaluateBase", 1.5, 3.4, 96, 96, {}, 0),
    ("MineReasoning", 1.5, 3.6, 64, 41, {"always right": 3, "never right": 20}, 0),
    ("SynthesizeReasoning", 3.6, 3.9, 41, 190, {"not JSON after one repair": 15}, 41200),
    (
        "VerifyReasoning",
        3.9,
        4.3,
        190,
        140,
        {"votes differ": 31, "near duplicate": 17, "in a held-out suite": 2},
        96400,
    ),
    ("SeedAgentic", 1.5, 2.2, 24, 24, {}, 11000),
    ("ExpandAgentic", 2.2, 2.5, 24, 18, {"no legal branch": 6}, 26000),
    ("InvertAgentic", 2.5, 2.8, 108, 97, {"state does not reach the branch": 11}, 18000),
    ("SolveAgentic", 2.8, 4.2, 97, 71, {"not solved in 3 attempts": 16, "trap taken": 10}, 88000),
    ("Package", 4.3, 4.5, 252, 252, {}, 0),
    ("TrainReasoning", 4.6, 9.6, 112, 112, {}, 0),
    ("TrainAgentic", 9.7, 15.9, 60, 60, {}, 0),
    ("ServeCandidate", 15.9, 17.3, 0, 0, {}, 0),
    ("EvaluateCandidate", 17.3, 19.1, 96, 96, {}, 0),
    ("Gate", 19.1, 19.2, 192, 192, {}, 0),
    ("Report", 19.2, 0.0, 0, 0, {}, 0),
)


def _file(store: Store, path: str, records: list[dict[str, Any]]) -> FileEntry:
    sha, size = store.put_blob("".join(json.dumps(r) + "\n" for r in records).encode())
    return FileEntry(path=path, sha256=sha, size=size, records=len(records))


def _time(minutes: float) -> str:
    return f"2026-11-23T10:{int(minutes):02d}:{int(minutes % 1 * 60):02d}Z"


def _curve(seed: int, steps: int, start: float, end: float, outcomes: bool) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    curve: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        mean = start + (end - start) * (step - 1) / (steps - 1)
        point: dict[str, Any] = {"step": step, "reward": min(1.0, max(0.0, mean + rng.gauss(0, 0.07)))}
        if outcomes:
            point["byOutcome"] = {"cancelled": {"reward": mean * 0.8, "n": 8}, "returned": {"reward": mean, "n": 8}}
        else:
            point["success"] = point["reward"] / 2
        curve.append(point)
    return curve


def _samples(shift: float) -> list[dict[str, Any]]:
    arithmetic = [
        {
            "suite": "arithmetic-heldout",
            "item": f"add-{i}",
            "repeat": 0,
            "score": float(i % 3 == 0 or shift > 0),
            "expected": str(11 + i),
            "messages": [
                {"role": "user", "content": f"What is {i} + 11?"},
                {"role": "assistant", "content": f"{11 + i}" if i else HOSTILE},
            ],
        }
        for i in range(6)
    ]
    call = {"function": {"name": "cancel_order", "arguments": {"id": 12, "note": HOSTILE}}}
    look = {"type": "function", "function": {"name": "get_order", "arguments": '{"id": 12}'}}
    airline = [
        {
            "suite": "airline-heldout",
            "item": "undo-12",
            "repeat": 1,
            "score": 1.0 if shift > 0 else 0.0,
            "outcome": "cancelled",
            "messages": [
                {
                    "role": "system",
                    "content": "You help customers of an airline. Look an order up before you change it.",
                },
                {"role": "user", "content": "Undo order 12."},
                *([{"role": "assistant", "content": "", "tool_calls": [look]}] if shift > 0 else []),
                *([{"role": "tool", "content": '{"status": "pending"}'}] if shift > 0 else []),
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": '{"ok": true}'},
                {"role": "assistant", "content": "Order 12 is cancelled."},
            ],
        }
    ]
    return arithmetic + airline


def _evaluation(arithmetic: float, airline: float) -> dict[str, Any]:
    def suite(track: str, score: float, items: int, groups: dict[str, Any]) -> dict[str, Any]:
        interval = [max(0.0, score - 0.08), min(1.0, score + 0.08)]
        return {"track": track, "score": score, "interval": interval, "items": items, "repeats": 4, "groups": groups}

    reasons = {"early-write": 12, "no-write": 3}
    outcomes = {"cancelled": {"score": airline - 0.1, "n": 52}, "returned": {"score": airline + 0.1, "n": 52}}
    return {
        "suites": {
            "arithmetic-heldout": suite("reasoning", arithmetic, 40, {}),
            "airline-heldout": suite("agentic", airline, 26, outcomes) | {"reasons": reasons},
        }
    }


def _details(stage: str, store: Store) -> dict[str, Any]:
    if stage == Stage.EVALUATE_BASE:
        return _evaluation(0.31, 0.346)
    if stage == Stage.EVALUATE_CANDIDATE:
        return _evaluation(0.74, 0.587)
    if stage == Stage.TRAIN_REASONING:
        return {"curve": _curve(1, 12, 0.33, 0.9, outcomes=False), "rollouts": "sha256:" + "d" * 64}
    if stage == Stage.TRAIN_AGENTIC:
        return {"curve": _curve(2, 6, 0.35, 0.6, outcomes=True), "rollouts": "sha256:" + "e" * 64}
    if stage == Stage.PACKAGE:
        return {"datasets": {"reasoning": {"train": "sha256:" + "1" * 64}, "agentic": {"train": "sha256:" + "2" * 64}}}
    if stage == Stage.GATE:
        gate = {"base": 0.31, "baseInterval": [0.23, 0.39], "candidate": 0.74, "candidateInterval": [0.66, 0.82]}
        suites = [
            {"suite": "arithmetic-heldout", **gate, "gain": 0.43, "gainInterval": [0.33, 0.53], "gate": "Passed"},
            {"suite": "airline-heldout", "gain": 0.24, "gainInterval": [-0.02, 0.45], "gate": "None"},
        ]
        return {"verdict": "Promoted", "reasons": ["arithmetic-heldout: gain 0.430 is at least 0"], "suites": suites}
    return {}


def _inputs(stage: str, digests: dict[str, str]) -> dict[str, str]:
    reads = {
        "EvaluateBase": ("Prepare",),
        "MineReasoning": ("Prepare",),
        "SynthesizeReasoning": ("Prepare", "MineReasoning"),
        "VerifyReasoning": ("Prepare", "SynthesizeReasoning"),
        "SeedAgentic": ("Prepare",),
        "ExpandAgentic": ("Prepare", "SeedAgentic"),
        "InvertAgentic": ("Prepare", "ExpandAgentic"),
        "SolveAgentic": ("Prepare", "InvertAgentic"),
        "Package": ("Prepare", "MineReasoning", "VerifyReasoning", "SolveAgentic"),
        "EvaluateCandidate": ("Prepare",),
        "Gate": ("Prepare", "EvaluateBase", "EvaluateCandidate"),
    }
    inputs = {name: digests[name] for name in reads.get(stage, ())}
    if stage == "TrainReasoning":
        inputs = {"model": BASE_MODEL, "train-0": "sha256:" + "1" * 64}
    if stage == "TrainAgentic":
        inputs = {"model": digests["TrainReasoning"], "train-0": "sha256:" + "2" * 64}
    if stage == "EvaluateBase":
        inputs["model"] = BASE_MODEL
    if stage == "EvaluateCandidate":
        inputs["model"] = digests["TrainAgentic"]
    return inputs


def _kind(stage: str) -> str:
    kinds = {"Gate": "Verdict", "TrainReasoning": "Checkpoint", "TrainAgentic": "Checkpoint"}
    return kinds.get(stage, "Evaluation" if stage.startswith("Evaluate") else "Dataset")


def make_round() -> tuple[StageConfig, Store]:
    """The config of the Report stage of a finished round, and the store with its manifests."""
    store = Store(MemoryBucket())
    digests: dict[str, str] = {}
    timeline: list[dict[str, Any]] = []
    for name, start, end, items_in, items_out, drops, tokens in _STAGES:
        entry: dict[str, Any] = {"name": name, "state": "Succeeded", "attempt": 1, "startedAt": _time(start)}
        dropped = [{"reason": r, "count": n} for r, n in drops.items()]
        if name == "Report":
            timeline.append(entry | {"state": "Running"})
            continue
        entry["finishedAt"] = _time(end)
        if items_in:
            entry["counts"] = {"in": str(items_in), "out": str(items_out), "dropped": str(sum(drops.values()))}
            entry["dropped"] = [{"reason": r, "count": str(n)} for r, n in drops.items()]
        if tokens:
            entry["tokens"] = [{"role": "Teacher", "tokens": str(tokens)}]
        if not name.startswith("Serve") and name != "Preflight":
            files = [_file(store, "data.jsonl", [{"id": i} for i in range(3)])]
            if name.startswith("Evaluate"):
                files.append(_file(store, "samples.jsonl", _samples(1.0 if "Candidate" in name else 0.0)))
            roles = [
                RoleUsage(role="Teacher", calls=90, prompt_tokens=tokens // 2, completion_tokens=tokens // 2, seconds=8)
            ]
            served = [ServedBy(role="Teacher", model="teacher", owned_by="flywheel-standin", standin=True)]
            policy = [RoleUsage(role="Policy", calls=384, prompt_tokens=30000, completion_tokens=9000, seconds=240)]
            manifest = Manifest.model_validate(
                {
                    "kind": _kind(name),
                    "owner": OWNER,
                    "stage": name,
                    "attempt": 1,
                    "inputs": _inputs(name, digests),
                    "config_digest": "sha256:" + "c" * 64,
                    "files": files,
                    "counts": Counts.model_validate({"in": items_in, "out": items_out, "dropped": dropped}),
                    "usage": Usage(seconds=(end - start) * 60, roles=roles if tokens else policy),
                    "details": _details(name, store),
                    "served_by": served if tokens else [],
                    "standin": bool(tokens),
                    "notice": "scripted stand-in; scores are not comparable to the paper" if tokens else None,
                    "code_version": "0.1.0",
                    "image": "localhost/flywheel/ray-cpu:0.1.0"
                    if name.startswith("Train")
                    else "localhost/flywheel/jobs:0.1.0",
                    "created_at": _time(end),
                }
            )
            digests[name] = entry["manifest"] = store.put_manifest(manifest)
        timeline.append(entry)
    config = StageConfig(
        stage=Stage.REPORT,
        owner=OWNER,
        attempt=1,
        spec=SPEC,
        inputs={"Gate": digests["Gate"]},
        base_model=BASE_MODEL,
        candidate_model=digests["TrainAgentic"],
        timeline=timeline,
    )
    return config, store
