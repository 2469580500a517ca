"""CustomResourceDefinitions from the models: `python -m flywheel_api.crd --out crds/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from flywheel_api import GROUP, VERSION
from flywheel_api.names import LABEL_PART_OF, OWN_NAME_LIMIT
from flywheel_api.resources import KINDS, Column, Kind
from flywheel_api.schema import Schema, structural_schema, without_item_defaults

HEADER = "# Generated from operator/flywheel_api by `make generate`; change the models, not this file.\n"
CATEGORIES = ["flywheel"]  # not in `all`: `kubectl delete all --all`, the usual clean-up, would take rounds with it
SIZE_LIMIT = 200_000  # bytes of YAML; etcd and client-side apply (262144 bytes of annotation) set the real ones


def crd(kind: Kind) -> dict[str, Any]:
    """A kind's CustomResourceDefinition."""
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale is not None:
        spec, status, selector = kind.scale
        subresources["scale"] = {
            "specReplicasPath": spec,
            "statusReplicasPath": status,
            "labelSelectorPath": selector,
        }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
        "schema": {"openAPIV3Schema": _root(kind)},
        "subresources": subresources,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}", "labels": {LABEL_PART_OF: "flywheel"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": CATEGORIES,
            },
            "versions": [version],
        },
    }


def _root(kind: Kind) -> Schema:
    return {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": without_item_defaults(structural_schema(kind.spec)),
            # written as a whole and by the operator alone: whose each of its fields is would double it in each write
            "status": structural_schema(kind.status, defaults=False) | {"x-kubernetes-map-type": "atomic"},
        },
        "x-kubernetes-validations": root_rules(kind),
    }


def root_rules(kind: Kind) -> list[dict[str, str]]:
    """Rules of the whole object: only here does CEL see its name."""
    return [
        {
            "rule": f"size(self.metadata.name) <= {OWN_NAME_LIMIT}",
            "message": f"a {kind.kind}'s name has at most {OWN_NAME_LIMIT} characters, because the names of its pods "
            "and Services are made from it: choose a shorter one",
        },
        {
            "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "message": f"a {kind.kind}'s name starts with a letter and holds lower-case letters, digits and '-' "
            "only, because Services are named after it",
        },
    ]


def _column(column: Column) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return {**shown, "priority": column.priority} if column.priority else shown


def crd_yaml(kind: Kind) -> str:
    """A kind's CRD as a YAML file. Raises ValueError when it has outgrown its limit."""
    text = HEADER + yaml.dump(crd(kind), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    if len(text.encode()) > SIZE_LIMIT:
        raise ValueError(f"the CRD of {kind.kind} has {len(text.encode())} bytes, more than {SIZE_LIMIT}")
    return text


class _Plain(yaml.SafeDumper):
    """Without anchors and aliases, which reviewers and some tools trip over; with every number-like string quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted_if_number(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """PyYAML leaves 1e-6 bare, which Go's YAML reads as a number."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _is_number(text) else None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_Plain.add_representer(str, _quoted_if_number)


def file_name(kind: Kind) -> str:
    """Name of a CRD's file, as controller-gen would call it."""
    return f"{GROUP}_{kind.plural}.yaml"


def write_crds(folder: Path) -> list[Path]:
    """Write all CRDs; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / file_name(kind) for kind in KINDS]
    for kind, path in zip(KINDS, paths, strict=True):
        path.write_text(crd_yaml(kind), encoding="utf-8")
    return paths
