"""Lays the lineage out in layers, top to bottom: positions only, in pixels; drawing is the template's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_jobs.report.model import Node

NODE_WIDTH = 176
NODE_HEIGHT = 46
GAP_X = 20
GAP_Y = 34
LANE_WIDTH = 24
_SWEEPS = 8


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


def _layers(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    depth = {n.digest: 0 for n in nodes}
    for _ in nodes:
        changed = False
        for parent, child in edges:
            if depth[child] < depth[parent] + 1 <= len(nodes):
                depth[child] = depth[parent] + 1
                changed = True
        if not changed:
            break
    # what nothing precedes (a base model) stands just above its first reader
    for node in nodes:
        readers = [depth[c] for p, c in edges if p == node.digest]
        if readers and not any(c == node.digest for _, c in edges):
            depth[node.digest] = max(0, min(readers) - 1)
    return depth


def _sorted_rows(
    nodes: Sequence[Node], edges: Sequence[tuple[str, str]], depth: dict[str, int]
) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of node ids and lane ids (a lane carries a long edge past a row), ordered to cross little; and chains."""
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for node in nodes:
        rows[depth[node.digest]].append(node.digest)
    chains: list[list[str]] = []
    for number, (parent, child) in enumerate(edges):
        lanes = [f"lane-{number}-{level}" for level in range(depth[parent] + 1, depth[child])]
        for level, lane in zip(range(depth[parent] + 1, depth[child]), lanes, strict=True):
            rows[level].append(lane)
        chains.append([parent, *lanes, child])
    near: dict[str, list[str]] = {}
    for chain in chains:
        for first, second in itertools.pairwise(chain):
            near.setdefault(first, []).append(second)
            near.setdefault(second, []).append(first)
    for sweep in range(_SWEEPS):
        place = {item: (i + 0.5) / len(row) for row in rows for i, item in enumerate(row)}
        order = range(len(rows)) if sweep % 2 == 0 else reversed(range(len(rows)))
        for level in order:
            side = set(
                rows[level - 1] if sweep % 2 == 0 and level else rows[level + 1] if level + 1 < len(rows) else ()
            )
            weight = {
                item: [place[n] for n in near.get(item, ()) if n in side] or [place[item]] for item in rows[level]
            }
            rows[level].sort(key=lambda item: sum(weight[item]) / len(weight[item]))
            place.update({item: (i + 0.5) / len(rows[level]) for i, item in enumerate(rows[level])})
    return rows, chains


def _row_width(row: Sequence[str]) -> float:
    return sum(LANE_WIDTH if item.startswith("lane-") else NODE_WIDTH for item in row) + GAP_X * (len(row) - 1)


def lay_out(nodes: Sequence[Node]) -> Graph:
    """A drawing of the lineage; empty for no nodes."""
    if not nodes:
        return Graph((), (), 0, 0)
    edges = reduced_edges(nodes)
    rows, chains = _sorted_rows(nodes, edges, _layers(nodes, edges))
    width = max(_row_width(row) for row in rows)
    centre: dict[str, float] = {}
    top: dict[str, float] = {}
    for level, row in enumerate(rows):
        x = (width - _row_width(row)) / 2
        for item in row:
            own = LANE_WIDTH if item.startswith("lane-") else NODE_WIDTH
            centre[item], top[item] = x + own / 2, level * (NODE_HEIGHT + GAP_Y)
            x += own + GAP_X
    height = len(rows) * (NODE_HEIGHT + GAP_Y) - GAP_Y
    placed = tuple(Placed(n, centre[n.digest] - NODE_WIDTH / 2, top[n.digest]) for n in nodes)
    return Graph(placed, tuple(_path(chain, centre, top) for chain in chains), width, height)


def _path(chain: Sequence[str], centre: dict[str, float], top: dict[str, float]) -> str:
    """Down from the parent's lower edge, straight past rows in its lane, into the child's upper edge."""
    start = chain[0]
    parts = [f"M{centre[start]:.1f} {top[start] + NODE_HEIGHT:.1f}"]
    y = top[start] + NODE_HEIGHT
    x = centre[start]
    for item in chain[1:]:
        to_x, to_y = centre[item], top[item]
        middle = (y + to_y) / 2
        parts.append(f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
        if item.startswith("lane-"):
            y = to_y + NODE_HEIGHT
            parts.append(f"V{y:.1f}")
    return "".join(parts)
