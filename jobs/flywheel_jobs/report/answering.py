"""What was not the same for all answers of a stage: the model's name, its weights, the server's fingerprint. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flywheel_api.artifacts import Manifest, ServedBy

SHOWN = 4  # values in a sentence


def changes_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(role, sentence) for each thing that a role's answers in a manifest differ in."""
    by_role: dict[str, list[ServedBy]] = {}
    for row in manifest.served_by:
        by_role.setdefault(row.role, []).append(row)
    for role, rows in by_role.items():
        for what, counted in _counted(rows):
            if len(counted) > 1:
                most = [f"{value or 'none'} ({count})" for value, count in counted.most_common(SHOWN)]
                more = [f"and {len(counted) - SHOWN} more"] if len(counted) > SHOWN else []
                yield role, f"{manifest.stage}: {len(counted)} {what}: {', '.join([*most, *more])}"


def _counted(rows: list[ServedBy]) -> Iterator[tuple[str, Counter[str]]]:
    names, weights, roots, fingerprints = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        names[row.model] += row.answers
        fingerprints[row.fingerprint or ""] += row.answers
        if row.weights and not row.weights_assumed:  # a look that says nothing is no change
            weights[row.weights] += row.answers
        if row.root:
            roots[row.root] += row.answers
    what = ("names", names), ("weights", weights), ("places of weights", roots), ("fingerprints", fingerprints)
    yield from what
