"""Base classes and scalar types that every API model shares; what limits a scalar is in `bounds`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from flywheel_api.bounds import Rule

_DURATION_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_CENTURY = 36_500 * 86_400
DURATION_PATTERN = r"^([0-9]+(ms|s|m|h|d))+$"

_A_SECOND_PATTERN = r"(^|[a-z])0*[1-9][0-9]*(s|m|h|d)([0-9]|$)|[1-9][0-9]{3,}ms"
Duration = Annotated[
    str,
    StringConstraints(pattern=DURATION_PATTERN, max_length=32),
    Rule("write a duration of at least 1s, such as 90s, 36h or 1h30m", like=_A_SECOND_PATTERN),
    Field(description="A duration such as 90s, 36h or 1h30m."),
]
_ASSIGNMENT = re.compile(
    r"(?:export|set)\s+\w+\s*=|"
    r"(?:[a-z0-9]+_)*(?:access|secret|api)?_?(?:key(?:_?id)?|secret|token|password)\s*=\s*[^=\s]",
    re.IGNORECASE,
)
"""A line of a shell's or a vendor's file in place of its value; base64 that ends in `=` is none."""
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=63)]
SECRET_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
SecretName = Annotated[str, StringConstraints(pattern=SECRET_NAME_PATTERN, max_length=253)]
OBJECT_NAME_PATTERN = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
ObjectName = Annotated[str, StringConstraints(pattern=OBJECT_NAME_PATTERN, max_length=253)]
ShortString = Annotated[str, StringConstraints(max_length=253)]
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Message = Annotated[str, StringConstraints(max_length=1024)]

HUB = "hf://"  # models of a hub: a round imports them; pools and RLJobs of one's own leave them to the engine
_S3 = r"s3://[A-Za-z0-9][A-Za-z0-9._-]*(/(\S([^\r\n]*\S)?)?)?"
_HUB_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
HUB_REPO_PATTERN = rf"^{_HUB_WORD}/{_HUB_WORD}$"
_REVISION = r"[A-Za-z0-9_][A-Za-z0-9_./-]*"
MODEL_REF_PATTERN = rf"^(sha256:[0-9a-f]{{64}}|{_S3}|hf://{_HUB_WORD}/{_HUB_WORD}(@{_REVISION})?)$"
ModelRef = Annotated[
    str,
    StringConstraints(pattern=MODEL_REF_PATTERN, max_length=512),
    Field(
        description="sha256:<digest> of a committed checkpoint, s3://bucket/prefix of an HF directory, or "
        "hf://org/name[@revision]."
    ),
]
DATA_REF_PATTERN = rf"^(sha256:[0-9a-f]{{64}}|{_S3})$"
DataRef = Annotated[
    str,
    StringConstraints(pattern=DATA_REF_PATTERN, max_length=512),
    Field(description="sha256:<digest> of a dataset manifest in the store, or s3:// of a Parquet file."),
]
SOURCE_PATTERN = rf"^(builtin://[a-z0-9-]+|{_S3}|sha256:[0-9a-f]{{64}})$"
SourceRef = Annotated[
    str,
    StringConstraints(pattern=SOURCE_PATTERN, max_length=512),
    Field(description="builtin://<name> from the image, s3://bucket/prefix, or sha256:<digest> of a dataset manifest."),
]
DOMAIN_SOURCE_PATTERN = rf"^({_S3}|sha256:[0-9a-f]{{64}}|image://[A-Za-z0-9][A-Za-z0-9_.-]*)$"
DomainSource = Annotated[
    str,
    StringConstraints(pattern=DOMAIN_SOURCE_PATTERN, max_length=512),
    Field(
        description="s3:// of a tar archive or of a folder with a domain.yaml, sha256:<digest> of a package that the "
        "store holds (a round's status.domains says it), or image://<name> of an entry point of group flywheel.domains."
    ),
]
S3_PREFIX_PATTERN = r"^s3://[a-z0-9][a-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._=-]*)+/?$"
SUB_PATH_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
URL_PATTERN = r"^https?://[^\s/?#]+([/?#]\S*)?$"
KEY_IN_QUERY = (
    r"[?&]([a-z0-9]+[-_])*(api|access|auth|client)?"
    r"(key([-_]?id)?|token|sig|signature|secret|pass|password|pwd|code|auth|authorization|bearer|jwt|credentials?)="
)
"""What stands before a key in a url, in any case; RE2 and Python read it in the same way."""
EndpointUrl = Annotated[
    str,
    StringConstraints(pattern=URL_PATTERN, max_length=512),
    Rule(
        "leave user, password and key out of the url, which everybody may read: "
        "put the key into a Secret and name it in apiKey",
        unlike=rf"(?i)^https?://[^/?#]*@|{KEY_IN_QUERY}",
    ),
    Rule("leave # and what follows out of the url: the address of an API has no fragment", unlike="#"),
    Rule(
        "put an IPv6 address in brackets, such as http://[fd00::1]:8000/v1",
        unlike=r"^https?://[^/?#@\[\]]*:[^/?#@\[\]]*:",
    ),
    Rule(
        "write a port from 1 to 65535 in the url, or none",
        unlike=r"^https?://(\[[^/?#\]]*\]|[^:/?#@\[\]]*):([0-9]*[^0-9/?#:@][^/?#:@]*([/?#]|$)|0*([/?#]|$)|[0-9]{6}"
        r"|[7-9][0-9]{4}|6[6-9][0-9]{3}|65[6-9][0-9]{2}|655[4-9][0-9]|6553[6-9])",
    ),
    Rule(
        "write the base of the API without /chat/completions, such as https://models.internal/v1",
        unlike=r"/completions/?([?#]|$)",
    ),
    Rule(
        "localhost is the pod that asks: write an address that pods reach, such as http://teacher.models.svc:8000/v1",
        unlike=r"(?i)^https?://(localhost|localhost\.localdomain|127\.[0-9.]+|0\.0\.0\.0|\[::1?\])([:/?#]|$)",
    ),
]
HEADER_VALUE_PATTERN = r"^[!-~]([ -~]*[!-~])?$"
HeaderValue = Annotated[str, StringConstraints(pattern=HEADER_VALUE_PATTERN, max_length=1024)]
ENTRY_POINT_PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
SERVED_NAME_PATTERN = r"^[A-Za-z0-9][-A-Za-z0-9_./]*$"
PRESET_PATTERN = r"^[a-z0-9][a-z0-9-]*$"
INTEGER_PATTERN = r"^[0-9]+$"
SECRET_KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"
LABEL_VALUE_PATTERN = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_REPOSITORY = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
IMAGE_PATTERN = (
    r"^(([A-Za-z0-9][-A-Za-z0-9._]*|\[[0-9a-fA-F:]+\])(:[0-9]+)?/)?"
    rf"{_REPOSITORY}(/{_REPOSITORY})*(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@[a-z0-9]+:[0-9a-f]{{32,128}})?$"
)
"""As the container runtime reads it: no scheme, lower case below the registry, a tag, a digest, or both."""

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_DOMAIN_PATTERN = rf"^({_LABEL}(\.{_LABEL})*)?$"
RAY_VERSION_PATTERN = r"^[0-9]+\.[0-9]+\.[0-9]+$"

PATTERN_MESSAGES = {
    DURATION_PATTERN: "write a duration such as 90s, 36h or 1h30m",
    NAME_PATTERN: "write a name of lower-case letters, digits and '-' that starts and ends with a letter or digit",
    SECRET_NAME_PATTERN: "write the name of a Secret in this namespace: lower-case letters, digits, '-' and '.'",
    OBJECT_NAME_PATTERN: "write a name of lower-case letters, digits, '-' and '.'",
    MODEL_REF_PATTERN: "write sha256:<64 hex digits> of a committed checkpoint, s3://bucket/prefix, or hf://org/name[@revision]",
    DATA_REF_PATTERN: "write sha256:<64 hex digits> of a dataset manifest, or s3://bucket/key of a Parquet file",
    DOMAIN_SOURCE_PATTERN: "write s3://bucket/key of a package, sha256:<64 hex digits> of one, or image://<name>",
    SOURCE_PATTERN: "write builtin://<name>, s3://bucket/prefix, or sha256:<64 hex digits> of a dataset manifest",
    HUB_REPO_PATTERN: "write org/name of a model on the hub: letters, digits and - _ .",
    S3_PREFIX_PATTERN: "write s3://bucket/prefix: letters, digits and - _ . = between slashes, with a prefix",
    SUB_PATH_PATTERN: "write a path inside the volume, such as models/support-r1: no part begins with a dot",
    URL_PATTERN: "write a URL that starts with http:// or https://, such as https://models.internal/v1",
    ENTRY_POINT_PATTERN: "write module:function, such as my_rewards.sql:score",
    SERVED_NAME_PATTERN: "write a model name of letters, digits and - _ . / that starts with a letter or digit",
    PRESET_PATTERN: "write a preset's name, such as agenticqwen-8b; docs/reference/presets.md lists them",
    HEADER_VALUE_PATTERN: "write a header's value: ASCII in one line, without blanks around it",
    SECRET_KEY_PATTERN: "write a key of the Secret: letters, digits and - _ .",
    LABEL_VALUE_PATTERN: "write a label's value: at most 63 letters, digits and - _ . that start and end with a "
    "letter or digit",
    IMAGE_PATTERN: "write an image without https:// or oci://, such as registry.example.com/flywheel/jobs:0.1.0",
    DNS_DOMAIN_PATTERN: "write a domain in lower case without a dot at its end, such as cluster.local",
    RAY_VERSION_PATTERN: 'write all three parts in quotes, such as "2.60.0"',
    INTEGER_PATTERN: 'write a whole number in quotes, such as "41200000"',
}
"""What the API server says when a string does not match: every pattern of a spec has a line here."""


class ApiModel(BaseModel):
    """An immutable part of a resource; camelCase on the wire, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")

    def dump(self) -> dict[str, Any]:
        """The wire form: camelCase keys, JSON types, unset optionals left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """A part of a status; unknown fields are ignored so that an older operator can read a newer status."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


