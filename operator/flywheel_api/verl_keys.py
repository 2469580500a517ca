"""What the verl that this version of Flywheel was built against accepts, read once, when this module is imported.

`verl_keys.json` is generated from the verl that the trainer images carry (`flywheel_jobs.trainer.verl_keys`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class VerlKeys:
    """What a verl version accepts: keys of its YAML, fields of its dataclasses beyond those, and open maps."""

    version: str
    keys: dict[str, str]
    addable: dict[str, str]
    open: tuple[str, ...]

    def is_open(self, key: str) -> bool:
        """Whether a key lies below a map that takes anything."""
        maps = (*self.open, *(k for k, kind in self.addable.items() if kind == "dict"))
        return any(key.startswith(prefix + ".") for prefix in maps)


_RAW = json.loads((resources.files("flywheel_api") / "verl_keys.json").read_text(encoding="utf-8"))
KEYS = VerlKeys(_RAW["verl"], _RAW["keys"], _RAW["addable"], tuple(_RAW["open"]))
