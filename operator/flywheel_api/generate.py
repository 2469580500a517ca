"""Write everything that is generated from the models: `python -m flywheel_api.generate` in the repository's root."""

from __future__ import annotations

from pathlib import Path

from flywheel_api.crd import write_crds
from flywheel_api.reference import write_reference
from flywheel_api.troubleshooting import write_troubleshooting

CRD_FOLDERS = ("crds", "charts/flywheel/files/crds")  # the chart can only read files of its own
REFERENCE_FOLDER = "docs/reference"


def generate(root: Path) -> list[Path]:
    """Write all generated files below `root`; their paths."""
    written = [path for folder in CRD_FOLDERS for path in write_crds(root / folder)]
    return written + write_reference(root / REFERENCE_FOLDER) + write_troubleshooting(root)


def main() -> None:
    """Command line: generates into the repository that this file belongs to."""
    root = Path(__file__).resolve().parents[2]
    for path in generate(root):
        print(path.relative_to(root))


if __name__ == "__main__":
    main()
