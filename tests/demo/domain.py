"""DOMAIN=dir: the demo's round on a domain of the user's own, put into the store and named in the round."""

from __future__ import annotations

import base64
import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError

DECLARATION = "domain.yaml"
LARGEST = 96 << 10  # bytes of the packed folder as text: it travels in the environment of a Job
BUILTIN = "booking"  # the domain of the demo's own round, whose place a user's takes
_NAME = re.compile(r"^domain:\s*([a-z][a-z0-9_]*)\s*(#.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Given:
    """A domain of the user's: its name in a round, and its folder as a packed text."""

    name: str
    packed: str

    @property
    def key(self) -> str:
        """Where it goes in the store."""
        return f"domains/{self.name}.tgz"


def given(folder: str) -> Given | None:
    """The domain in a folder; None without one. Raises DemoError for a folder that holds none."""
    if not folder:
        return None
    path = Path(folder) / DECLARATION
    if not path.is_file():
        raise DemoError(f"DOMAIN={folder} has no {DECLARATION}: name the folder of a domain (docs/domains.md)")
    name = _NAME.search(path.read_text(encoding="utf-8"))
    if name is None:
        raise DemoError(f"{path} does not say its name: write `domain: name` on a line of its own")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.add(file, file.relative_to(folder).as_posix(), recursive=False)
    packed = base64.b64encode(buffer.getvalue()).decode()
    if len(packed) > LARGEST:
        raise DemoError(
            f"DOMAIN={folder} is {len(packed) >> 10} KiB packed, more than {LARGEST >> 10}: put it into the store "
            "yourself and name it in a round (docs/domains.md)"
        )
    return Given(name[1].replace("_", "-"), packed)


def named_in(round_: dict[str, Any], name: str, source: str) -> None:
    """Puts a domain in the place of the demo's own: in the track, and in the suites."""
    agentic = round_["spec"].get("agentic")
    if agentic is None:
        raise DemoError("DOMAIN needs a round with an agentic track: leave ROUND out, or give one that has it")
    agentic["domains"] = [{"name": name, "source": source}]
    for suite in round_["spec"]["evaluation"]["suites"]:
        if suite["name"] == f"{BUILTIN}-heldout":
            suite["name"] = f"{name}-heldout"
