"""Write the golden files: `make golden`, or `python -m golden` with tests/ on PYTHONPATH."""

from __future__ import annotations

from golden import FOLDER, rendered, text_of

for name, objects in rendered().items():
    (FOLDER / f"{name}.yaml").write_text(text_of(objects))
    print(FOLDER / f"{name}.yaml")
