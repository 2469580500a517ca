"""Pictures of docs/architecture.md, drawn from the code: `python -m maps` writes them.

Rooms come from the import graph and the layers of pyproject.toml, the pipeline from PIPELINE, and the two walks from
lists of functions whose words and answers are read from their source. A unit test follows an event in a running world.
"""

from __future__ import annotations

from pathlib import Path

from maps import pipeline, rooms, walks

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
PACKAGES = ("flywheel_api", "flywheel_operator", "flywheel_jobs")


def pictures() -> dict[str, str]:
    """Every picture by its file's name."""
    found = {f"rooms-{package.removeprefix('flywheel_')}.svg": rooms.picture(package) for package in PACKAGES}
    return found | {"stages.svg": pipeline.picture(), **walks.pictures()}


def write(found: dict[str, str], folder: Path = FOLDER) -> list[Path]:
    """Write them; the paths."""
    for name, text in found.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in found]
