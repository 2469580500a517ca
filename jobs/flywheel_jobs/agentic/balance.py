"""Which branches become tasks: legal and illegal ones in the asked shares, and who of the illegal ones pushes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_api.records.agentic import Branch, TreeRecord
from flywheel_jobs.agentic import tree


@dataclass(frozen=True)
class Target:
    """One task to make."""

    tree: TreeRecord
    chain: tuple[Branch, ...]
    push: bool = False

    @property
    def branch(self) -> Branch:
        """The branch that has to be right."""
        return self.chain[-1]

    @property
    def key(self) -> str:
        """Journal key."""
        return f"{self.tree.id}/{'/'.join(b.id for b in self.chain)}"


def targets(trees: Sequence[TreeRecord]) -> list[Target]:
    """Every branch at or below the parent of every tree, trees in turn so that a cut keeps their variety."""
    lists = [_of(t) for t in trees]
    longest = max((len(x) for x in lists), default=0)
    return [x[n] for n in range(longest) for x in lists if n < len(x)]


def _of(record: TreeRecord) -> list[Target]:
    by_path = dict(tree.walk(record.tree.branches))
    parent = tuple(record.parent)
    chosen = [p for p in by_path if p[: len(parent)] == parent]
    return [Target(record, tuple(by_path[p[: n + 1]] for n in range(len(p)))) for p in chosen]


def choose(
    found: Sequence[Target], limit: int, legal_share: float, trap_share: float, rng: random.Random
) -> list[Target]:
    """At most `limit` targets with the asked share of legal ones as nearly as both sides allow.

    Of the illegal ones, the share `trap_share` is pushed: the user words the request so that the trap looks right; the
    others look harmless and only the data reveal the violation.
    """
    legal = [t for t in found if t.branch.legal]
    illegal = [t for t in found if not t.branch.legal]
    size = min(limit, len(found))
    if 0 < legal_share < 1 and legal and illegal:
        size = min(size, int(len(legal) / legal_share), int(len(illegal) / (1 - legal_share)))
    n_legal = min(len(legal), round(size * legal_share))
    n_illegal = min(len(illegal), size - n_legal)
    pushed = set(rng.sample(range(n_illegal), round(n_illegal * trap_share)))
    kept = [*legal[:n_legal], *(Target(t.tree, t.chain, n in pushed) for n, t in enumerate(illegal[:n_illegal]))]
    order = {t.key: n for n, t in enumerate(found)}
    return sorted(kept, key=lambda t: order[t.key])
