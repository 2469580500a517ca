"""A round's manifests as a store would hold them, small enough to read, with text that must be escaped."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from flywheel_api.artifacts import Counts, Dropped, FileEntry, Manifest, Owner, RoleUsage, ServedBy, Usage
from flywheel_api.records.base import Record
from flywheel_api.records.evaluation import EvaluationRow, GateRow
from flywheel_api.results import (
    CurvePoint,
    Difficulty,
    EvaluationResult,
    FormScore,
    GateOutcome,
    GroupScore,
    Loss,
    MatrixRow,
    MeasuredResult,
    OutcomeReward,
    PackagedDataset,
    PackageResult,
    PreparedResult,
    Result,
    SolvedResult,
    Split,
    SuiteScore,
    SuiteVerdict,
    Track,
    TrainingResult,
    Verdict,
    VerdictResult,
    VerifiedResult,
    WarmUpResult,
)
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.round_status import DropCount, RoleTokens, StageCounts, StageState, StageStatus
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
            {"role": "Teacher", "url": "http://standin.flywheel-demo.svc:8000/v1", "model": "teacher"},
        ],
        "reasoning": {"seeds": "builtin://numeracy"},
        "agentic": {"personas": "builtin://personas", "domains": [{"name": "booking"}]},
        "evaluation": {"suites": [{"name": "numeracy-heldout", "gate": {"minGainOverBase": "0"}}]},
    }
)
_SECRET = {"url": "http://user:hunter2@standin.flywheel-demo.svc:8000/v1"}  # as older CRDs took it
SPEC = SPEC.model_copy(update={"endpoints": [SPEC.endpoints[0], SPEC.endpoints[1].model_copy(update=_SECRET)]})
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
    ("MeasureReasoning", 4.3, 4.6, 110, 24, {"too-hard-for-policy": 50, "more-than-needed": 36}, 21000),
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


class MemoryStore(Store):
    """The real store's code over a bucket in memory."""

    def __init__(self) -> None:
        super().__init__(MemoryBucket())

    def file(self, path: str, records: Sequence[Record]) -> FileEntry:
        sha, size = self.put_blob("".join(json.dumps(r.dump()) + "\n" for r in records).encode())
        return FileEntry(path=path, sha256=sha, size=size, records=len(records))


def _time(minutes: float) -> str:
    return f"2026-11-23T10:{int(minutes):02d}:{int(minutes % 1 * 60):02d}Z"


def _curve(seed: int, steps: int, start: float, end: float, outcomes: bool) -> list[CurvePoint]:
    rng = random.Random(seed)
    curve = []
    for step in range(1, steps + 1):
        mean = start + (end - start) * (step - 1) / (steps - 1)
        reward = min(1.0, max(0.0, mean + rng.gauss(0, 0.07)))
        by_outcome = {"cancelled": OutcomeReward(reward=mean * 0.8, n=8), "returned": OutcomeReward(reward=mean, n=8)}
        more = {"by_outcome": by_outcome} if outcomes else {"success": reward / 2}
        curve.append(CurvePoint(step=step, reward=reward, **more, **_vitals(rng, step, mean)))
    return curve


def _vitals(rng: random.Random, step: int, mean: float) -> dict[str, Any]:
    """A training that goes well: form first, spread while it learns, a rate that rises over two steps."""
    return {
        "groups": 8,
        "zero_variance_groups": rng.randint(1, 4),
        "form_only_groups": 1,
        "reward_spread": 0.5 * (mean * (1 - mean)) ** 0.5 + rng.random() * 0.05,
        "format_rate": min(1.0, 0.6 + 0.05 * step),
        "distinct_answers": 0.7 - 0.02 * step,
        "entropy": 2.1 / (1 + step / 6),
        "kl": 0.0004 * step,
        "grad_norm": 0.8 + rng.random() * 0.4,
        "learning_rate": 2e-5 * min(1.0, step / 3),
        "truncated": rng.random() * 0.06,
        "trajectories": 64,
        "masked": rng.choice((0, 0, 0, 4)),
        "validation": {"reward": mean * 0.9} if step % 6 == 0 else {},
    }


def row(suite: str, item: str, score: float, repeat: int = 0, **more: Any) -> EvaluationRow:
    """A row of an evaluation."""
    return EvaluationRow(id=f"{suite}/{item}/{repeat}", suite=suite, item=item, repeat=repeat, score=score, **more)


