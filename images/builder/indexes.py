"""The package-index settings of this machine, for the builds that run inside a container.

pip and uv find a mirror through environment variables or their configuration files; a build step sees neither. What is
found here is handed to the step as a secret, which no layer keeps.
"""

import configparser
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLES = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT",
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT",
)  # fmt: skip
PIP_OPTIONS = {
    "index-url": "PIP_INDEX_URL",
    "extra-index-url": "PIP_EXTRA_INDEX_URL",
    "trusted-host": "PIP_TRUSTED_HOST",
}


def index_settings(environment: Mapping[str, str], home: Path, etc: Path = Path("/etc")) -> dict[str, str]:
    """Environment variables that point pip and uv to this machine's indexes; empty when it uses the default ones."""
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    pip_files = [etc / "pip.conf", home / ".pip" / "pip.conf", config / "pip" / "pip.conf"]
    if environment.get("PIP_CONFIG_FILE"):
        pip_files.append(Path(environment["PIP_CONFIG_FILE"]))
    found = _from_pip(pip_files)
    found.update(_from_uv([etc / "uv" / "uv.toml", config / "uv" / "uv.toml"]))
    found.update({name: environment[name] for name in VARIABLES if environment.get(name)})
    if "PIP_INDEX_URL" in found and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & found.keys():
        found["UV_DEFAULT_INDEX"] = found["PIP_INDEX_URL"]  # uv does not read pip's settings
    return found


def _from_pip(files: list[Path]) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    parser.read([file for file in files if file.is_file()])
    found = {}
    for section in ("global", "install"):
        for option, variable in PIP_OPTIONS.items():
            if parser.has_option(section, option):
                found[variable] = " ".join(parser.get(section, option).split())
    return found


def _from_uv(files: list[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files:
        if not file.is_file():
            continue
        settings: dict[str, Any] = tomllib.loads(file.read_text())
        indexes = settings.get("index", [])
        default = [x["url"] for x in indexes if x.get("default")]
        default += [settings.get("index-url"), settings.get("pip", {}).get("index-url")]
        if any(default):
            found["UV_DEFAULT_INDEX"] = next(str(url) for url in default if url)
        more = [str(x["url"]) for x in indexes if not x.get("default") and not x.get("explicit")]
        if more:
            found["UV_INDEX"] = " ".join(more)
    return found
