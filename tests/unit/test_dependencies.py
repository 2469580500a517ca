"""Every third-party import is a declared dependency, so that an image holds what its code asks for."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# import name -> distribution, where they differ
DISTRIBUTION = {
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
    "prometheus_client": "prometheus-client",
    "math_verify": "math-verify",
    "huggingface_hub": "huggingface-hub",
}
OURS = {"flywheel_api", "flywheel_store", "flywheel_operator", "flywheel_domains", "flywheel_jobs", "flywheel_standin"}
# in the ray images only: these folders and modules run nowhere else
ML = {
    "torch",
    "verl",
    "vllm",
    "ray",
    "transformers",
    "safetensors",
    "tensordict",
    "psutil",
    "omegaconf",
    "gguf",
    "hydra",
    "tensorboard",
    "wandb",
}


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {re.split(r"[<>=\[ ;!~]", line)[0].lower() for line in lines}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(top-level module, whether the import runs when the file is imported) of every absolute import."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or _type_checking(function)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], id(node) not in inside
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0], id(node) not in inside


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def third_party(folder: str) -> Iterator[tuple[Path, str, bool]]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for name, at_import in imports(path):
            if name not in sys.stdlib_module_names and name not in OURS:
                yield path.relative_to(ROOT / folder), DISTRIBUTION.get(name, name), at_import


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("operator/flywheel_api", ()),
        ("operator/flywheel_operator", ("operator",)),
        ("operator/flywheel_store", ("operator",)),
        ("operator/flywheel_store", ("jobs",)),
        ("jobs/flywheel_standin", ("jobs",)),
    ],
)
def test_imports_are_declared(folder: str, extras: tuple[str, ...]) -> None:
    allowed = declared(*extras)
    assert not [(str(path), name) for path, name, _ in third_party(folder) if name not in allowed]


def test_jobs_imports_are_declared_and_ml_stays_in_its_corner() -> None:
    """trainer/ and rollout/ may import the ML packages; elsewhere they are imported inside functions only."""
    allowed = declared("jobs")
    undeclared = [
        (str(path), name)
        for path, name, at_import in third_party("jobs/flywheel_jobs")
        if name not in allowed and not (name in ML and (path.parts[0] in ("trainer", "rollout") or not at_import))
    ]
    assert not undeclared


def test_jobs_package_is_light_to_import() -> None:
    """`python -m flywheel_jobs stage` must not load the trainer: no top-level import of it elsewhere."""
    offending = []
    for path in sorted((ROOT / "jobs/flywheel_jobs").rglob("*.py")):
        inside = path.relative_to(ROOT / "jobs/flywheel_jobs")
        if inside.parts[0] in ("trainer", "rollout"):
            continue
        for node in ast.parse(path.read_text()).body:
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            offending += [(str(inside), m) for m in modules if re.match(r"flywheel_jobs\.(trainer|rollout)\b", m)]
    assert not offending


def test_no_extra_that_nobody_imports() -> None:
    """What is declared for the pods is used by them: an unused package is weight and risk."""
    for folder, extra in (("operator/flywheel_operator", "operator"), ("jobs/flywheel_jobs", "jobs")):
        used = {name for part in (folder, "operator/flywheel_store") for _, name, _ in third_party(part)}
        assert not declared(extra) - declared() - used, f"unused in {folder}"
