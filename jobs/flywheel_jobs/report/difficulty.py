"""Measured difficulty of a round's tasks, by depth and by kind, from what SolveAgentic counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from flywheel_api.results import Difficulty, SolvedResult
from flywheel_jobs.report.model import DifficultyView, KindRow, Series

PUBLISHED = (0.93, 0.76, 0.60, 0.41, 0.25)
"""Pass rates of a strong model on the five tiers of a public set of tool tasks (docs/method.md, "Difficulty")."""


def difficulty(result: SolvedResult | None) -> DifficultyView | None:
    """What the report shows; None where nothing was counted."""
    if result is None or not result.difficulty:
        return None
    rows = result.difficulty
    lines = [line for line in (_line("policy", rows), _line("solver", rows)) if line.points]
    tiers = Series("published tiers", tuple((float(n + 1), rate) for n, rate in enumerate(PUBLISHED)))
    return DifficultyView(
        by_depth=(*lines, tiers) if lines else (), kinds=tuple(_kinds(rows)), tasks=sum(r.tasks for r in rows)
    )


def _line(who: str, rows: Iterable[Difficulty]) -> Series:
    counts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        n, k = _counted(who, row)
        counts[row.depth][0] += n
        counts[row.depth][1] += k
    return Series(who, tuple((float(depth), k / n) for depth, (n, k) in sorted(counts.items()) if n))


def _kinds(rows: Iterable[Difficulty]) -> Iterator[KindRow]:
    by_kind: dict[str, list[Difficulty]] = defaultdict(list)
    for row in rows:
        by_kind[row.kind].append(row)
    for kind, same in sorted(by_kind.items()):
        rates = [_rate([_counted(who, row) for row in same]) for who in ("policy", "solver")]
        yield KindRow(kind, sum(row.tasks for row in same), rates[0], rates[1])


def _rate(counted: list[tuple[int, int]]) -> float | None:
    n, k = (sum(pair[i] for pair in counted) for i in (0, 1))
    return k / n if n else None


def _counted(who: str, row: Difficulty) -> tuple[int, int]:
    return (row.policy_n, row.policy_k) if who == "policy" else (row.solver_n, row.solver_k)
