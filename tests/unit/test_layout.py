"""Guards of the repository's layout that no linter knows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(path.stem for path in (ROOT / "images" / "locks").glob("*.txt"))


def git_files() -> list[str]:
    """Tracked files plus new ones that git does not ignore, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def test_operator_folder_is_not_a_package() -> None:
    """With `operator/__init__.py` the folder shadows the standard library's `operator`, and nothing starts any more.

    A fresh interpreter with the root first on its path shows it; pytest itself has loaded the real one long ago.
    """
    code = "import collections, operator; assert operator.add(1, 2) == 3; print(operator.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).is_relative_to(ROOT)
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "jobs" / "__init__.py").exists()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_hashed_and_has_no_address(name: str) -> None:
    text = (ROOT / "images" / "locks" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert entries
    for entry in entries:
        first = entry.splitlines()[0]
        assert re.match(r"[a-z0-9][a-z0-9._-]*==[^ ]+( ;.*)? \\$", first), f"not an exact pin: {first}"
        assert "--hash=sha256:" in entry, f"no hash: {first}"
    # an index, a find-links folder, a direct reference or a header that names this machine
    assert not re.search(r"://|\s@\s|--(index-url|extra-index-url|find-links)|(^|\s)(/|\.\.?/|file:)|#", text)


def test_no_lock_format_that_writes_registry_addresses() -> None:
    names = {Path(f).name for f in git_files()}
    assert not [n for n in names if n == "uv.lock" or (n.startswith("pylock") and n.endswith(".toml"))]


def test_operator_lock_holds_no_machine_learning() -> None:
    """The operator image stays small: what it may import is what its lock holds."""
    text = (ROOT / "images" / "locks" / "operator.txt").read_text()
    names = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert {"kopf", "kubernetes", "aiohttp", "minio", "pydantic"} <= names
    assert not names & {"torch", "ray", "vllm", "verl", "transformers", "numpy", "pyarrow"}


def test_module_sizes() -> None:
    """Modules stay readable: 500 lines is the hard limit (300 is the aim)."""
    sizes = {
        f: len((ROOT / f).read_text().splitlines())
        for f in git_files()
        if f.endswith(".py") and f.startswith(("operator/", "jobs/", "images/", "tests/")) and (ROOT / f).exists()
    }
    assert not {f: n for f, n in sizes.items() if n > 500}
    assert not [f for f in sizes if Path(f).stem in ("utils", "util", "helpers")]