def _samples(shift: float) -> list[EvaluationRow]:
    arithmetic = [
        row(
            "numeracy-heldout",
            f"add-{i}",
            float(i % 3 == 0 or shift > 0),
            expected=str(11 + i),
            messages=[
                {"role": "user", "content": f"What is {i} + 11?"},
                {"role": "assistant", "content": f"{11 + i}" if i else HOSTILE},
            ],
        )
        for i in range(6)
    ]
    call = {"function": {"name": "cancel_order", "arguments": {"id": 12, "note": HOSTILE}}}
    look = {"type": "function", "function": {"name": "get_order", "arguments": '{"id": 12}'}}
    messages = [
        {"role": "system", "content": "You help customers of an airline. Look an order up before you change it."},
        {"role": "user", "content": "Undo order 12."},
        *([{"role": "assistant", "content": "", "tool_calls": [look]}] if shift > 0 else []),
        *([{"role": "tool", "content": '{"status": "pending"}'}] if shift > 0 else []),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"ok": true}'},
        {"role": "assistant", "content": "Order 12 is cancelled."},
    ]
    return [*arithmetic, row("booking-heldout", "undo-12", float(shift > 0), 1, outcome="cancelled", messages=messages)]


def _evaluation(arithmetic: float, airline: float, model: str) -> EvaluationResult:
    def suite(name: str, track: Track, score: float, items: int, **more: Any) -> SuiteScore:
        interval = [max(0.0, score - 0.08), min(1.0, score + 0.08)]
        n = items * 4
        return SuiteScore(name=name, track=track, score=score, interval=interval, n=n, items=items, repeats=4, **more)

    def group(score: float) -> GroupScore:
        return GroupScore(score=score, interval=[0, 1], n=52)

    more = {
        "reasons": {"early-write": 12, "no-write": 3},
        "groups": {"cancelled": group(airline - 0.1), "returned": group(airline + 0.1)},
    }
    suites = [
        suite("numeracy-heldout", Track.REASONING, arithmetic, 40, form=FormScore(format_rate=0.7, lenient=0.5)),
        suite("booking-heldout", Track.AGENTIC, airline, 26, **more),
    ]
    return EvaluationResult(model=model, suites=suites)


def _result(stage: Stage, digests: dict[str, str]) -> Result:
    match stage:
        case Stage.PREPARE:
            return PreparedResult(suites=[])
        case Stage.EVALUATE_BASE:
            return _evaluation(0.31, 0.346, BASE_MODEL)
        case Stage.EVALUATE_CANDIDATE:
            return _evaluation(0.74, 0.587, digests["TrainAgentic"])
        case Stage.TRAIN_REASONING:
            warm_up = WarmUpResult(conversations=60, losses=[3.12, 1.4, 0.97])
            curve = _curve(1, 12, 0.33, 0.9, outcomes=False)
            return TrainingResult(step=12, curve=curve, warm_up=warm_up, rollouts=_digest("d"))
        case Stage.TRAIN_AGENTIC:
            return TrainingResult(step=6, curve=_curve(2, 6, 0.35, 0.6, outcomes=True), rollouts=_digest("e"))
        case Stage.PACKAGE:
            return PackageResult(
                datasets=[
                    PackagedDataset(track=track, split=Split.TRAIN, digest=_digest(name), records=100)
                    for track, name in ((Track.REASONING, "1"), (Track.AGENTIC, "2"))
                ]
            )
        case Stage.GATE:
            return _verdict(digests["TrainAgentic"])
        case Stage.MEASURE_REASONING:
            return MeasuredResult(
                bands={"hard": 40, "frontier": 31, "solved": 9}, families={"sub": 8, "add": 8, "mul": 4},
                wanted=20, found=20, replayed=4, waves=2, samples=560, tokens=21_000, note="40 hard, 31 frontier",
            )  # fmt: skip
        case Stage.SOLVE_AGENTIC:
            rows = (
                (1, "normal", 40, 30, 39),
                (2, "trap", 40, 18, 36),
                (2, "normal", 20, 11, 19),
                (3, "trap", 40, 6, 30),
            )
            return SolvedResult(
                difficulty=[
                    Difficulty(depth=d, kind=kind, tasks=n // 4, policy_n=n, policy_k=k, solver_n=n, solver_k=s)
                    for d, kind, n, k, s in rows
                ]
            )
    return VerifiedResult()


def _verdict(model: str) -> VerdictResult:
    def suite(name: str, gain: float, interval: list[float], gate: GateOutcome) -> SuiteVerdict:
        return SuiteVerdict(
            suite=name,
            base=0.31,
            base_interval=[0.23, 0.39],
            candidate=0.31 + gain,
            candidate_interval=[0.66, 0.82],
            gain=gain,
            gain_interval=interval,
            gate=gate,
            by_form=gate is GateOutcome.PASSED,
        )

    lost = Loss(
        suite="booking-heldout",
        against="champion",
        stratum="outcome refund",
        before=0.3,
        after=0.0,
        gain=-0.3,
        gain_interval=[-0.5, -0.1],
        items=16,
        chance=0.001,
        shown=True,
    )
    return VerdictResult(
        verdict=Verdict.PROMOTED,
        model=model,
        reasons=["numeracy-heldout: gain 0.430 is at least 0"],
        suites=[
            suite("numeracy-heldout", 0.43, [0.33, 0.53], GateOutcome.PASSED),
            suite("booking-heldout", 0.24, [-0.02, 0.45], GateOutcome.NONE),
        ],
        losses=[lost],
        matrix=[
            MatrixRow(
                round="demo-r1", model=model, scores={"numeracy-heldout": 0.5}, items={"numeracy-heldout": "old"}
            ),
            MatrixRow(
                round="demo-r2",
                model=model,
                scores={"numeracy-heldout": 0.625, "airline-heldout": 0.25},
                items={"numeracy-heldout": "new", "airline-heldout": "same"},
            ),
        ],
    )


def _digest(digit: str) -> str:
    return "sha256:" + digit * 64


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
        "MeasureReasoning": ("Prepare", "MineReasoning", "VerifyReasoning"),
        "Package": ("MeasureReasoning", "SolveAgentic"),
        "EvaluateCandidate": ("Prepare",),
        "Gate": ("Prepare", "EvaluateBase", "EvaluateCandidate"),
    }
    inputs = {name: digests[name] for name in reads.get(stage, ())}
    if stage == "TrainReasoning":
        inputs = {"model": BASE_MODEL, "train-0": _digest("1")}
    if stage == "TrainAgentic":
        inputs = {"model": digests["TrainReasoning"], "train-0": _digest("2")}
    return inputs


