"""Limits of scalars that admission can hold: one CEL rule each, with the sentence that a refused user reads.

The models hold the same limits, for objects that an older CRD has let in. Numbers that are not whole are strings, so
that they stay exact; quantities are numbers or strings, as everywhere in Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

DECIMAL_PATTERN = r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]{1,2})?$"
_MULTIPLES = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
QUANTITY_PATTERN = r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?"
QUANTITY_MESSAGE = "write a Kubernetes quantity such as 500m, 2 or 16Gi"


@dataclass(frozen=True)
class Rule:
    """A limit of one string: `say` is what to write instead; the others hold together, None and "" hold always.

    `like` and `unlike` are RE2 patterns that Python reads in the same way.
    """

    say: str
    like: str = ""
    unlike: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def cel(self) -> str:
        """The rule as the API server evaluates it; a number is read only where the text is one."""
        limits = ((">=", self.least), (">", self.above), ("<=", self.most), ("<", self.below))
        parts = [f"self.matches('{_quoted(self.like)}')"] if self.like else []
        parts += [f"!self.matches('{_quoted(self.unlike)}')"] if self.unlike else []
        parts += [f"double(self) {sign} {float(limit)!r}" for sign, limit in limits if limit is not None]
        return " && ".join(parts)

    def holds(self, text: str) -> bool:
        """The same in Python."""
        if self.like and not _compiled(self.like).search(text):
            return False
        if self.unlike and _compiled(self.unlike).search(text):
            return False
        limits: tuple[tuple[float | None, Callable[[float, float], bool]], ...] = (
            (self.least, float.__ge__),
            (self.above, float.__gt__),
            (self.most, float.__le__),
            (self.below, float.__lt__),
        )
        return all(limit is None or holds(float(text), float(limit)) for limit, holds in limits)

    def _check(self, text: str) -> str:
        if not self.holds(text):
            raise ValueError(self.say)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """pydantic's hook for metadata of a field."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """pydantic's hook for metadata of a field."""
        schema = handler(core)
        rules = schema.get("x-kubernetes-validations", [])
        return schema | {"x-kubernetes-validations": [*rules, {"rule": self.cel(), "message": self.say}]}


def _quoted(pattern: str) -> str:
    return pattern.replace("\\", "\\\\").replace("'", "\\'")


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("$", r"\Z"))  # RE2 has no newline after the end


def number(say: str, **limits: float) -> Rule:
    """A number in quotes within limits (`least`, `above`, `most`, `below`)."""
    return Rule(f"write {say}", like=DECIMAL_PATTERN, **limits)  # type: ignore[arg-type]  # only the limits are left


_Short = StringConstraints(max_length=32)
Fraction = Annotated[str, _Short, number('a fraction from 0 to 1 in quotes, such as "0.5"', least=0, most=1)]
PositiveFraction = Annotated[
    str, _Short, number('a fraction above 0 and at most 1 in quotes, such as "0.95"', above=0, most=1)
]
PartialFraction = Annotated[
    str, _Short, number('a fraction from 0 to below 1 in quotes, such as "0.2"', least=0, below=1)
]
Confidence = Annotated[
    str, _Short, number('a confidence between 0 and 1 in quotes, such as "0.95" for 95 %', above=0, below=1)
]
Score = Annotated[str, _Short, number('a score from 0 to 1 in quotes, such as "0.95" for 95 %', least=0, most=1)]
Gain = Annotated[
    str, _Short, number('a gain in score from -1 to 1 in quotes, such as "0.02" for 2 points of 100', least=-1, most=1)
]
Temperature = Annotated[str, _Short, number('a temperature from 0 to 2 in quotes, such as "0.8"', least=0, most=2)]
PositiveTemperature = Annotated[
    str,
    _Short,
    number(
        'a temperature above 0 and at most 2 in quotes, such as "1.0": at 0 all rollouts of a prompt are the same',
        above=0,
        most=2,
    ),
]
LearningRate = Annotated[
    str, _Short, number('a learning rate above 0 and at most 0.1 in quotes, such as "1e-6"', above=0, most=0.1)
]
KLWeight = Annotated[str, _Short, number('a weight from 0 to 10 in quotes, such as "0.001"', least=0, most=10)]
WeightDecay = Annotated[str, _Short, number('a weight decay from 0 to 1 in quotes, such as "0.01"', least=0, most=1)]
GradientClip = Annotated[
    str, _Short, number('a norm above 0 and at most 1000 in quotes, such as "1.0"', above=0, most=1000)
]
ImportanceLimit = Annotated[
    str, _Short, number('a limit above 1 and at most 100 in quotes, such as "2.0"', above=1, most=100)
]
ClipLow = Annotated[str, _Short, number('a clip above 0 and at most 1 in quotes, such as "0.2"', above=0, most=1)]
ClipHigh = Annotated[str, _Short, number('a clip above 0 and at most 10 in quotes, such as "0.28"', above=0, most=10)]
DualClip = Annotated[
    str, _Short, number('a bound above 1 and at most 1000 in quotes, such as "10"', above=1, most=1000)
]
Hours = Annotated[str, _Short, number('hours from 0 in quotes, such as "300"', least=0, most=1e99)]


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity as a number. Raises ValueError with what to write."""
    found = re.fullmatch(QUANTITY_PATTERN, text)
    if found is None:
        raise ValueError(f"{text!r} is not a quantity: {QUANTITY_MESSAGE}")
    plain, suffix = Decimal(found[1]), found[2] or ""
    if suffix in _BINARY:
        return plain * Decimal(1024) ** _BINARY[suffix]
    return plain.scaleb(_MULTIPLES[suffix] if suffix in _MULTIPLES else int(suffix[1:]))


class _Quantity:
    """int-or-string on the wire, text in the models."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_quantity_text, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rule = "type(self) == int ? self >= 0 : isQuantity(self) && !self.startsWith('-')"
        return {
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "x-kubernetes-validations": [{"rule": rule, "message": QUANTITY_MESSAGE}],
        }


def _quantity_text(value: Any) -> Any:
    if not isinstance(value, bool):
        value = scalar_text(value)
    if isinstance(value, str):
        quantity(value)
    return value


def scalar_text(value: Any) -> Any:
    """Numbers and booleans as YAML writes them, as text; Helm makes 1.4e+11 of a long whole number. Others stay."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) else value


Quantity = Annotated[str, _Short, _Quantity()]


_LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_LABEL_PREFIX = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def label_key(text: str) -> str:
    """A label's key. CEL cannot hold it: it takes keys of maps for endless. Raises ValueError with what to write."""
    prefix, slash, name = text.rpartition("/")
    if _LABEL_NAME.fullmatch(name) is None or (slash and _LABEL_PREFIX.fullmatch(prefix) is None):
        raise ValueError(f"{text!r} is no key of a label: write one such as gpu or nvidia.com/gpu.product")
    return text
