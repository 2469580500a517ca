"""Benchmark: tokens/s of synthesis and mining against a bare loop on the same endpoint (target: 0.95 or more)."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from contract.servers import running
from perf.client import bare, stage
from perf.endpoint import COMPLETION_TOKENS, stub
from perf.machine import middle, record

PAIRS = 3
# (name, latency of the endpoint in seconds, requests, in flight): as fast as a busy vLLM answers short ones
CASES = (("served_model", 0.25, 1500, 64), ("served_model_512", 2.0, 3000, 512))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "latency_s", "requests", "concurrency"), CASES)
async def test_client(name: str, latency_s: float, requests: int, concurrency: int, tmp_path: Path) -> None:
    runs: list[tuple[float, float]] = []
    spent: dict[str, list[float]] = {"bare": [], "stage": []}
    with running("minio", tmp_path) as s3, stub(latency_s) as url:
        await bare(url, 100, concurrency)  # warms the stub
        for pair in range(PAIRS):
            results = {}
            for kind in ("bare", "stage") if pair % 2 else ("stage", "bare"):  # neither always goes first
                cpu = time.process_time()
                if kind == "bare":
                    tokens, seconds = await bare(url, requests, concurrency)
                else:
                    uid = uuid.uuid4().hex
                    tokens, seconds = await stage(url, requests, concurrency, s3.store(f"perf-{uid[:8]}"), uid)
                assert tokens == requests * COMPLETION_TOKENS
                results[kind] = tokens / seconds
                spent[kind].append(1000 * (time.process_time() - cpu) / requests)
            runs.append((results["bare"], results["stage"]))
    record(
        f"client_{name}",
        {
            "what": "completion tokens/s of a stage (items, journal in S3, client) and of a bare asyncio loop",
            "endpoint_latency_s": latency_s,
            "requests": requests,
            "concurrency": concurrency,
            "bare_tokens_per_s": round(middle([b for b, _ in runs])),
            "stage_tokens_per_s": round(middle([s for _, s in runs])),
            "ratio": round(middle([s / b for b, s in runs]), 3),
            "ratios": [round(s / b, 3) for b, s in runs],
            "cpu_ms_per_request": {kind: round(middle(each), 3) for kind, each in spent.items()},
            "target": 0.95,
        },
    )
