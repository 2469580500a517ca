"""Which parameters of a model go into one file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

LAYER = re.compile(r".*?\.\d+\.")


def grouped(sizes: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Names in groups of at most `most` bytes; a layer stays whole, since its published form may mix its parameters."""
    layers: dict[str, list[str]] = {}
    for name in sizes:
        found = LAYER.match(name)
        layers.setdefault(found[0] if found else name, []).append(name)
    group: list[str] = []
    held = 0
    for names in layers.values():
        size = sum(sizes[name] for name in names)
        if group and held + size > most:
            yield group
            group, held = [], 0
        group += names
        held += size
    yield group
