"""From a folder to a domain, or to all that is wrong with it, each with file and line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flywheel_domains.archive import DECLARATION
from flywheel_domains.code_check import check_code
from flywheel_domains.document import Document, read_document
from flywheel_domains.document import Path as Where
from flywheel_domains.domain import Domain
from flywheel_domains.errors import DomainError, Fault
from flywheel_domains.link import link

CODE = "tools.py"


def load(folder: Path) -> Domain:
    """The domain in a folder. Raises DomainError with every fault that could be found."""
    path = folder / DECLARATION
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise DomainError([Fault(DECLARATION, 1, "the folder", f"there is no {DECLARATION}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DomainError([Fault(DECLARATION, 1, "the file", f"cannot be read: {error}")]) from None
    code = _code(folder / CODE)
    domain = parse(text, DECLARATION, code)
    domain._folder = folder
    domain._digest = digest(folder)
    return domain


def _code(path: Path) -> str:
    """The text of tools.py, if there is one. Raises DomainError for what no domain's code may hold."""
    if not path.is_file():
        return ""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DomainError([Fault(CODE, 1, "the file", f"cannot be read: {error}")]) from None
    faults = check_code(text, CODE)
    if faults:
        raise DomainError(faults)
    return text


def parse(text: str, file: str = DECLARATION, code: str = "") -> Domain:
    """The domain that a text declares; `code` is the text of its tools.py. Raises DomainError."""
    document = read_document(text, file)
    try:
        domain = Domain.model_validate(document.data)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            path = tuple(problem["loc"])
            document.fault(_there(document, path), _said(dict(problem)), line=document.line(path))
        raise DomainError(document.faults) from None
    link(domain, document, code)
    if document.faults:
        raise DomainError(document.faults)
    domain._lines = document.lines
    domain._digest = hashlib.sha256(text.encode() + b"\0" + code.encode()).hexdigest()
    return domain


def _there(document: Document, path: Where) -> Where:
    """The path without what pydantic adds for its unions; a key that is missing stays at the end."""
    kept: Where = ()
    for index, step in enumerate(path):
        if (*kept, step) in document.lines or index == len(path) - 1:
            kept = (*kept, step)
    return kept


_SAID = {
    "extra_forbidden": "the key is not part of the format",
    "missing": "the key is missing",
    "string_type": 'a word is expected (several values are a list in an expression: `pick: {from: "[1, 2]"}`)',
    "int_type": "a whole number is expected",
    "bool_type": "true or false is expected",
    "list_type": "a list is expected",
    "tuple_type": "a list is expected",
    "dict_type": "keys with values are expected",
    "model_type": "keys with values are expected",
    "string_pattern_mismatch": "a name is small letters, digits and underscores, and begins with a letter",
}


def _said(problem: dict[str, Any]) -> str:
    message = _SAID.get(problem["type"])
    if message is None:
        message = str(problem["msg"]).removeprefix("Value error, ")
    return message


def digest(folder: Path) -> str:
    """What a package is known by: sha256 over names and contents of its files."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = path.read_bytes()
            whole.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()
