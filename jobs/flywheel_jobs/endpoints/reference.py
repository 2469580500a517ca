"""docs/reference/endpoints.md from the door's table: `python -m flywheel_jobs.endpoints.reference`."""

from __future__ import annotations

from pathlib import Path

from flywheel_jobs.endpoints.door import TABLE
from flywheel_jobs.endpoints.verdicts import MEANING

PAGE = "docs/reference/endpoints.md"
_HEADER = """<!-- Generated from jobs/flywheel_jobs/endpoints/door.py by `make generate`; change the table there. -->

# What a response of an endpoint is

The first line that fits decides. "Counted as" is the word in logs and, for an item that is dropped, in
`status.stages[].dropped` and the report. [Troubleshooting](../troubleshooting.md#why-an-item-was-dropped) has those
words with all others, such as `not-independent`, which no single response gives.

"""


def page() -> str:
    """The page."""
    lines = ["| what comes back | is | counted as | what a person must do |", "|---|---|---|---|"]
    lines += [f"| {r.what} | {r.outcome.value} | `{r.word}` | {r.advice} |" for r in TABLE]
    lines += ["", *(f"- **{outcome.value}**: {meaning}" for outcome, meaning in MEANING.items())]
    return _HEADER + "\n".join(lines) + "\n"


def main() -> None:
    """Command line: writes into the repository that this file belongs to."""
    (Path(__file__).resolve().parents[3] / PAGE).write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
