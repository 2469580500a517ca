"""`python -m flywheel_jobs <command>`: every entry point of the jobs, train and serve images.

Commands import what they need when they run, so that the CPU image needs no machine-learning package.
"""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "stage": ("flywheel_jobs.harness.runner", "main", "run one CPU stage of a round (FLYWHEEL_STAGE_CONFIG)"),
    "train": (
        "flywheel_jobs.trainer.main",
        "main",
        "run one attempt of an RLJob on a Ray head (FLYWHEEL_TRAIN_CONFIG)",
    ),
    "fetch-model": ("flywheel_jobs.harness.fetch_model", "main", "download and verify a checkpoint"),
    "import-model": ("flywheel_jobs.trainer.import_model", "main", "convert the packaged GGUF model and commit it"),
}


def main(argv: list[str]) -> int:
    """Dispatches; the rest of the arguments belong to the command, whose `main` returns the exit code."""
    parser = argparse.ArgumentParser(prog="flywheel_jobs", description="Entry points of Flywheel's pods.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (_, _, summary) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    chosen, rest = parser.parse_known_args(argv)
    module, function, _ = COMMANDS[chosen.command]
    entry = getattr(importlib.import_module(module), function)
    sys.argv = [f"flywheel_jobs {chosen.command}", *rest]
    return int(entry() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
