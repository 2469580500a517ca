"""Write the golden files: `make golden`, or `python -m golden` with tests/ on PYTHONPATH."""

from __future__ import annotations

from golden import FOLDER, gpu_shape, rendered, text_of

for name, objects in rendered().items():
    (FOLDER / f"{name}.yaml").write_text(text_of(objects))
    print(FOLDER / f"{name}.yaml")
gpu_shape.FILE.write_text("\n".join(gpu_shape.differences()) + "\n")
print(gpu_shape.FILE)
