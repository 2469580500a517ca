"""Boxes, lines and text as SVG: the same input gives the same bytes."""

from __future__ import annotations

from html import escape

INK, GREY, LINE, PAPER = "#1f2328", "#656d76", "#c3cad2", "#ffffff"
FILL = ("#dbeafe", "#dcfce7", "#fef3c7", "#fce7f3", "#ede9fe", "#e0f2fe", "#fee2e2", "#f1f5f9")
FONT = "font-family='Verdana, DejaVu Sans, sans-serif'"

Point = tuple[float, float]


class Drawing:
    """Shapes in the order in which they are drawn."""

    def __init__(self, width: int) -> None:
        self.width, self._shapes, self._bottom = width, list[str](), 0

    def text(self, x: float, y: float, words: str, size: int = 12, ink: str = INK, bold: bool = False) -> None:
        """Words that begin at (x, y), the base line."""
        weight = " font-weight='bold'" if bold else ""
        self._add(y + 6, f"<text x='{x:g}' y='{y:g}' font-size='{size}' fill='{ink}'{weight}>{escape(words)}</text>")

    def middle(self, x: float, y: float, words: str, size: int = 12) -> None:
        """Words around x."""
        shape = f"<text x='{x:g}' y='{y:g}' font-size='{size}' fill='{INK}' text-anchor='middle'>{escape(words)}</text>"
        self._add(y + 6, shape)

    def box(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A rounded box."""
        place = f"x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}'"
        self._add(y + height, f"<rect {place} rx='5' fill='{fill}' stroke='{LINE}'/>")

    def line(self, start: Point, end: Point, ink: str = LINE, arrow: bool = True) -> None:
        """A curve from top to bottom."""
        (x1, y1), (x2, y2) = start, end
        bend = f"M{x1:g},{y1:g} C{x1:g},{(y1 + y2) / 2:g} {x2:g},{(y1 + y2) / 2:g} {x2:g},{y2:g}"
        self._path(bend, ink, False, arrow, max(y1, y2))

    def across(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A dashed arrow from left to right."""
        middle = (x1 + x2) / 2
        self._path(f"M{x1:g},{y1:g} C{middle:g},{y1:g} {middle:g},{y2:g} {x2:g},{y2:g}", GREY, True, True, max(y1, y2))

    def dot(self, x: float, y: float, fill: str) -> None:
        """A place on a line."""
        self._add(y + 6, f"<circle cx='{x:g}' cy='{y:g}' r='5' fill='{fill}' stroke='{INK}'/>")

    def _path(self, path: str, ink: str, dashed: bool, arrow: bool, bottom: float) -> None:
        style = (" stroke-dasharray='4 3'" if dashed else "") + (" marker-end='url(#arrow)'" if arrow else "")
        self._add(bottom, f"<path d='{path}' fill='none' stroke='{ink}'{style}/>")

    def _add(self, bottom: float, shape: str) -> None:
        self._bottom = max(self._bottom, int(bottom))
        self._shapes.append(shape)

    def document(self) -> str:
        """The file."""
        height = self._bottom + 16
        marker = (
            "<defs><marker id='arrow' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' "
            f"orient='auto'><path d='M0,0 L8,4 L0,8 z' fill='{GREY}'/></marker></defs>"
        )
        head = (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {self.width} {height}' width='{self.width}' {FONT}>"
        )
        paper = f"<rect width='{self.width}' height='{height}' fill='{PAPER}'/>"
        return "\n".join([head, marker, paper, *self._shapes, "</svg>"]) + "\n"
