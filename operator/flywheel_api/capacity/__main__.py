"""`python -m flywheel_api.capacity FILE [CONFIG] [CARD]`: what a resource in a file will need (`make estimate`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from flywheel_api.capacity.text import estimate


def shown(resource: str, config: str = "", card: str = "H100") -> str:
    """The estimate of a resource in a file, for a command line: `config` is a file too, or empty.

    Raises SystemExit with a sentence where there is none.
    """
    try:
        return estimate(_text(resource), _text(config) if config else None, card)
    except ValueError as error:
        raise SystemExit(f"no estimate of {resource}: {error}") from error


def _text(path: str) -> str:
    """A file's text. Raises ValueError with a sentence."""
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text") from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="flywheel_api.capacity")
    parser.add_argument("resource", help="a FlywheelRound, RLJob or RolloutPool, in YAML")
    parser.add_argument("config", nargs="?", default="", help="its model's config.json")
    parser.add_argument("card", nargs="?", default="H100")
    print(shown(**vars(parser.parse_args())))
