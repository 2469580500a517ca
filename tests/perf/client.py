"""Tokens per second of a stage's own path (items, journal, client, accounting) against a bare asyncio loop."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from flywheel_api.artifacts import Owner
from flywheel_api.base import StatusModel
from flywheel_api.canonical import digest_of
from flywheel_api.round import FlywheelRoundSpec, Role
from flywheel_api.stages import ResolvedEndpoint, Stage, StageConfig
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.storage.store import Store

PROMPT = "Solve the problem and end with the answer on a line of its own. " * 8
SPEC = FlywheelRoundSpec.model_validate(
    {
        "campaign": "perf",
        "base": {"model": "s3://perf/model"},
        "endpoints": [{"role": "Teacher", "url": "http://stub:1/v1", "model": "stub"}],
        "reasoning": {"seeds": "builtin://numeracy"},
        "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
    }
)


class Answer(StatusModel):
    """The result of an item."""

    text: str


def messages(number: int) -> list[dict[str, str]]:
    """The prompt of request `number`; the same for both loops."""
    question = f"Problem {number}: what is {number} + 7?"
    return [{"role": "system", "content": PROMPT}, {"role": "user", "content": question}]


async def bare(url: str, requests: int, concurrency: int) -> tuple[int, float]:
    """(completion tokens, seconds) of the plainest loop there is: a session, a semaphore, gather."""
    slots = asyncio.Semaphore(concurrency)
    tokens = 0
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:

        async def one(number: int) -> None:
            nonlocal tokens
            body = {"model": "stub", "messages": messages(number), "temperature": 1.0, "top_p": 1.0, "max_tokens": 128}
            async with slots, session.post(f"{url}/chat/completions", json=body) as response:
                answer = await response.json()
            tokens += answer["usage"]["completion_tokens"]

        started = time.monotonic()
        await asyncio.gather(*(one(n) for n in range(requests)))
        return tokens, time.monotonic() - started


async def stage(url: str, requests: int, concurrency: int, store: Store, uid: str) -> tuple[int, float]:
    """(completion tokens, seconds) of the same requests as items of a stage, journaled to a real S3 server."""
    config = StageConfig(
        stage=Stage.SYNTHESIZE_REASONING,
        owner=Owner(kind="FlywheelRound", namespace="perf", name="perf", uid=uid),
        attempt=1,
        content_key=digest_of(uid.encode()),
        spec=SPEC,
        endpoints=[ResolvedEndpoint(role="Teacher", url=url, model="stub", concurrency=concurrency)],
    )
    ctx = StageContext(config, store)
    await ctx.open()
    try:
        client = ctx.llm(Role.TEACHER)

        async def work(number: int) -> Answer:
            return Answer(text=(await client.chat(messages(number), max_tokens=128)).text)

        started = time.monotonic()
        results = await ctx.map_items(range(requests), str, work, Answer)
        seconds = time.monotonic() - started
        assert len(results) == requests
        return client.usage.completion_tokens, seconds
    finally:
        await ctx.close()
