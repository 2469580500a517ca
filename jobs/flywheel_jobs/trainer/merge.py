"""FSDP shards of a checkpoint as one Hugging Face model, in the precision that the rollouts sampled in.

    python -m flywheel_jobs.trainer.merge --shards <global_step_n/actor> --target <folder> --dtype float32

verl's own merger always rounds to bfloat16. Where training and rollouts are float32 (the CPU flavour) that throws the
training away: a base that came in bf16 lies on the bf16 grid, and an update smaller than half a step of that grid
rounds back to the base. Seen with SmolLM2-135M after 3 steps at 2e-5: an update of norm 0.43 lost 0.42 of it.

It also holds all float32 shards and their concatenation in memory, 122 + 61 GB for 30B weights, in a Ray head that
trains nothing and is small. Here shards are mapped, whole parameters are written into mapped files, and the model is
saved in groups of layers: what is in memory, apart from pages that the kernel may drop, is about three groups.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from transformers.core_model_loading import revert_weight_conversion
from verl.model_merger.base_model_merger import ModelMergerConfig, drop_tied_target_keys
from verl.model_merger.fsdp_model_merger import FSDPModelMerger, merge_non_dtensor_shards
from verl.utils import hf_tokenizer

from flywheel_api.capacity.memory import MERGE_GROUP
from flywheel_jobs.trainer.adapters import adapters, published_name, scale
from flywheel_jobs.trainer.groups import grouped

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

Tensors = dict[str, torch.Tensor]


class StreamingMerger(FSDPModelMerger):  # type: ignore[misc]
    """verl's merger with a dtype of our choice, and without a copy of the model in memory."""

    def __init__(self, config: ModelMergerConfig, dtype: str, scratch: Path) -> None:
        super().__init__(config)
        self.dtype = DTYPES[dtype]
        self.scratch = scratch

    def _load_rank_zero_state_dict(self, world_size: int) -> dict[str, Any]:
        return self._shard(world_size, 0)

    def _shard(self, world_size: int, rank: int) -> dict[str, Any]:
        path = Path(self.config.local_dir) / f"model_world_size_{world_size}_rank_{rank}.pt"
        return dict(torch.load(path, map_location="cpu", weights_only=False, mmap=True))

    def _load_and_merge_state_dicts(
        self, world_size: int, total_shards: int, mesh_shape: tuple[int, ...], mesh_dim_names: tuple[str, ...]
    ) -> Tensors:
        """Whole parameters by name, each mapped from a file. Tensor parallelism is not supported."""
        if len(mesh_shape) != 1:
            raise NotImplementedError(
                f"shards of a {len(mesh_shape)}-dimensional mesh cannot be merged: use plain FSDP"
            )
        shards = [self._shard(world_size, rank) for rank in range(total_shards)]
        found = {name: self._merged(name, [shard.pop(name) for shard in shards]) for name in sorted(shards[0])}
        folded(found, Path(self.config.local_dir))
        return found

    def _merged(self, name: str, parts: Sequence[Any]) -> torch.Tensor:
        if not isinstance(parts[0], DTensor):
            return self._mapped([merge_non_dtensor_shards(name, list(parts))], 0)
        placement = parts[0].placements[-1]  # an outer dimension is data parallel: replicas, of which one was read
        local = [part._local_tensor for part in parts]
        if placement.is_replicate():
            return self._mapped(local[:1], 0)
        if not placement.is_shard():
            raise NotImplementedError(f"{name}: shards placed as {placement} cannot be merged")
        return self._mapped(local, placement.dim)

    def _mapped(self, parts: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
        """The parts after one another along `dim`, in our dtype, in a file that goes when the tensor does."""
        if parts[0].numel() == 0 or parts[0].dim() == 0:
            return torch.cat(list(parts), dim).to(self.dtype) if parts[0].dim() else parts[0].to(self.dtype)
        shape = list(parts[0].shape)
        shape[dim] = sum(part.shape[dim] for part in parts)
        size = torch.Size(shape)
        file = self.scratch / "parameter"
        whole = torch.from_file(str(file), shared=True, size=size.numel(), dtype=self.dtype).view(size)
        file.unlink()
        at = 0
        for part in parts:
            whole.narrow(dim, at, part.shape[dim]).copy_(part)
            at += part.shape[dim]
        return whole

    def save_hf_model_and_tokenizer(self, state_dict: Tensors) -> None:
        """The model under the names of its published form, in files of about `MERGE_GROUP`, with its configuration."""
        with torch.device("meta"):  # its names and its form are asked for, not its weights
            model = self.get_transformers_auto_model_class().from_config(self.model_config, torch_dtype=self.dtype)
        model = self.patch_model_generation_config(model)
        drop_tied_target_keys(state_dict, model, self.model_config)
        target = Path(self.config.target_dir)
        target.mkdir(parents=True, exist_ok=True)
        save_groups(model, state_dict, target)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(target)
        if model.can_generate():
            model.generation_config.save_pretrained(target)
        tokenizer = hf_tokenizer(self.hf_model_config_path)
        if tokenizer is not None:
            tokenizer.save_pretrained(target)


def folded(parameters: Tensors, shards: Path) -> None:
    """Adds adapters to the weights that they stand beside, in float32, and gives those their own names again."""
    pairs = adapters(parameters)
    if not pairs:
        return
    times = scale(shards)
    for one in pairs:
        weight, down, up = (parameters[one.weight], parameters.pop(one.down), parameters.pop(one.up))
        weight.copy_(weight.float() + times * (up.float() @ down.float()))
    for name in list(parameters):
        parameters[published_name(name)] = parameters.pop(name)


def save_groups(model: Any, parameters: Tensors, target: Path) -> None:
    """Writes safetensors files and, where there are several, their index; empties `parameters`."""
    groups = list(grouped({name: tensor.nbytes for name, tensor in parameters.items()}, MERGE_GROUP))
    where: dict[str, str] = {}
    total = 0
    for number, names in enumerate(groups, 1):
        file = f"model-{number:05d}-of-{len(groups):05d}.safetensors" if len(groups) > 1 else "model.safetensors"
        part = revert_weight_conversion(model, {name: parameters.pop(name) for name in names})
        part = {name: tensor.contiguous() for name, tensor in part.items()}
        save_file(part, target / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
        total += sum(tensor.nbytes for tensor in part.values())
    if len(groups) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": where}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (target / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def declare_dtype(target: Path, dtype: str) -> None:
    """Says in config.json what the weights are, for loaders that follow it."""
    path = target / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    config["dtype"] = dtype
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    """Merges as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True, help="the actor folder of a checkpoint, with all ranks' files")
    parser.add_argument("--target", required=True, type=Path, help="folder of the merged model")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bfloat16")
    args = parser.parse_args()
    config = ModelMergerConfig(
        operation="merge",
        backend="fsdp",
        local_dir=args.shards,
        target_dir=str(args.target),
        hf_model_config_path=str(Path(args.shards) / "huggingface"),
        use_cpu_initialization=True,
    )
    args.target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=args.target.parent, prefix=".merge-") as scratch:
        merger = StreamingMerger(config, args.dtype, Path(scratch))
        merger.merge_and_save()
        merger.cleanup()
    declare_dtype(args.target, args.dtype)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