def is_none(value: object) -> bool:
    """For `exclude_if`: zero, or an empty list. What reads it back takes the field's default."""
    return not value


def parse_duration(text: str) -> timedelta:
    """`36h`, `1h30m`, `90s`, `250ms` as a timedelta, a century at most. Raises ValueError on anything else."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 36h or 1h30m")
    seconds = sum(int(n) * _UNIT_SECONDS[u] for n, u in _DURATION_PART.findall(text))
    return timedelta(seconds=min(seconds, _CENTURY))  # so that no moment plus a duration leaves the calendar


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


def config_with_rules(*rules: tuple[str, str]) -> ConfigDict:
    """A spec model's settings with CEL rules, each (expression, the sentence that a refused user reads)."""
    validations: list[Any] = [{"rule": rule, "message": message} for rule, message in rules]
    return ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        json_schema_extra={"x-kubernetes-validations": validations},
    )


def unchanged(paths: Sequence[str], maps_of_anything: Sequence[str] = ()) -> str:
    """CEL: these fields are as they were, or absent as they were.

    CEL declares no map whose values have no type: it is reached through `dyn`, which is asked at run time what it has.
    Spelled out: the server's cost estimate of `self.?x == oldSelf.?x` is unbounded.
    """

    def field(root: str, path: str) -> str:
        parent, _, name = f"{root}.{path}".rpartition(".")
        return f"dyn({parent}).{name}" if path in maps_of_anything else f"{parent}.{name}"

    def there(root: str, path: str) -> str:
        parts = path.split(".")
        return " && ".join(f"has({field(root, '.'.join(parts[:n]))})" for n in range(1, len(parts) + 1))

    def same(path: str) -> str:
        new, old = there("self", path), there("oldSelf", path)
        return f"(({new}) ? ({old}) && {field('self', path)} == {field('oldSelf', path)} : !({old}))"

    return " && ".join(same(path) for path in (*paths, *maps_of_anything))


def quoted(text: str) -> bool:
    """Whether a value brought the quotation marks of a shell or of YAML with it."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`"


def secret_value(text: str) -> str:
    """A key as both halves read it: blanks and line breaks around it do not count.

    Raises ValueError, which never quotes the value, for what can stand in no header.
    """
    value = text.strip()
    if not value:
        raise ValueError("is empty")
    if value.lower().startswith("bearer "):
        raise ValueError("begins with `Bearer `: write the key alone")
    if quoted(value):
        raise ValueError("stands in quotation marks: write the key alone")
    if _ASSIGNMENT.match(value):
        raise ValueError("begins with the name of a variable and `=`: write the key alone")
    if value[0] == "{" and value[-1] == "}" and '"' in value:
        raise ValueError("is a JSON document: write the key alone")
    if not value.isprintable() or not value.isascii():
        raise ValueError("holds a line break or another character that no key has")
    return value
