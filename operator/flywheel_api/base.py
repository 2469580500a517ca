"""Base classes and scalar types that every API model shares."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

_DURATION_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION_PATTERN = r"^([0-9]+(ms|s|m|h|d))+$"

Duration = Annotated[
    str, StringConstraints(pattern=DURATION_PATTERN, max_length=32), Field(description="A duration such as 90s, 36h or 1h30m.")
]
DecimalString = Annotated[str, StringConstraints(pattern=r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?$", max_length=32)]
Fraction = Annotated[str, StringConstraints(pattern=r"^(0(\.[0-9]+)?|1(\.0+)?)$", max_length=16)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Message = Annotated[str, StringConstraints(max_length=1024)]

MODEL_REF_PATTERN = r"^(sha256:[0-9a-f]{64}|s3://.+|hf://.+/.+)$"
ModelRef = Annotated[
    str,
    StringConstraints(pattern=MODEL_REF_PATTERN, max_length=512),
    Field(description="sha256:<digest> of a committed checkpoint, s3://bucket/prefix of an HF directory, or hf://org/name."),
]
DATA_REF_PATTERN = r"^(sha256:[0-9a-f]{64}|s3://.+)$"
DataRef = Annotated[
    str,
    StringConstraints(pattern=DATA_REF_PATTERN, max_length=512),
    Field(description="sha256:<digest> of a dataset manifest in the store, or s3:// of a Parquet file."),
]


class ApiModel(BaseModel):
    """An immutable part of a resource; camelCase on the wire, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    def dump(self) -> dict[str, Any]:
        """The wire form: camelCase keys, JSON types, unset optionals left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """A part of a status; unknown fields are ignored so that an older operator can read a newer status."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


def parse_duration(text: str) -> timedelta:
    """`36h`, `1h30m`, `90s`, `250ms` as a timedelta. Raises ValueError on anything else."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 36h or 1h30m")
    return timedelta(seconds=sum(int(n) * _UNIT_SECONDS[u] for n, u in _DURATION_PART.findall(text)))


def format_duration(span: timedelta) -> str:
    """A timedelta as people write it: two largest units, `2h10m`, `45s`."""
    seconds = max(0, int(span.total_seconds()))
    parts = [(seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    shown = [f"{n}{u}" for n, u in parts if n][:2]
    return "".join(shown) or "0s"


def parse_decimal(text: str) -> Decimal:
    """A decimal string of the API as Decimal, exact."""
    return Decimal(text)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """RFC 3339 as an aware datetime."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
