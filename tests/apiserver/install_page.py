"""docs/install.md and examples/first-check, as a person finds them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text()
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FIRST_CHECK = ROOT / "examples" / "first-check"
Object = dict[str, Any]


def blocks(language: str) -> list[str]:
    """The page's fenced blocks of that language."""
    return [text for kind, text in FENCED.findall(PAGE) if kind == language]


def commands() -> list[str]:
    """Lines of the page's shell blocks, whole, with something for what stands between < and >."""
    lines = "".join(blocks("")).replace("\\\n", " ").splitlines()
    return [re.sub(r"<[^>]*>", "10.0.0.1", " ".join(line.split())) for line in lines if line.strip()]


def values() -> str:
    """The page's values file."""
    return next(b for b in blocks("yaml") if b.startswith("# values-mine.yaml"))


def documents(path: Path) -> list[Object]:
    """Objects of a folder of manifests."""
    return [d for file in sorted(path.glob("*.yaml")) for d in yaml.safe_load_all(file.read_text())]
