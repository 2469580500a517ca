"""`domain test`: the small domain passes, and each broken one is told by the check that is for it, with its line."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flywheel_domains.archive import LARGEST
from flywheel_domains.check import check, proofs, sample, worlds
from flywheel_domains.check.subject import Subject
from flywheel_domains.check.table import CHECKS
from flywheel_domains.cli import TEMPLATE, begin, main
from flywheel_domains.expr import Cell
from flywheel_domains.load import load
from flywheel_domains.lookups import Unprovable
from flywheel_domains.patience import Limit
from unit.domains.broken import BROKEN, Broken

SLOW = ("again", "agents")
"""Checks that take a second: left out where another check's domain is told."""
READ = ("schema", "examples", "reach", "sentences", "descriptions", "generators")
"""Checks that play no case: their domains are told by them alone."""


@pytest.fixture(autouse=True)
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for the small domain."""
    monkeypatch.setattr(sample, "PER_SIDE", 2)
    monkeypatch.setattr(sample, "FREE", 40)
    monkeypatch.setattr(proofs, "MOST_PLAYED", 14)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: b.name)
def test_a_broken_domain_is_told_with_its_line_and_by_one_check_only(broken: Broken, tmp_path: Path) -> None:
    """Only one, so that a check that is taken out is missed."""
    folder = broken.make(tmp_path / "domain")
    left_out = {row.name for row in CHECKS} - set(READ) if broken.check in READ else set(SLOW)
    found = check(folder, without=left_out - {broken.check}).findings
    told = "\n".join(f.text() for f in found)
    assert any((f.file, f.line) == (broken.file, broken.line(folder)) and broken.says in f.text() for f in found), told
    assert {f.check for f in found} == {broken.check, *broken.also}, told
    assert all(f.message and f.where for f in found)


def test_a_row_that_the_conversation_made_is_told_as_such() -> None:
    """No read leads to it from what a caller knows, and the author has to be told where it is shown."""
    subject = Subject(TEMPLATE, load(TEMPLATE))
    found = subject.sample.free[0]
    for row, advice in (
        ("R0000", "let it `show` that row"),
        (next(iter(found.start.view().ids("repairs"))), "add a read"),
    ):
        error = Unprovable(found.results[-1], frozenset({Cell("repairs", row, "stage")}))
        subject.__dict__["unprovable"] = [(found, error)]
        (finding,) = proofs.unproven(subject)
        assert advice in finding.advice


def test_two_processes_that_differ_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process runs the code as it stands, so the difference is made here."""
    begin("kites", tmp_path / "kites")
    monkeypatch.setattr(worlds, "digests", lambda subject: {"world 0": "other", "rules.own": "other"})
    found = check(tmp_path / "kites", without=["agents"]).findings
    assert [(f.check, f.where) for f in found] == [("again", "tables"), ("again", "rules.own")]


