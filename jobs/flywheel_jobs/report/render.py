"""A report's model as one HTML page: no script, no address to load anything from, all text escaped."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from flywheel_api.round import Role
from flywheel_jobs.report import graph, view
from flywheel_jobs.report.model import ReportModel


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("flywheel_jobs.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: tuple[Callable[..., str], ...] = (
        view.duration,
        view.number,
        view.percent,
        view.size,
        view.short,
        view.words,
        view.moment,
    )
    environment.filters.update({f.__name__: f for f in filters})
    return environment


def render(model: ReportModel) -> str:
    """The whole page as text. The same model always gives the same bytes."""
    bars, ticks, span = view.timeline(model)
    context: dict[str, Any] = {
        "model": model,
        "headline": view.headline(model),
        "bars": bars,
        "time_ticks": ticks,
        "span": span,
        "suites": [(s, view.interval_rows(s), view.score_verdict(s)) for s in model.suites],
        "trainings": [
            (
                t,
                view.plot([s for s in (t.reward, t.success) if s], smooth=True),
                view.plot(t.by_outcome),
                view.training_change(t),
                [(v.series.name, view.plot([v.series], share=v.share)) for v in t.vitals],
            )
            for t in model.trainings
        ],
        "depths": view.plot(model.difficulty.by_depth) if model.difficulty else None,
        "graph": graph.lay_out(model.lineage),
        "node_width": graph.NODE_WIDTH,
        "node_height": graph.NODE_HEIGHT,
        "spec": yaml.safe_dump(view.redact(model.spec), sort_keys=False, allow_unicode=True, width=100),
        "policy_is_real": any(
            r.usage.role == Role.POLICY and r.usage.calls and not r.served.standin for r in model.roles
        ),
        "smoothing": view.SMOOTHING,
        "tokens": sum(r.usage.prompt_tokens + r.usage.completion_tokens for r in model.roles),
    }
    return _environment().get_template("report.html").render(context)
