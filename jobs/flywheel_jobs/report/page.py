"""The page in the store, under the one address that a person opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_api.artifacts import report_key
from flywheel_api.results import CurvePoint
from flywheel_api.stages import StageConfig
from flywheel_jobs.report.load import load
from flywheel_jobs.report.render import render
from flywheel_store.store import BlobStore


@dataclass(frozen=True)
class Page:
    """What was drawn, where it lies, and what it lacks."""

    html: bytes
    uri: str
    missing: tuple[str, ...]


def draw(config: StageConfig, store: BlobStore, samples: bool = True, curve: Sequence[CurvePoint] = ()) -> Page:
    """Draws the page anew. Each drawing replaces the last; the blob of the Report's manifest is what counts.

    Without `samples` nothing large is read; `curve` is that of the training whose stage `config` is, so far.
    """
    model = load(config, store, samples=samples, curve=curve)
    html, key = render(model).encode(), report_key(config.owner)
    store.put_bytes(key, html, "text/html; charset=utf-8")
    return Page(html, store.uri(key), model.missing)