@pytest.mark.parametrize("limit", [Limit(cpu=0, clock=600), Limit(cpu=600, clock=0)])
def test_a_second_run_that_comes_to_no_end_is_told_and_ends(
    limit: Limit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("kites", tmp_path / "kites")
    monkeypatch.setattr(worlds, "PATIENCE", limit)
    monkeypatch.setattr(worlds, "TICK_S", 0.05)
    monkeypatch.setattr(worlds, "digests", lambda subject: {})
    (found,) = worlds.again(Subject(tmp_path / "kites", load(tmp_path / "kites")))
    assert found.check == "again" and "the second run took more than 0 s" in found.message


def test_every_check_has_a_broken_domain() -> None:
    assert {b.check for b in BROKEN} | {"again"} == {"schema", *(row.name for row in CHECKS)}


def test_a_new_domain_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "kites"
    assert main(["new", "kites", "--into", str(folder)]) == 0
    assert main(["test", str(folder)]) == 0
    said = capsys.readouterr().out
    assert (
        "domain: kites" in (folder / "domain.yaml").read_text()
        and "repair_desk" not in (folder / "domain.yaml").read_text()
    )
    assert "passed: 0 findings" in said


def test_findings_are_exit_code_one_with_file_line_and_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = next(b for b in BROKEN if b.check == "descriptions")
    folder = broken.make(tmp_path / "domain")
    assert main(["test", str(folder), "--without", "again"]) == 1
    said = capsys.readouterr().out
    assert f"domain.yaml:{broken.line(folder)}: " in said and "FAILED" in said and "describe what the call does" in said


@pytest.mark.parametrize("name", ["", "Kites", "../kites", "kites-2", "9kites", "k" * 41])
def test_a_name_that_the_format_does_not_have_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", name]) == 2
    assert "small letters" in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["new", "kites", "--into", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(FileExistsError):
        begin("kites", tmp_path)


def archived(files: dict[str, bytes], edit: Callable[[tarfile.TarInfo], None] = lambda _: None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            edit(entry)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


READ_ONLY = ["--without", *sorted({row.name for row in CHECKS} - set(READ))]


def test_an_archive_is_tested_as_the_folder_in_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, broken in enumerate([None, next(b for b in BROKEN if b.name == "a float in a column")]):
        folder = tmp_path / f"desk{number}"
        if broken is None:
            begin("desk", folder)
        else:
            broken.make(folder)
        packed = tmp_path / f"desk{number}.tar.gz"
        packed.write_bytes(archived({f"desk/{p.name}": p.read_bytes() for p in folder.iterdir()}))
        said = []
        for source in (folder, packed):
            assert main(["test", str(source), *READ_ONLY]) == (0 if broken is None else 1)
            said.append(re.sub(r"\d+\.\d+ s", "", capsys.readouterr().out))
        assert said[0] == said[1] and said[0].startswith(f"domain desk{number}\n")


def link(entry: tarfile.TarInfo) -> None:
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"


REFUSED = {
    "nothing": (b"", "cannot be read as a tar archive"),
    "above": (archived({"desk/../../domain.yaml": b"x"}), "'desk/../../domain.yaml' leads out of it"),
    "a link": (archived({"domain.yaml": b""}, link), "'domain.yaml' is a link or a device"),
    "a bomb": (gzip.compress(bytes(LARGEST + 1)), "larger than 8 MiB"),
    "no domain": (archived({"tools.py": b""}), "there is no domain.yaml in it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_archive_that_is_a_trap_is_refused(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, why = REFUSED[case]
    (tmp_path / "desk.tgz").write_bytes(data)
    assert main(["test", str(tmp_path / "desk.tgz")]) == 1
    said = capsys.readouterr().err
    assert why in said and "desk.tgz is refused" in said


@pytest.mark.parametrize("what", ["folder", "archive"])
def test_two_gigabytes_are_refused_before_they_are_read(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("desk", tmp_path / "desk")
    large = tmp_path / "desk" / "rows.csv" if what == "folder" else tmp_path / "desk.tgz"
    with large.open("wb") as file:
        file.truncate(2 << 30)  # a hole: nothing of it is on the disk
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    assert main(["test", str(tmp_path / "desk" if what == "folder" else large)]) == 1
    assert "8 MiB" in capsys.readouterr().err


def test_a_link_in_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin("desk", tmp_path / "desk")
    (tmp_path / "tools.py").write_text("")
    (tmp_path / "desk" / "tools.py").symlink_to(tmp_path / "tools.py")
    assert main(["test", str(tmp_path / "desk")]) == 1
    assert "'tools.py' is a link" in capsys.readouterr().err


def test_a_folder_without_a_domain_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(tmp_path)]) == 1
    assert "there is no domain.yaml in it" in capsys.readouterr().err
    assert main(["test", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_the_command_starts_without_anything_heavy() -> None:
    code = (
        "import sys; sys.argv = ['x', 'domain', 'new', '9']; from flywheel_jobs.__main__ import main\n"
        "assert main(['domain', 'new', '9']) == 2\n"
        "heavy = {'numpy', 'pyarrow', 'aiohttp', 'minio', 'sympy', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