def make_round() -> tuple[StageConfig, MemoryStore]:
    """The config of the Report stage of a finished round, and the store with its manifests."""
    store = MemoryStore()
    digests: dict[str, str] = {}
    timeline: list[StageStatus] = []
    for name, start, end, items_in, items_out, drops, tokens in _STAGES:
        entry = StageStatus(name=name, state=StageState.SUCCEEDED, attempt=1, started_at=_time(start))
        if name == "Report":
            timeline.append(entry.model_copy(update={"state": StageState.RUNNING}))
            continue
        if not name.startswith("Serve") and name != "Preflight":
            digests[name] = store.put_manifest(
                _manifest(Stage(name), start, end, items_in, items_out, drops, tokens, store, digests)
            )
        lost = str(sum(drops.values()))
        timeline.append(
            entry.model_copy(
                update={
                    "finished_at": _time(end),
                    "counts": StageCounts(in_=str(items_in), out=str(items_out), dropped=lost) if items_in else None,
                    "dropped": [DropCount(reason=r, count=str(n)) for r, n in drops.items()],
                    "tokens": [RoleTokens(role="Teacher", tokens=str(tokens))] if tokens else [],
                    "manifest": digests.get(name),
                }
            )
        )
    config = StageConfig(
        stage=Stage.REPORT,
        owner=OWNER,
        attempt=1,
        content_key=_digest("c"),
        spec=SPEC,
        inputs={"Gate": digests["Gate"]},
        base_model=BASE_MODEL,
        candidate_model=digests["TrainAgentic"],
        timeline=timeline,
    )
    return config, store


def _manifest(
    stage: Stage, start: float, end: float, items_in: int, items_out: int, drops: dict[str, int], tokens: int,
    store: MemoryStore, digests: dict[str, str],
) -> Manifest:  # fmt: skip
    files = [store.file("data.jsonl", [GateRow(id=str(i), suite="s", item="i", score=0) for i in range(3)])]
    if stage in (Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE):
        files.append(store.file("samples.jsonl", _samples(1.0 if stage is Stage.EVALUATE_CANDIDATE else 0.0)))
    half = tokens // 2
    teacher = [RoleUsage(role="Teacher", calls=90, prompt_tokens=half, completion_tokens=half, seconds=8)]
    served = [ServedBy(role="Teacher", model="teacher", owned_by="flywheel-standin", standin=True)]
    policy = [RoleUsage(role="Policy", calls=384, prompt_tokens=30000, completion_tokens=9000, seconds=240)]
    dropped = [Dropped(reason=r, count=n) for r, n in drops.items()]
    training = stage in (Stage.TRAIN_REASONING, Stage.TRAIN_AGENTIC)
    return Manifest(
        owner=OWNER,
        stage=stage,
        attempt=1,
        inputs=_inputs(stage, digests),
        files=files,
        counts=Counts(in_=items_in, out=items_out, dropped=dropped),
        usage=Usage(seconds=(end - start) * 60, roles=teacher if tokens else policy),
        result=_result(stage, digests),
        served_by=served if tokens else [],
        standin=bool(tokens),
        notice="scripted stand-in; scores are not comparable to the paper" if tokens else None,
        code_version="0.1.0",
        image=f"localhost/flywheel/{'ray-cpu' if training else 'jobs'}:0.1.0",
        created_at=_time(end),
    )
