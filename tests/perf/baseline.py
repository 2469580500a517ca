"""Gathers tests/perf/out/*.json into the committed tests/perf/baseline.json: `python -m perf.baseline`."""

from __future__ import annotations

import json
from pathlib import Path

from perf.machine import OUT

BASELINE = Path(__file__).parent / "baseline.json"


def main() -> None:
    """Writes the baseline; benchmarks without a new result keep the old one."""
    old = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    new = {file.stem: json.loads(file.read_text()) for file in sorted(OUT.glob("*.json"))}
    BASELINE.write_text(json.dumps(dict(sorted({**old, **new}.items())), indent=2) + "\n")
    print(f"{BASELINE}: {', '.join(sorted(new))}")


if __name__ == "__main__":
    main()
