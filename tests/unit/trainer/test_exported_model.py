"""What Export wrote is read by transformers, from the directory alone; without it, skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs the ML environment")

import torch
import transformers

from contract.test_export import Campaign

NOTHING = ("truncation", "padding", "normalizer", "post_processor", "decoder")
WORDS = {"[UNK]": 0, "[EOS]": 1, "a": 2, "table": 3, "has": 4, "four": 5, "legs": 6}
TOKENIZER = dict.fromkeys(NOTHING) | {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
}


def made(folder: Path) -> Any:
    """A llama of random weights in three shards, with its tokenizer, as a training publishes them."""
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16).eval()
    model.save_pretrained(folder, max_shard_size="4KB")
    words = folder / "tokenizer.json"
    words.write_text(json.dumps(TOKENIZER))
    kept = transformers.PreTrainedTokenizerFast(tokenizer_file=str(words), unk_token="[UNK]", eos_token="[EOS]")
    kept.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    kept.save_pretrained(folder)
    return model


def test_transformers_reads_the_directory(tmp_path: Path) -> None:
    model = made(tmp_path / "made")
    files = {p.name: p.read_bytes() for p in (tmp_path / "made").iterdir()}
    assert sum(name.endswith(".safetensors") for name in files) > 1, "shards behind an index"
    campaign, there = Campaign(model=files), tmp_path / "there"
    campaign.run()
    there.mkdir()
    for name, data in campaign.there().items():
        (there / name).write_bytes(data)

    found, report = transformers.AutoModelForCausalLM.from_pretrained(there, output_loading_info=True, dtype="auto")
    assert not any(report.values()), f"keys of the files and of the model differ: {report}"
    assert type(found) is type(model) and found.dtype is torch.bfloat16
    tokenizer = transformers.AutoTokenizer.from_pretrained(there)
    said = tokenizer.apply_chat_template([{"role": "user", "content": "a table has"}], tokenize=False)
    tokens = tokenizer(said, return_tensors="pt")["input_ids"]
    assert tokens.tolist() == [[2, 3, 4]]
    with torch.no_grad():
        assert torch.equal(found(tokens).logits, model(tokens).logits)
    assert found.generate(tokens, max_new_tokens=4, do_sample=False).shape[1] > 3
