"""`python -m flywheel_jobs <command>`: every entry point of the jobs, train and serve images.

Commands import what they need when they run, so that the CPU image needs no machine-learning package.
"""

from __future__ import annotations

import argparse
import sys


def stage() -> int:
    """Run one CPU stage of a round (FLYWHEEL_STAGE_CONFIG)."""
    from flywheel_jobs.stages.main import main

    return main()


def train() -> int:
    """Run one attempt of an RLJob on a Ray head (FLYWHEEL_TRAIN_CONFIG)."""
    from flywheel_jobs.trainer.main import main

    return main()


def fetch_model() -> int:
    """Download and verify a checkpoint."""
    from flywheel_jobs.harness.fetch_model import main

    return main()


def import_model() -> int:
    """Convert the packaged GGUF model and commit it."""
    from flywheel_jobs.trainer.import_model import main

    return main()


def domain() -> int:
    """Test a domain's folder, begin one, or take one over from another format."""
    from flywheel_domains.cli import main

    return main(sys.argv[1:])


COMMANDS = {
    "stage": stage,
    "train": train,
    "fetch-model": fetch_model,
    "import-model": import_model,
    "domain": domain,
}


def main(argv: list[str]) -> int:
    """Dispatches; the rest of the arguments belong to the command, which returns the exit code."""
    parser = argparse.ArgumentParser(prog="flywheel_jobs", description="Entry points of Flywheel's pods.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.__doc__, add_help=False)
    chosen, rest = parser.parse_known_args(argv)
    sys.argv = [f"flywheel_jobs {chosen.command}", *rest]
    return COMMANDS[chosen.command]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
