"""Places the lineage, top to bottom as the pipeline runs: positions only, in pixels; drawing is the template's.

Every stage has its row (how deep it lies in the pipeline) and its column (its track), so that two reports look alike.
A long edge runs in the gutter beside its child's column, where no box is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_api.results import Track
from flywheel_api.stages import PIPELINE, Stage
from flywheel_jobs.report.model import Node

NODE_WIDTH = 176
NODE_HEIGHT = 46
GAP_X = 20
GAP_Y = 34
OUTSIDE = 0  # column of what the round was given, and of what is known of the base
_COLUMN = {None: 2, Track.REASONING: 1, Track.AGENTIC: 3}


@dataclass(frozen=True)
class Placed:
    """A node and the top left corner of its box."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True)
class Graph:
    """Boxes, edge paths (SVG path data) and the size of the drawing."""

    nodes: tuple[Placed, ...]
    paths: tuple[str, ...]
    width: float
    height: float


def reduced_edges(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """Edges (from, to) that no longer path implies: what is read through another input is not drawn twice."""
    known = {n.digest for n in nodes}
    parents = {n.digest: {d for _, d in n.inputs if d in known and d != n.digest} for n in nodes}
    ancestors: dict[str, set[str]] = {}

    def above(digest: str, path: frozenset[str] = frozenset()) -> set[str]:
        if digest not in ancestors:
            found: set[str] = set()
            for parent in parents[digest] - path:
                found |= {parent} | above(parent, path | {digest})
            ancestors[digest] = found
        return ancestors[digest]

    edges = []
    for child in sorted(parents):
        for parent in sorted(parents[child]):
            if not any(parent in above(other) for other in parents[child] if other != parent):
                edges.append((parent, child))
    return edges


def _stage_cells() -> dict[str, tuple[int, int]]:
    """Column and row of every stage."""
    rows: dict[Stage, int] = {}
    for d in PIPELINE:
        rows[d.stage] = 1 + max((rows[before] for before in d.after), default=0)
    cells = {d.stage.value: (_COLUMN[d.track], rows[d.stage]) for d in PIPELINE}
    return {**cells, Stage.EVALUATE_BASE: (OUTSIDE, rows[Stage.EVALUATE_BASE])}


_CELLS = _stage_cells()


def _cell(node: Node, nodes: Sequence[Node]) -> tuple[int, int]:
    """Where a node lies; what came from outside stands just above its first reader."""
    readers = [_CELLS[n.label][1] for n in nodes if n.label in _CELLS and node.digest in {d for _, d in n.inputs}]
    return _CELLS.get(node.label) or (OUTSIDE, min(readers, default=1) - 1)


def lay_out(nodes: Sequence[Node]) -> Graph:
    """A drawing of the lineage; empty for no nodes."""
    cells: dict[tuple[int, int], list[Node]] = {}
    for node in nodes:
        cells.setdefault(_cell(node, nodes), []).append(node)
    tops = {row: i * (NODE_HEIGHT + GAP_Y) for i, row in enumerate(sorted({row for _, row in cells}))}
    width, lefts = 0, dict[int, int]()
    for column in sorted({column for column, _ in cells}):
        lefts[column] = width + GAP_X
        width += max(len(cell) for (c, _), cell in cells.items() if c == column) * (NODE_WIDTH + GAP_X)
    placed = {
        node.digest: Placed(node, lefts[column] + i * (NODE_WIDTH + GAP_X), tops[row])
        for (column, row), cell in cells.items()
        for i, node in enumerate(cell)
    }
    paths = tuple(_path(placed[parent], placed[child]) for parent, child in reduced_edges(nodes))
    height = max(0, len(tops) * (NODE_HEIGHT + GAP_Y) - GAP_Y)
    return Graph(tuple(placed[n.digest] for n in nodes), paths, width + GAP_X if nodes else 0, height)


def _path(parent: Placed, child: Placed) -> str:
    """From the parent's lower edge to the child's upper edge; past other rows in the gutter left of the child."""
    x, y = parent.x + NODE_WIDTH / 2, parent.y + NODE_HEIGHT
    to_x, to_y = child.x + NODE_WIDTH / 2, child.y
    if to_y == y + GAP_Y:
        middle = (y + to_y) / 2
        return f"M{x:.1f} {y:.1f}C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
    gutter, above = child.x - GAP_X / 2, to_y - GAP_Y / 2
    return f"M{x:.1f} {y:.1f}V{y + GAP_Y / 2:.1f}H{gutter:.1f}V{above:.1f}H{to_x:.1f}V{to_y:.1f}"
