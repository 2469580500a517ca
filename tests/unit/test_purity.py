"""plan, render and all that they may call know no clock and open nothing.

Contracts see imports, this sees calls, and both find a breach.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ROOT / "operator" / "flywheel_operator"
PURE = [*sorted((OPERATOR / "plan").glob("*.py")), *sorted((OPERATOR / "render").glob("*.py"))]
PURE += [OPERATOR / "model.py"]
API = ROOT / "operator" / "flywheel_api"
GENERATORS = {"__main__", "crd", "generate", "reference", "troubleshooting"}  # edges; nothing pure imports them
READ_AT_IMPORT = {"verl_keys"}  # a value is made of a file while the module is imported, never by a call
PURE += [path for path in sorted(API.rglob("*.py")) if path.stem not in GENERATORS | READ_AT_IMPORT]
CLOCKS = {"now", "utcnow", "today"}  # of datetime and date; `self.now` is a value that was handed in
FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "touch", "unlink", "iterdir", "glob"}
BUILTINS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint"}
MODULES = {"time", "os", "random", "secrets", "uuid", "pathlib", "socket", "subprocess", "sys", "io", "asyncio"}


def impurities(source: str) -> list[str]:
    """Expressions that read a clock, open something or reach out, with their lines."""
    tree = ast.parse(source)
    names = {"datetime", "date"} | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names
        if alias.name in ("datetime", "date", "datetime.datetime")
    }
    return [f"{node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if _impure(node, names)]


def _impure(node: ast.AST, dates: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in BUILTINS | MODULES | {"Path"} and isinstance(node.ctx, ast.Load)
    if isinstance(node, ast.Attribute):
        return node.attr in CLOCKS and ast.unparse(node.value).rpartition(".")[2] in dates
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in FILES | CLOCKS | {"utcfromtimestamp"}
    return False


def _calls_impure(source: str) -> list[str]:
    """The same in functions only: what is done once, while the module is imported, is left out."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    return [
        found for node in ast.walk(ast.parse(source)) if isinstance(node, functions)
        for found in impurities(ast.unparse(node))
    ]  # fmt: skip


@pytest.mark.parametrize("path", PURE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_plan_and_render_call_no_clock_and_open_nothing(path: Path) -> None:
    assert impurities(path.read_text()) == []


@pytest.mark.parametrize("name", sorted(READ_AT_IMPORT))
def test_what_is_read_at_import_is_read_by_no_call(name: str) -> None:
    source = (API / f"{name}.py").read_text()
    assert impurities(source) and not _calls_impure(source)


def test_a_file_that_a_call_reads_is_told_from_one_that_is_read_at_import() -> None:
    read = "(resources.files('flywheel_api') / 'verl_keys.json').read_text()"
    assert _calls_impure(f"@cache\ndef verl_keys():\n    return {read}") and not _calls_impure(f"KEYS = {read}")


def test_nothing_that_is_pure_imports_a_generator() -> None:
    names = {f"flywheel_api.{name}" for name in GENERATORS}
    for path in [*PURE, *(API / f"{name}.py" for name in READ_AT_IMPORT)]:
        imported = {
            f"{node.module}.{alias.name}" if node.module == "flywheel_api" else str(node.module)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert not imported & names, path


@pytest.mark.parametrize(
    "breach",
    [
        "from datetime import datetime\nNOW = datetime.now()",
        "from datetime import UTC, datetime as d\nnow = d.now(UTC)",
        "import datetime\nmoment = datetime.datetime.utcnow",
        "from datetime import date\nday = date.today()",
        "import datetime as clock\nday = clock.date.today()",
        "import time\nstarted = time.monotonic()",
        "rules = open('rules.yaml').read()",
        "from pathlib import Path\ntext = Path('rules.yaml').read_text()",
        "def load(path):\n    return path.read_bytes()",
        "import os\nhome = os.environ['HOME']",
        "json = __import__('json')",
        "print('planned')",
        "def keys():\n    return json.loads((resources.files('flywheel_api') / 'verl_keys.json').read_text())",
    ],
)
def test_a_clock_or_a_file_is_found(breach: str) -> None:
    assert impurities(breach)


OURS = ("settings", "queue", "execute", "runtime", "logs", "metrics", "reconcile", "observe", "ports", "render", "app")
FOREIGN = ("shutil", "http.client", "urllib.request", "logging", "tempfile", "select", "sqlite3", "time", "random")


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says of a copy in which plan, render and a stage import what they must not."""
    copy = tmp_path_factory.mktemp("copy")
    for package in ("operator", "jobs", "tests/lint"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    ours = "".join(f"import flywheel_operator.{name}\n" for name in OURS)
    foreign = "".join(f"import {name}\n" for name in FOREIGN)
    _append(copy / "operator/flywheel_operator/plan/budget.py", ours + foreign)
    _append(copy / "operator/flywheel_operator/render/job.py", "import flywheel_operator.reconcile\n" + foreign)
    _append(copy / "operator/flywheel_operator/ports/kinds.py", "import flywheel_operator.plan.budget\n")
    _append(copy / "operator/flywheel_operator/execute.py", "import kopf\nimport minio\n")
    _append(copy / "operator/flywheel_api/names.py", "import flywheel_api.round\nimport random\n")
    _append(copy / "jobs/flywheel_jobs/stages/package.py", "import torch\nimport kubernetes\nimport kopf\n")
    _append(copy / "jobs/flywheel_jobs/endpoints/llm.py", "import flywheel_jobs.stages.package\n")
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    path = os.pathsep.join(str(copy / folder) for folder in ("operator", "jobs", "tests"))
    done = subprocess.run(
        command, cwd=copy, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + "\n" + text)


@pytest.mark.parametrize("name", [*(f"flywheel_operator.{name}" for name in OURS), *FOREIGN])
def test_plan_imports_nothing_that_acts(complaints: str, name: str) -> None:
    shown = name if name.startswith("flywheel_operator") else name.partition(".")[0]
    assert f"flywheel_operator.plan.budget is not allowed to import {shown}" in complaints


@pytest.mark.parametrize("name", ["flywheel_operator.reconcile", "shutil", "urllib", "time", "logging"])
def test_render_imports_nothing_that_acts(complaints: str, name: str) -> None:
    assert f"flywheel_operator.render.job is not allowed to import {name}" in complaints


@pytest.mark.parametrize(
    "words",
    [
        "flywheel_operator.ports is not allowed to import flywheel_operator.plan",
        "flywheel_operator is not allowed to import kopf",
        "flywheel_operator is not allowed to import minio",
        "flywheel_api.names is not allowed to import flywheel_api.round",
        "flywheel_api.names is not allowed to import random",
        "flywheel_jobs.endpoints is not allowed to import flywheel_jobs.stages",
        "flywheel_jobs.stages is not allowed to import torch",
        "flywheel_jobs is not allowed to import kubernetes",
        "flywheel_jobs is not allowed to import kopf",
    ],
)
def test_layers_and_corners_hold(complaints: str, words: str) -> None:
    assert words in complaints
