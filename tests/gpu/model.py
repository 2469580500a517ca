"""The demo's model as a Hugging Face folder, by the project's own importer (`trainer.import_model`).

    python3 -m gpu.model PROJECT FOLDER_WITH_GGUF TARGET

The importer needs transformers 5.16 or newer, which the GPU machine's image has and the locked trainer environment
(5.9) has not; the rest comes from the locked environment. Run by receive.sh beside the first parts of the check.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path


def main() -> int:
    project, source, target = (Path(a).resolve() for a in sys.argv[1:4])
    fw = Path(os.environ.get("FW", "/tmp/fw"))
    if (target / "done").exists():
        return 0
    overlay = fw / "import-site"
    shutil.rmtree(overlay, ignore_errors=True)
    overlay.mkdir(parents=True)
    for path in (fw / "site").iterdir():
        if not path.name.startswith(("transformers", "tokenizers", "huggingface_hub", "numpy", "bin")):
            (overlay / path.name).symlink_to(path)
    sys.path = [p for p in sys.path if Path(p).resolve() != (fw / "site").resolve()]
    sys.path[:0] = [str(overlay), str(project / "jobs"), str(project / "operator")]
    started = time.monotonic()
    import transformers

    from flywheel_jobs.trainer import import_model

    shutil.rmtree(target, ignore_errors=True)
    import_model.convert(next(source.glob("*.gguf")), target, import_model._template(None))
    (target / "done").write_text(f"{time.monotonic() - started:.1f}")
    print(f"model: transformers {transformers.__version__}, {time.monotonic() - started:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
