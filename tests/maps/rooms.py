"""The rooms of a package by its layers, and who imports whom."""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp

from maps.svg import FILL, GREY, Drawing

ROOT = Path(__file__).resolve().parents[2]
WIDTH, BOX, ROW, LEFT, SHIFT = 980, 30, 74, 20, 70


def layers(package: str) -> list[list[str]]:
    """The layers that pyproject.toml says, top first, without the rooms that do not exist."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(c for c in contracts if c["type"] == "layers" and c.get("containers") == [package])
    folder = next(ROOT.glob(f"*/{package}"))
    rows = [[room.strip(" ()") for room in layer.replace(":", "|").split("|")] for layer in contract["layers"]]
    there = [[r for r in row if (folder / r).is_dir() or (folder / f"{r}.py").exists()] for row in rows]
    return [row for row in there if row]


def arrows(package: str) -> set[tuple[str, str]]:
    """(importer, imported) between the rooms of a package."""
    graph = grimp.build_graph(package, cache_dir=None)

    def room(module: str) -> str:
        return module.split(".")[1] if "." in module else ""

    imports = ((m, other) for m in graph.modules for other in graph.find_modules_directly_imported_by(m))
    return {(room(a), room(b)) for a, b in imports if room(a) and room(b) and room(a) != room(b)}


def picture(package: str) -> str:
    """A row for each layer; arrows lead from importer to imported, always downwards."""
    rows, pairs = layers(package), arrows(package)
    drawing = Drawing(WIDTH)
    facts = f"{sum(map(len, rows))} rooms on {len(rows)} floors, {len(pairs)} arrows, all downwards"
    drawing.text(LEFT, 24, f"{package}: {facts}", 14, bold=True)
    places: dict[str, tuple[float, float, float]] = {}
    for floor, row in enumerate(rows):
        widths = [len(room) * 8.0 + 26 for room in row]
        gap = (WIDTH - 2 * LEFT - sum(widths)) / (len(row) + 1)
        x = LEFT + gap + (SHIFT if floor % 2 else -SHIFT) * (len(row) == 1)
        for room, width in zip(row, widths, strict=True):
            places[room] = (x, 50 + floor * ROW, width)
            x += width + gap
    for a, b in sorted(pairs):
        (xa, ya, wa), (xb, yb, wb) = places[a], places[b]
        drawing.line((xa + wa / 2, ya + BOX), (xb + wb / 2, yb))
    for floor, row in enumerate(rows):
        for room in row:
            left, top, width = places[room]
            drawing.box(left, top, width, BOX, FILL[floor % len(FILL)])
            drawing.middle(left + width / 2, top + 19, room)
    source = "drawn from the import graph and the layers of pyproject.toml"
    drawing.text(LEFT, 50 + len(rows) * ROW - 20, source, 10, GREY)
    return drawing.document()
