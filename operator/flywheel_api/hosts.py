"""Hosts that a Secret names as those it may be sent to (docs/security.md)."""

from __future__ import annotations

import re

ALLOWED_HOSTS = "flywheel.dev/allowed-hosts"  # annotation of a Secret: only who may write the Secret can write it
_PORTS = {"http": "80", "https": "443"}
_NAME = r"[a-z0-9._-]+|\[[0-9a-f:.]+\]"
# what every reader of a URL takes for the same host; any other form is nowhere
_URL = re.compile(rf"(?P<scheme>https?)://(?P<host>{_NAME})(?::(?P<port>\d+))?(?:[/?#].*)?", re.I)
_ENTRY = re.compile(rf"(?P<host>\*|(?:\*\.)?(?:{_NAME}))(?::(?P<port>\d+))?", re.I)


def host_of(url: str) -> str:
    """The host of a URL, or the whole of what has none."""
    found = _URL.fullmatch(url)
    return found["host"].lower() if found else url


def entries_of(listed: str) -> list[str]:
    """Entries of the annotation."""
    return listed.replace(",", " ").split()


def may_go(entries: list[str], url: str) -> bool:
    """Whether one of the entries means the address: `host`, `*.domain` or `*`; a port counts where it is written."""
    to = _URL.fullmatch(url)
    return to is not None and any(_means(entry, to) for entry in entries)


def _means(entry: str, to: re.Match[str]) -> bool:
    said, host = _ENTRY.fullmatch(entry), to["host"].lower()
    if said is None or said["port"] not in (None, to["port"] or _PORTS[to["scheme"].lower()]):
        return False
    name = said["host"].lower()
    return name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:]))
