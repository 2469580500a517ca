"""Export: what the round promoted, as a plain directory of Hugging Face files with a model card.

`flywheel.json` is written first and says whose directory it is; `SHA256SUMS` is written last: where it is, all is. A
hub shows all of it at once.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from flywheel_api.artifacts import FileEntry
from flywheel_api.canonical import digest_of
from flywheel_api.results import ExportedResult, Verdict, VerdictResult
from flywheel_api.round import ExportSpec
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.exports.card import card
from flywheel_jobs.exports.facts import Facts, facts_of
from flywheel_jobs.exports.hub import Repository
from flywheel_jobs.exports.targets import Prefix, Target, Volume, unusable
from flywheel_jobs.harness.context import StageContext, StageResult
from flywheel_jobs.storage.hub import Overtaken
from flywheel_jobs.storage.store import PARALLEL_FILES, Store

_log = get_logger(__name__)
MARK, CARD, SUMS = "flywheel.json", "README.md", "SHA256SUMS"
COMMITS = 3
"""Tries of one attempt."""


async def run(ctx: StageContext) -> StageResult:
    """Copies the model out. Raises ValidationFailure for a target that is in use or cannot be written."""
    verdict = ctx.result(Stage.GATE, VerdictResult)
    if ctx.spec.export is None or verdict.verdict is not Verdict.PROMOTED:
        raise ValidationFailure("Export is for a round that promoted a model and says where it goes: see spec.export")
    facts = await asyncio.to_thread(
        facts_of, ctx.store, verdict, ctx.config.inputs[Stage.GATE], ctx.input(Stage.GATE).standin
    )
    small, files = _small(ctx, facts), facts.files()
    with tempfile.TemporaryDirectory(prefix="flywheel-export-") as scratch:
        target = target_of(ctx.spec.export, ctx.config.owner.name, ctx.store, Path(scratch))
        await _patiently(lambda: _export(ctx, target, files, small, facts.verdict.model))
    size = sum(f.size for f in files.values())
    result = ExportedResult(model=facts.verdict.model, uri=target.uri, bytes=size)
    return StageResult(result, counts=ctx.counts(len(files), {}))


async def _patiently(export: Callable[[], Awaitable[None]]) -> None:
    """Others may commit to a hub meanwhile: what they left is looked at anew, a few times; then it is weather."""
    for _ in range(COMMITS - 1):
        try:
            return await export()
        except Overtaken as error:
            _log.warning("overtaken", error=str(error))
    await export()


async def _export(
    ctx: StageContext, target: Target, files: Mapping[str, FileEntry], small: Mapping[str, bytes], model: str
) -> None:
    await asyncio.to_thread(_claim, target, small[MARK], model)
    await _copy(ctx, target, files)
    await asyncio.to_thread(_finish, target, files, small)
    await asyncio.to_thread(target.finish, f"{model} by round {ctx.config.owner.name}")


def target_of(spec: ExportSpec, round_name: str, store: Store, scratch: Path) -> Target:
    """Where the spec says; `scratch` is for files on their way."""
    if spec.hub is not None:
        return Repository(spec.hub, scratch)
    if spec.claim is not None:
        return Volume(spec.claim.name, spec.claim.path or round_name)
    assert spec.s3 is not None
    return Prefix(spec.s3, store)


def _small(ctx: StageContext, facts: Facts) -> dict[str, bytes]:
    """What stands beside the model's own files: for programs and for people."""
    owner = ctx.config.owner
    known = {
        "model": facts.verdict.model,
        "round": {"namespace": owner.namespace, "name": owner.name, "uid": owner.uid},
        "campaign": ctx.spec.campaign,
        "verdict": facts.verdict_digest,
        "base": facts.base,
        "source": facts.source,
        "licence": facts.licence,
        "standin": facts.standin,
        "scores": {s.suite: s.dump() for s in facts.verdict.suites},
    }
    text = card(facts, owner, ctx.spec.campaign, ctx.spec.seed)
    return {MARK: json.dumps(known, indent=1, ensure_ascii=False).encode() + b"\n", CARD: text.encode()}


def _claim(target: Target, mark: bytes, model: str) -> None:
    """Makes the directory this model's. Files of another one beside it would be loaded with it."""
    standing = target.read(MARK)
    if standing is None and (there := target.names()):
        raise unusable(f"{target.uri} holds other files ({', '.join(sorted(there)[:3])}): name an empty directory")
    if standing is not None and (other := _model_in(standing)) != model:
        raise unusable(f"{target.uri} holds another exported model ({other}): name another directory")
    target.write(MARK, mark)


def _model_in(mark: bytes) -> str:
    try:
        return str(json.loads(mark)["model"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "its flywheel.json cannot be read"


async def _copy(ctx: StageContext, target: Target, files: Mapping[str, FileEntry]) -> None:
    """The model's files, a few at a time. What an earlier attempt has copied, and is there, is not copied again."""
    at_once = asyncio.Semaphore(PARALLEL_FILES)

    async def one(name: str) -> FileEntry:
        async with at_once:
            await asyncio.to_thread(target.bring, ctx.store, name, files[name])
        return files[name]

    total = sum(f.size for f in files.values()) / 1e9
    text = f"exporting {len(files)} files, {total:.2f} GB"
    await ctx.map_items(files, lambda name: f"{target.uri}/{name}", one, FileEntry, "files", text)
    there = await asyncio.to_thread(target.names)
    await asyncio.gather(*(one(name) for name in files if name not in there))


def _finish(target: Target, files: Mapping[str, FileEntry], small: Mapping[str, bytes]) -> None:
    for name, data in small.items():
        target.write(name, data)
    sums = {name: f.sha256 for name, f in files.items()}
    sums |= {name: digest_of(data).removeprefix("sha256:") for name, data in small.items()}
    target.write(SUMS, "".join(f"{sha}  {name}\n" for name, sha in sorted(sums.items())).encode())
