"""`python -m flywheel_jobs domain …`: test a domain, begin one, take one over from another format.

Exit codes: 0 nothing found, 1 findings (or a source that cannot be read), 2 wrong words on the command line.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flywheel_domains.archive import BadArchive, from_path, written
from flywheel_domains.importers import IMPORTERS, ImportFault

TEMPLATE = Path(__file__).with_name("template")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def main(argv: Sequence[str]) -> int:
    """Runs one of the commands; everything that it says goes to standard output, mistakes of use to standard error."""
    chosen = _parser().parse_args(argv)
    try:
        return int(chosen.run(chosen))
    except (BadArchive, ImportFault, OSError) as problem:
        print(f"domain {chosen.command}: {problem}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flywheel_jobs domain", description="Domains: folders with a domain.yaml.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    test = commands.add_parser("test", help="check a domain, without a cluster; exit code 1 on findings")
    test.add_argument("folder", type=Path, help="a folder with domain.yaml, or a .tar.gz of one")
    test.add_argument("--seed", type=int, default=0, help="first seed of the worlds that are looked at (default 0)")
    test.add_argument("--without", nargs="+", default=(), metavar="CHECK", help="checks to leave out, by name")
    test.set_defaults(run=_test)
    new = commands.add_parser("new", help="write a small domain that passes, to change piece by piece")
    new.add_argument("name", help="its name: small letters, digits and underscores")
    new.add_argument("--into", type=Path, help="the folder to make (default: a folder of that name here)")
    new.set_defaults(run=_new)
    take = commands.add_parser("import", help="take over what can be of another format; what is left says TODO")
    take.add_argument(
        "kind", choices=sorted(IMPORTERS), help="tau2 and general-agent: a folder; mcp: JSON of tools/list"
    )
    take.add_argument("source", type=Path, help="the folder or file")
    take.add_argument("--into", type=Path, required=True, help="the folder to make")
    take.set_defaults(run=_import)
    return parser


def _test(chosen: argparse.Namespace) -> int:
    from flywheel_domains.check import check

    try:
        files = from_path(chosen.folder)
    except BadArchive as error:
        raise BadArchive(f"{chosen.folder} is refused: {error}") from error
    with tempfile.TemporaryDirectory(prefix="domain-") as scratch:  # what is tested is what a round would take
        name = chosen.folder.resolve().name.partition(".")[0] or "domain"
        report = check(written(files, Path(scratch) / name), chosen.seed, chosen.without)
    print(report.text())
    return 0 if report.passed else 1


def _new(chosen: argparse.Namespace) -> int:
    if not NAME.fullmatch(chosen.name):
        print(f"domain new: {chosen.name!r}: a name has small letters, digits and underscores", file=sys.stderr)
        return 2
    folder = chosen.into or Path(chosen.name)
    begin(chosen.name, folder)
    print(f"{folder / 'domain.yaml'} written. Next:\n  python -m flywheel_jobs domain test {folder}")
    return 0


def begin(name: str, folder: Path) -> None:
    """Writes the small domain under a name; raises FileExistsError where a folder with something in it stands."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(TEMPLATE.glob("*.yaml")):
        text = source.read_text(encoding="utf-8").replace("repair_desk", name)
        (folder / source.name).write_text(text, encoding="utf-8")


def _import(chosen: argparse.Namespace) -> int:
    draft = IMPORTERS[chosen.kind](chosen.source)
    written = draft.write(chosen.into)
    print("\n".join(f"{path} written" for path in written))
    print("\n".join(f"note: {note}" for note in draft.notes))
    print(
        f"{len(draft.tables)} tables, {len(draft.tools)} tools, {len(draft.rules)} rule stubs; {draft.left()} TODO left"
    )
    return 0
