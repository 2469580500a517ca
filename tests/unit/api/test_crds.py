"""CRDs are structural, bounded and documented, and what is committed is what the models say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field
from pydantic.alias_generators import to_camel

from flywheel_api import rljob
from flywheel_api.base import ApiModel
from flywheel_api.causes import Cause, ExitCode
from flywheel_api.conditions import Reason
from flywheel_api.crd import crd, crd_yaml
from flywheel_api.ends import End
from flywheel_api.generate import generate
from flywheel_api.pool import RolloutPoolSpec
from flywheel_api.reasons import CHAPTERS, QUIET
from flywheel_api.resources import KINDS, Kind
from flywheel_api.results import GateOutcome, Split, Track, Verdict
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec, TrackTraining, TrainingSpec
from flywheel_api.round_status import StageState
from flywheel_api.round_training import FIXED_IN_A_TRACK, FIXED_IN_TRAINING
from flywheel_api.schema import SchemaError, structural_schema
from flywheel_api.troubleshooting import write_troubleshooting

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SPECS: dict[str, type[BaseModel]] = {
    "FlywheelRound": FlywheelRoundSpec,
    "RLJob": RLJobSpec,
    "RolloutPool": RolloutPoolSpec,
}
KIND_IDS = [kind.kind for kind in KINDS]
Schema = dict[str, Any]


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def root_of(kind: Kind) -> Schema:
    root: Schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_schemas_hold_nothing_that_a_structural_schema_refuses(kind: Kind) -> None:
    for path, node in nodes(root_of(kind)):
        assert not {"$ref", "anyOf", "allOf", "oneOf", "title", "const", "$defs", "pattern"} & set(node), path
        assert node.get("additionalProperties") is not False, path
        free = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")
        assert "type" in node or any(node.get(mark) for mark in free), path


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_everything_a_user_writes_is_bounded_and_described(kind: Kind) -> None:
    for path, node in nodes(structural_schema(kind.spec), "spec"):
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, f"{path} has no maxLength: CEL's cost is bounded by it"
        if node.get("type") == "array":
            assert "maxItems" in node, f"{path} has no maxItems"
        if "additionalProperties" in node:
            assert "maxProperties" in node, f"{path} has no maxProperties"
        if path and not path.endswith(("[]", "{}")):
            assert node.get("description"), f"{path} has no description"


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_every_number_a_user_writes_has_both_bounds(kind: Kind) -> None:
    """Numbers as strings have them in a rule, which `test_bounds` tries."""
    for path, node in nodes(structural_schema(kind.spec), "spec"):
        if node.get("type") in ("integer", "number"):
            assert {"minimum", "maximum"} <= set(node), path
        if re.fullmatch(r"-?[0-9.e-]+", str(node.get("default", ""))) and node.get("type") == "string":
            rule = node["x-kubernetes-validations"][0]["rule"]
            assert "double(self) >" in rule and "double(self) <" in rule, path


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_lists_of_keyed_objects_name_their_key_and_items_have_no_defaults(kind: Kind) -> None:
    for path, node in nodes(root_of(kind)):
        if "x-kubernetes-list-map-keys" in node:
            assert node["x-kubernetes-list-type"] == "map"
            assert set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]), path
        if "[]" in path:
            assert "default" not in node, f"{path}: a default in an item shows as a change in every client-side apply"


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
def test_a_crd_is_small_quotes_its_numbers_and_reads_back(kind: Kind) -> None:
    text = crd_yaml(kind)
    assert len(text.encode()) < 200_000
    assert yaml.load(text, yaml.CSafeLoader) == crd(kind)
    assert not re.search(r"default: -?[0-9.]+e", text), "Go's YAML reads 1e-6 as a number"


def test_conditions_columns_read_named_conditions() -> None:
    for kind in KINDS:
        for column in kind.columns:
            assert "[-1" not in column.path and "[0" not in column.path


def test_unions_recursion_and_patterns_without_words_are_errors() -> None:
    class Union(BaseModel):
        value: int | str

    class Node(BaseModel):
        children: list[Node] = []

    class Pattern(BaseModel):
        word: Annotated[str, Field(pattern="^x+$")]

    Node.model_rebuild(_types_namespace={"Node": Node})
    with pytest.raises(SchemaError, match="union"):
        structural_schema(Union)
    with pytest.raises(SchemaError, match="contains itself"):
        structural_schema(Node)
    with pytest.raises(SchemaError, match="PATTERN_MESSAGES"):
        structural_schema(Pattern)


def test_defaults_are_written_out_in_full_and_without_nulls() -> None:
    algorithm = structural_schema(RLJobSpec)["properties"]["algorithm"]
    assert algorithm["default"]["clip"] == {"low": "0.2", "high": "0.28", "c": "10"}
    assert "maxSteps" not in algorithm["default"]
    assert algorithm["properties"]["groupSize"]["description"].endswith("Default: 16.")
    assert "default" not in structural_schema(RLJobSpec, defaults=False)["properties"]["algorithm"]


def test_generated_files_are_what_the_models_say(tmp_path: Path) -> None:
    for path in generate(tmp_path):
        committed = ROOT / path.relative_to(tmp_path)
        assert committed.read_text() == path.read_text(), f"{committed} is old: run `make generate`"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_and_hold_no_secret(path: Path) -> None:
    body = yaml.safe_load(path.read_text())
    if body["kind"] == "Secret":
        assert body["stringData"]["secretKey"] == "REPLACE-ME"
        return
    SPECS[body["kind"]].model_validate(body["spec"])


def test_the_demo_round_fits_in_25_lines() -> None:
    assert len((ROOT / "examples" / "round.yaml").read_text().splitlines()) <= 25


def test_every_reason_is_explained_once_or_needs_nobody() -> None:
    explained = [reason for chapter in CHAPTERS for reason in chapter.reasons]
    assert sorted([*explained, *QUIET]) == sorted(Reason)
    for chapter in CHAPTERS:
        assert all(told.happened.endswith((".", ")")) and told.do for told in chapter.reasons.values())


def test_the_troubleshooting_page_is_what_the_tables_say(tmp_path: Path) -> None:
    (written,) = write_troubleshooting(tmp_path)
    assert written.read_text() == (ROOT / "docs" / "troubleshooting.md").read_text(), "run `make generate`"


def test_troubleshooting_has_no_section_for_a_reason_that_does_not_exist() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    sections = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    assert set(sections) <= {*map(str, Reason), *map(str, End)}
    assert len(sections) == len(set(sections)), "two sections of one name share an address"


@cache
def said() -> frozenset[tuple[str, str]]:
    """(name, member) that product code uses for more than comparing with them or listing them in a frozenset."""
    found: set[tuple[str, str]] = set()
    for path in [*(ROOT / "operator").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]:
        if path.name == "reasons.py":
            continue  # explains every reason, sets none
        nodes = list(ast.walk(ast.parse(path.read_text())))
        asked = {
            id(inner)
            for node in nodes
            if isinstance(node, ast.Compare) or (isinstance(node, ast.Call) and _name(node.func) == "frozenset")
            for inner in ast.walk(node)
        }
        found |= {(_name(n.value), n.attr) for n in nodes if isinstance(n, ast.Attribute) and id(n) not in asked}
    return frozenset(found)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(
    "enum",
    [Reason, Cause, ExitCode, StageState, Verdict, GateOutcome, Track, Split],
    ids=lambda enum: enum.__name__,
)
def test_every_word_that_we_say_is_said_somewhere(enum: type[Enum]) -> None:
    """A reason that is never set is a promise in the documents that nothing keeps."""
    assert not {(enum.__name__, member.name) for member in enum} - said()


def test_every_end_of_an_attempt_is_found_by_something() -> None:
    """An end in the table that no sign and no observer gives is advice that nobody is ever shown."""
    sources = [p for half in ("operator", "jobs") for p in (ROOT / half).rglob("*.py") if p.name != "ends.py"]
    text = "\n".join(path.read_text() for path in sources)
    assert not [e for e in End if f"End.{e.name}" not in text and f'"{e.value}"' not in text]


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "charts" / "flywheel" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target} does not exist"


def test_kustomize_knows_every_field_that_names_an_object() -> None:
    """What it does not know keeps its old name when the object gets another."""
    file = yaml.safe_load((ROOT / "examples" / "kustomize" / "namereference.yaml").read_text())
    known = {(place["kind"], place["path"]) for entry in file["nameReference"] for place in entry["fieldSpecs"]}
    naming = re.compile(r"(?i).*(secret|configMap|claim|serviceAccount)(s|Name|EnvFrom)?|poolRef|round")
    found = set()
    for kind in KINDS:
        for path, node in nodes(root_of(kind)["properties"]["spec"], "spec"):
            field = path.removesuffix("[]").removesuffix(".name").rpartition(".")[2]
            if node.get("type") == "string" and naming.fullmatch(field):
                found.add((kind.kind, path.replace("[]", "").replace(".", "/")))
    assert known == found


@pytest.mark.parametrize(
    ("model", "fixed", "may_change"),
    [
        (RLJobSpec, (*rljob.FIXED, "overrides"), rljob.MAY_CHANGE),
        (TrainingSpec, FIXED_IN_TRAINING, ("podTemplate", "headTemplate", "tracking", *Track)),
        (TrackTraining, (*FIXED_IN_A_TRACK, "overrides"), ("retries", "stallAfter", "startupTimeout")),
    ],
)
def test_every_field_of_a_training_is_fixed_or_may_be_changed(
    model: type[ApiModel], fixed: Sequence[str], may_change: Sequence[str]
) -> None:
    """A field that is in neither list could be changed without anybody having decided so."""
    assert sorted([*fixed, *may_change]) == sorted(to_camel(name) for name in model.model_fields)
