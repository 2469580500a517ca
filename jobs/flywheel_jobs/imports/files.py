"""Which files of a model's directory make a checkpoint, and whether what came can be trained. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.storage.models import LICENCES

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
_KEPT = (".json", ".model", ".tiktoken", ".jinja", ".txt")
_TEMPLATES = "additional_chat_templates/"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
NO_MODEL = "ModelUnusable"


@dataclass(frozen=True)
class RemoteFile:
    """A file where a model comes from; size in bytes and sha256 where they are known before it is read."""

    path: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class Listing:
    """What there is, pinned: `name` is the same exactly as long as the files are."""

    source: str
    name: str
    files: tuple[RemoteFile, ...]
    licence: str = ""


def chosen(listing: Listing) -> list[RemoteFile]:
    """Safetensors, configuration and tokenizer; nothing that would have to be unpickled or run.

    Raises ValidationFailure that says what is missing.
    """
    there = {f.path for f in listing.files}
    files = [f for f in listing.files if _wanted(f.path, INDEX in there)]
    names = {f.path for f in files}
    if CONFIG not in names:
        adapter = "adapter_config.json" in there
        why = "it is a LoRA adapter: merge it into its base first" if adapter else "that is no Transformers model"
        raise ValidationFailure(f"{listing.source} has no {CONFIG}: {why}", reason=NO_MODEL)
    if not any(n.endswith(".safetensors") for n in names):
        raise ValidationFailure(f"{listing.source} has no safetensors weights: {_instead(there)}", reason=NO_MODEL)
    if not names & set(_TOKENIZERS):
        raise ValidationFailure(
            f"{listing.source} has no tokenizer (none of {', '.join(_TOKENIZERS)}): add the files of its tokenizer",
            reason=NO_MODEL,
        )
    return sorted(files, key=lambda f: f.path)


def _wanted(path: str, sharded: bool) -> bool:
    folder, _, name = path.rpartition("/")
    if folder:
        return path.startswith(_TEMPLATES) and name.endswith(".jinja")
    if name.endswith(".safetensors"):
        # beside an index stand shards; a second form of all weights would be moved for nothing, and loaded twice
        return name.startswith("model-") if sharded else name == "model.safetensors"
    return name.endswith(_KEPT) or name.upper().startswith(LICENCES)


def _instead(there: Iterable[str]) -> str:
    ends = {name.rpartition(".")[2] for name in there}
    if "safetensors" in ends:
        return "what it has are not named model.safetensors or model-…: save it anew with save_pretrained"
    if "gguf" in ends:
        return "bring the GGUF file in with `python -m flywheel_jobs import-model --gguf FILE`"
    if ends & {"bin", "pt", "pth"}:
        return "pickled weights are not loaded; save it anew with save_pretrained"
    return "it holds a configuration only"


def check(source: str, config: bytes, index: bytes | None, names: Sequence[str]) -> None:
    """Whether the files are one whole model that can be trained. Raises ValidationFailure."""
    shape = _object(source, CONFIG, config)
    if not shape.get("model_type") and not shape.get("architectures"):
        raise ValidationFailure(f"{CONFIG} of {source} names no model_type: that is no Transformers model", NO_MODEL)
    quantised = shape.get("quantization_config")
    if quantised:
        how = quantised.get("quant_method", "") if isinstance(quantised, dict) else ""
        raise ValidationFailure(
            f"the weights of {source} are quantised ({how or 'see quantization_config'}), which cannot be trained: "
            "name the model in bf16",
            reason=NO_MODEL,
        )
    if index is None:
        return
    parts = _object(source, INDEX, index).get("weight_map")
    wanted = set(parts.values()) if isinstance(parts, dict) else set()
    missing = sorted(str(n) for n in wanted - set(names))
    if missing or not wanted:
        what = f"lacks {', '.join(missing[:3])}" if missing else "has an index that names no file"
        raise ValidationFailure(f"{source} is not whole: it {what}", reason=NO_MODEL)


def _object(source: str, name: str, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValidationFailure(f"{name} of {source} is no JSON: {error}", reason=NO_MODEL) from error
    if not isinstance(found, dict):
        raise ValidationFailure(f"{name} of {source} is no JSON object", reason=NO_MODEL)
    return found
