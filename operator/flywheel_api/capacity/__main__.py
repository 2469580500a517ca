"""`python -m flywheel_api.capacity FILE [CONFIG] [CARD]`: what a resource in a file will need (`make estimate`)."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from flywheel_api.capacity.hardware import CARDS
from flywheel_api.capacity.text import estimate


def shown(resource: str, config: str = "", card: str = "H100") -> str:
    """The estimate of a resource in a file, for a command line: `config` is a file too, or empty.

    Raises SystemExit with a sentence where there is none.
    """
    try:
        return estimate(Path(resource).read_text(), Path(config).read_text() if config else None, card)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SystemExit(f"no estimate: {error}") from error
    except (KeyError, TypeError) as error:
        known = f"no FlywheelRound, RLJob or RolloutPool, or {card} none of {', '.join(CARDS)}"
        raise SystemExit(f"no estimate: {resource} is {known}") from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="flywheel_api.capacity")
    parser.add_argument("resource", help="a FlywheelRound, RLJob or RolloutPool, in YAML")
    parser.add_argument("config", nargs="?", default="", help="its model's config.json")
    parser.add_argument("card", nargs="?", default="H100")
    print(shown(**vars(parser.parse_args())))
