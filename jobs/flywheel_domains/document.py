"""YAML as a domain may use it: a small part, with the line of everything.

Half of YAML 1.1 is traps (`on` is true, `10:00` is 600, `010` is 8, `1_0` is 10). Here a plain scalar is true, false,
null or a decimal number if it looks like it and text otherwise, and whatever another reader would take for something
else is refused with a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from flywheel_domains.errors import DomainError, Fault

Path = tuple[str | int, ...]
Plain = object
"""dict, list, str, int, bool, None, and float where a share is written."""

SHARES = {"share", "chance", "hide", "none"}
"""Keys of probabilities: the only place of a decimal fraction."""
MOST_BYTES = 4 * 2**20
DEEPEST = 40
_WORDS = {"yes", "no", "on", "off"}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_ODD_INT = re.compile(r"[-+]?(0[0-9_]+|0[xob][0-9a-fA-F_]+|[0-9]+_[0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.inf|\.nan", re.I
)
_LONG = 18


@dataclass
class Document:
    """What a file holds, and on which line each part of it begins."""

    file: str
    data: Plain = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of the path, or of the nearest part around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def fault(self, path: Path, message: str, advice: str = "", line: int | None = None) -> None:
        """Notes what is wrong at a path."""
        where = ".".join(map(str, path)) or "the file"
        self.faults.append(Fault(self.file, line or self.line(path), where, message, advice))


def read_document(text: str, file: str) -> Document:
    """The parsed file. Raises DomainError if it is not YAML or not of this part of it."""
    document = Document(file)
    if len(text) > MOST_BYTES:
        document.fault((), f"a domain's file has at most {MOST_BYTES} characters")
        raise DomainError(document.faults)
    try:
        node = _compose(text)
    except _NotOfThisPart as error:
        document.fault((), error.problem, line=error.line)
        raise DomainError(document.faults) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.fault((), f"not YAML: {error.problem or error.context}", line=mark.line + 1 if mark else 1)
        raise DomainError(document.faults) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        document.fault((), f"not YAML: {error}")
        raise DomainError(document.faults) from None
    document.data = _Reader(document).read(node, ())
    if document.faults:
        raise DomainError(document.faults)
    return document


class _NotOfThisPart(Exception):
    def __init__(self, problem: str, line: int) -> None:
        self.problem, self.line = problem, line
        super().__init__(problem)


def _compose(text: str) -> yaml.Node | None:
    """The tree of nodes, without aliases: a few lines of those can hold a billion."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            problem = "anchors and aliases are not used here"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            problem = "nested too deep"
        if problem:
            raise _NotOfThisPart(problem, event.start_mark.line + 1 if event.start_mark else 1)
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.CSafeLoader)
    return node


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document

    def read(self, node: yaml.Node | None, path: Path) -> Plain:
        if node is None:
            return None
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
            self.document.fault(path, f"the tag {node.tag} is not used here")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, index)) for index, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.document.fault(path, "a key is a word", line=line)
                continue
            key = key_node.value
            plain = not key_node.style
            if plain and (key.lower() in _WORDS | {"true", "false", "null", "~", ""} or key == "<<"):
                advice = "use another word, or put it in quotes"
                self.document.fault((*path, key), f"the key {key or 'null'} is a boolean or null in YAML", advice, line)
            if key in found:
                self.document.fault((*path, key), "the key is there twice", line=line)
            self.document.lines[(*path, key)] = line
            found[key] = self.read(value_node, (*path, key))
        return found

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Plain:
        text = str(node.value)
        if re.search(r"\bTODO\b", text):
            self.document.fault(path, f"there is something to do: {text.strip()[:80]}", "write what is missing")
        if node.style:  # the C parser says '' for plain
            return text
        return self._plain(text, path)

    def _plain(self, text: str, path: Path) -> Plain:
        lower = text.lower()
        if lower in ("true", "false"):
            return lower == "true"
        if lower in ("null", "~", ""):
            return None
        if lower in _WORDS:
            self.document.fault(path, f"{text} is a boolean in YAML", 'write true or false, or put it in quotes: "no"')
        if _INT.fullmatch(text) and len(text) <= _LONG:
            return int(text)
        if _ODD_INT.fullmatch(text) or _INT.fullmatch(text):
            self.document.fault(path, f"{text} is read as another number elsewhere", "put it in quotes if it is an id")
        if _FLOAT.fullmatch(text):
            if path and (path[-1] in SHARES):
                return float(text)
            self.document.fault(path, f"{text} is a float", "money is in minor units; only shares have decimals")
        return text
