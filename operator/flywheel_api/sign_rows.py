"""What a sign in the log of a training run is: a pattern, what it means, how much it says, where it was seen.

The rows are in `machine_signs`, `setting_signs`, `cluster_signs` and `family_signs`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from flywheel_api.ends import End


class Rank(IntEnum):
    """How much a sign says; see `signs`."""

    CAUSE = 0
    FAULT = 1
    EFFECT = 2
    CLIENT = 3
    ENDED = 4
    VAGUE = 5
    ECHO = 6


@dataclass(frozen=True)
class Sign:
    """One row. `source` is a public report of it.

    `starting`: counts only where no step was trained yet. What a library refuses in words that nobody listed is a
    refusal of the settings at the start, and a fault of one step later.
    """

    pattern: re.Pattern[str]
    end: End
    source: str
    rank: Rank = Rank.CAUSE
    advice: str = ""
    starting: bool = False


def sign(
    end: End, source: str, *patterns: str, rank: Rank = Rank.CAUSE, advice: str = "", starting: bool = False
) -> Sign:
    """A row: any of the patterns is the sign. Words in <> stand for the parts below."""
    text = "|".join(patterns)
    for name, pattern in _PARTS.items():
        text = text.replace(name, pattern)
    return Sign(re.compile(text), end, source, rank, advice, starting)


WORKERS_KILLED = r"\b[1-9]\d* Workers \(tasks / actors\) killed due to memory pressure"
_PARTS = {
    "<raised>": r"^<exception>.*",
    "<exception>": r"(?:(?:[\w.]+\.)?\w*(?:Error|Exception)\b|Value error,|Assertion failed,)",  # pydantic's two
    "<hub>": r"(?:huggingface\.co|hf\.co|hf-mirror\.com|HfHub|modelscope|on the Hub)",
    "<refused>": r"^(?:ValueError:|AssertionError:|NotImplementedError:|Value error,|Assertion failed,).*",
    "<lost>": r"(?:[Cc]onnection (?:refused|aborted|timed out|closed|error)|[Rr]ead timed out|No route to host|"
    r"Network is unreachable|[Ss]erver disconnected|Remote end closed|Bad [Gg]ateway|Service Unavailable|"
    r"Gateway Time-?out|Too Many Requests|[Oo]verloaded|upstream connect error|reduce (?:your|the) request rate|"
    r"Timed out while waiting for response)",
    "<client>": r"\b<module>[\w.]*",
    "<module>": r"(?:requests|urllib3|httpx|httpcore|aiohttp|boto(?:core|3)|redis|pymongo|http\.client|elastic\w*|"
    r"opensearch\w*|qdrant_client|psycopg2?|asyncpg|pymysql|sqlalchemy|kafka|pika|websockets?|docker|kubernetes|"
    r"openai|anthropic|litellm|fsspec|gcsfs|s3fs|azure|google|minio|oss2|grpc)\.",
    "<denied>": r"(?i:\b(?:permissions?|unauthori[sz]ed|not authori[sz]ed|forbidden|access denied|unauthenticated|"
    r"invalid (?:user |access |api )*(?:token|key|credentials|username)|(?:must be|not) (?:logged in|authenticated)|"
    r"authentication (?:failed|required)|re-?login)\b)",
    "<ray>": r"(?:^\(raylet[^)]*\)|Error:|[Aa]ctor|[Nn]ode\b)",
    "<tracker>": r"\b(?:wandb|swanlab|mlflow|comet|trackio)\b",
    "<net>": r"(?:Max retries exceeded|Connection|[Tt]imed? ?out|Name or service|name resolution|unreachable)",
}
