"""What a round takes over from its manifests: counts, tokens, scores, verdict, model and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flywheel_api.artifacts import Manifest
from flywheel_api.round import DropCount, RoleTokens, ScoreStatus, StageCounts

_DROPS_KEPT = 8


def spent(known: Sequence[RoleTokens], tokens: Mapping[str, int]) -> list[RoleTokens]:
    """A stage's tokens by role, brought up to date. They only grow: shards report one after the other, and a lost
    attempt's tokens were spent all the same.
    """
    most = {entry.role: int(entry.tokens) for entry in known}
    for role, count in tokens.items():
        most[role] = max(count, most.get(role, 0))
    return [RoleTokens(role=role, tokens=str(count)) for role, count in sorted(most.items())][:8]


def counted(manifest: Manifest) -> dict[str, Any]:
    """Fields of a StageStatus that come from its manifest; the largest reasons of dropping are kept."""
    counts = manifest.counts
    dropped = sorted(counts.dropped, key=lambda d: (-d.count, d.reason))
    rest = dropped[_DROPS_KEPT - 1 :] if len(dropped) > _DROPS_KEPT else []
    shown = [
        DropCount(reason=d.reason[:64], count=str(d.count)) for d in (dropped[: _DROPS_KEPT - 1] if rest else dropped)
    ]
    if rest:
        shown.append(DropCount(reason="other", count=str(sum(d.count for d in rest))))
    return {
        "counts": StageCounts(
            in_=str(counts.in_), out=str(counts.out), dropped=str(sum(d.count for d in counts.dropped))
        ),
        "dropped": shown,
    }


def decimal(value: Any) -> str | None:
    """A score as a decimal string of three places."""
    return None if value is None else f"{float(value):.3f}"


def interval(value: Any) -> list[str] | None:
    """An interval as decimal strings."""
    return None if not value else [f"{float(v):.3f}" for v in value]


def base_scores(manifest: Manifest, order: list[str]) -> list[ScoreStatus]:
    """Scores after EvaluateBase, in the order of the spec: JSON objects in the store are sorted by name."""
    suites: dict[str, Any] = manifest.details.get("suites", {})
    return [
        ScoreStatus(suite=name, base=decimal(s.get("score")), base_interval=interval(s.get("interval")))
        for name, s in ((name, suites[name]) for name in order if name in suites)
    ]


def with_candidate(scores: list[ScoreStatus], manifest: Manifest) -> list[ScoreStatus]:
    """Scores after EvaluateCandidate; gains come with the gate, which pairs the items."""
    suites: dict[str, Any] = manifest.details.get("suites", {})
    found = []
    for score in scores:
        new = suites.get(score.suite, {})
        update = {"candidate": decimal(new.get("score")), "candidate_interval": interval(new.get("interval"))}
        found.append(score.model_copy(update=update))
    return found


def judged(manifest: Manifest) -> list[ScoreStatus]:
    """Scores as the gate judged them."""
    return [
        ScoreStatus(
            suite=str(s["suite"]),
            base=decimal(s.get("base")),
            base_interval=interval(s.get("baseInterval")),
            candidate=decimal(s.get("candidate")),
            candidate_interval=interval(s.get("candidateInterval")),
            gain=decimal(s.get("gain")),
            gain_interval=interval(s.get("gainInterval")),
            gate=s.get("gate") or "None",
        )
        for s in manifest.details.get("suites", [])
    ][:32]


def column(scores: list[ScoreStatus]) -> str | None:
    """`23.8 → 41.2`: percent of the first suite, for `kubectl get`."""
    if not scores or scores[0].base is None:
        return None
    first = scores[0]
    new = f" {float(first.candidate) * 100:.1f}" if first.candidate is not None else ""
    return f"{float(first.base or 0) * 100:.1f} →{new}"
