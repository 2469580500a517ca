"""The tutorial's domain, made of the page's text alone."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "domains.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```yaml (\S+/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def library(where: Path) -> Path:
    """The folder that a reader has made at the end of the tutorial."""
    for name, text in BLOCK.findall(PAGE):
        path = where / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    return where / "library"
