"""Suites of earlier rounds of the campaign, run again with the very items that they had: what is forgotten shows there.

A promoted verdict in the store leads to everything: its items file to repeats, its inputs to Prepare's suites.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flywheel_api.artifacts import Manifest
from flywheel_api.records.agentic import Task
from flywheel_api.records.base import content_digest
from flywheel_api.records.evaluation import GateRow
from flywheel_api.records.reasoning import Problem
from flywheel_api.results import MatrixRow, PreparedResult, SuiteInfo, SuiteScore, Track, VerdictResult
from flywheel_api.stages import Stage
from flywheel_jobs.agentic.shelves import PACKAGE_SCHEMA
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.context import OutputFile, StageContext
from flywheel_jobs.storage.datasets import read_records
from flywheel_jobs.storage.store import Store

ITEMS_FILE = "items.jsonl"
MOST = 8  # suites of earlier rounds that are run again; the newest first
log = get_logger(__name__)


@dataclass(frozen=True)
class Earlier:
    """A suite as an earlier round had it."""

    info: SuiteInfo
    file: OutputFile
    problems: Sequence[Problem] = ()
    packages: Sequence[OutputFile] = ()
    """Of the domains that its tasks are played in, as they were then."""


def suites(store: Store, verdicts: Collection[str], named: Collection[str]) -> list[Earlier]:
    """Suites of these verdicts (oldest first) that the round does not name itself, each as its newest round had it.

    What cannot be read any more is left out, with a word in the log: an old round must not stop a new one.
    """
    found: dict[str, Earlier] = {}
    for digest in reversed(list(verdicts)):
        try:
            for suite in _of(store, digest):
                if suite.info.name not in named and len(found) < MOST:
                    found.setdefault(suite.info.name, suite)
        except CorruptArtifact as error:
            log.warning("the suites of an earlier round cannot be run again", verdict=digest, error=str(error))
    return list(found.values())


def _of(store: Store, digest: str) -> list[Earlier]:
    verdict = store.get_manifest(digest)
    prepare, items = verdict.inputs.get(Stage.PREPARE), verdict.file(ITEMS_FILE)
    if prepare is None or items is None:
        return []
    manifest = store.get_manifest(prepare)
    if not isinstance(manifest.result, PreparedResult):
        raise CorruptArtifact(f"the manifest of {Stage.PREPARE} of {digest} holds a {manifest.kind} result")
    repeats = {row.suite: row.samples for row in read_records(store, items, GateRow)}
    made = []
    for info in manifest.result.suites:
        entry = manifest.file(info.path)
        if entry is None or info.name not in repeats:
            continue
        known = info.model_copy(update={"earlier": info.earlier or verdict.owner.name, "repeats": repeats[info.name]})
        if info.track is Track.REASONING:
            problems = list(read_records(store, entry, Problem))
            made.append(Earlier(known, OutputFile.of(info.path, Problem, problems), problems))
        else:
            tasks = list(read_records(store, entry, Task))
            packages = [_package(store, manifest, digest) for digest in sorted({t.package for t in tasks})]
            made.append(Earlier(known, OutputFile.of(info.path, Task, tasks), packages=packages))
    return made


def _package(store: Store, manifest: Manifest, digest: str) -> OutputFile:
    """A package of a round's manifest, under its digest. Raises CorruptArtifact where it is not there."""
    sha = digest.removeprefix("sha256:")
    if not any(entry.sha256 == sha for entry in manifest.files):
        raise CorruptArtifact(f"its {Stage.PREPARE} has no package {digest}")
    return OutputFile(f"domains/{sha}.tar", store.get_blob(sha), PACKAGE_SCHEMA)


def matrix(store: Store, verdicts: Collection[str]) -> tuple[list[MatrixRow], list[str]]:
    """The scores of the models that these verdicts promoted and of those that they knew of, oldest first.

    And a sentence for each verdict that cannot be read.
    """
    rows: dict[tuple[str, str], MatrixRow] = {}
    lost = []
    for digest in dict.fromkeys(verdicts):
        try:
            manifest = store.get_manifest(digest)
        except CorruptArtifact as error:
            log.warning("an earlier verdict cannot be read", verdict=digest, error=str(error))
            lost.append(f"the campaign's verdict {digest} cannot be read: its suites were not run again")
            continue
        if isinstance(manifest.result, VerdictResult):
            for row in manifest.result.matrix:  # its own is the last
                rows.setdefault((row.round, row.model), row)
    return list(rows.values()), lost


def row_of(round_name: str, model: str, scores: Mapping[str, SuiteScore], items: Mapping[str, str]) -> MatrixRow:
    """A round's candidate on every suite that it was given; `items` are digests of theirs."""
    return MatrixRow(round=round_name, model=model, scores={n: s.score for n, s in scores.items()}, items=dict(items))


def not_asked(before: Sequence[MatrixRow], now: MatrixRow) -> list[str]:
    """A sentence for each suite of earlier rounds that this one was not asked, or with other items under its name."""
    newest = {suite: row for row in before for suite in row.scores}
    said = []
    for suite, row in newest.items():
        if suite not in now.scores:
            said.append(f"{suite} of round {row.round} was not run again: what was lost there is not known")
        elif not row.compares(now, suite):
            said.append(
                f"{suite} has other items than in round {row.round}, which were not run again: another name would keep "
                "both"
            )
    return said


def items_of(ctx: StageContext, suites: Iterable[SuiteInfo]) -> dict[str, str]:
    """A digest of the items of each suite: of what they say, whatever they are called."""
    kinds: dict[Track, type[Problem] | type[Task]] = {Track.REASONING: Problem, Track.AGENTIC: Task}
    return {
        s.name: content_digest(sorted(item.content for item in ctx.records(Stage.PREPARE, s.path, kinds[s.track])))
        for s in suites
    }
