"""Full-size random checkpoints and LoRAs, made from the lists of real files' tensors.

A is normal noise of rms 0.03. B is A plus, per weight matrix, a delta of rms 1e-3 whose singular values fall
like 1/i, in white noise a tenth as large: what a fine-tuned model looks like to an extraction. Everything is
cut from one pool of normal numbers at places given by the tensor's name, so the files are the same on every
run, and making them costs little more than writing them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from loralathe.tensorfiles import CheckpointWriter, TensorSpec, in_file_order, tensor_bytes

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ROOT / "tests" / "data" / "manifests"
SCRATCH = Path(__file__).resolve().parent / "scratch"

BASE_RMS = 0.03
DELTA_RMS = 1e-3
NOISE_SHARE = 0.1
DIRECTIONS = 256
LORA_RANK, LORA_ALPHA = 32, 16.0


@dataclass(frozen=True)
class Family:
    """What stands for a family: the lists of tensors of its checkpoint and of its LoRA."""

    label: str
    checkpoint: str
    lora: str


FAMILIES = {
    "sd15": Family("SD 1.5", "ckpt_sd15", "lora_kohya_sd15_linear"),
    "sdxl": Family("SDXL", "ckpt_sdxl_base", "lora_kohya_sdxl_linear"),
}


@dataclass(frozen=True)
class Files:
    """Checkpoints of one family (C is a copy of A, for jobs with three) and a LoRA that fits them."""

    A: Path
    B: Path
    C: Path
    lora: Path

    def paths(self) -> tuple[Path, ...]:
        return (self.A, self.B, self.C, self.lora)

    def delete(self) -> None:
        for path in self.paths():
            path.unlink(missing_ok=True)


class Pool:
    """Normal numbers, made once; a tensor's values are a run of them that starts at a place of its own."""

    def __init__(self, size: int = (1 << 25) + 39) -> None:  # a prime
        self.values = torch.empty(size)
        generator = torch.Generator().manual_seed(1)
        for part in torch.split(self.values, 1 << 20):
            part.normal_(generator=generator)

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """fp32 of `shape`; repeats only beyond 33 million elements (token embeddings)."""
        count = torch.Size(shape).numel()
        start = zlib.crc32(name.encode()) % len(self.values)
        parts = [self.values[start : start + count]]
        while (missing := count - sum(map(len, parts))) > 0:
            parts.append(self.values[:missing])
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(shape)


def read_manifest(name: str) -> dict[str, TensorSpec]:
    """Tensor name → spec of a real file of that kind."""
    with gzip.open(MANIFESTS / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        entries: Mapping[str, dict[str, object]] = json.load(file)
    return {
        key: TensorSpec(key, str(entry["dtype"]), tuple(entry["shape"]))  # type: ignore[arg-type]
        for key, entry in entries.items()
    }


def base_tensor(pool: Pool, spec: TensorSpec) -> Tensor:
    """A's tensor."""
    if spec.dtype == "I64":
        return torch.arange(spec.nbytes // 8).view(spec.shape)
    return (pool.take(spec.name, spec.shape) * BASE_RMS).half()


def tuned_tensor(pool: Pool, spec: TensorSpec) -> Tensor:
    """B's tensor: A's plus a decaying delta for a matrix or kernel, plus noise alone for a vector."""
    base = base_tensor(pool, spec)
    if spec.dtype == "I64":
        return base
    delta = pool.take(spec.name + " noise", spec.shape) * (NOISE_SHARE * DELTA_RMS)
    if len(spec.shape) >= 2:
        delta = delta.view(spec.shape[0], -1)
        rank = min(DIRECTIONS, *delta.shape)
        left = pool.take(spec.name + " left", (delta.shape[0], rank))
        right = pool.take(spec.name + " right", (rank, delta.shape[1]))
        weights = torch.arange(1, rank + 1).reciprocal()
        weights *= DELTA_RMS / float(weights.square().sum().sqrt())
        delta = torch.addmm(delta, left * weights, right).view(spec.shape)
    return delta.add_(base).half()


def write_checkpoints(pool: Pool, family: Family, A: Path, B: Path) -> None:
    """Both models, tensor by tensor."""
    specs = in_file_order(read_manifest(family.checkpoint).values())
    for path, make in ((A, base_tensor), (B, tuned_tensor)):
        with CheckpointWriter(path, specs, {"format": "pt"}, force=True) as writer:
            for spec in specs:
                writer.write(spec.name, tensor_bytes(make(pool, spec)))
            writer.commit()


def write_lora(pool: Pool, family: Family, path: Path) -> None:
    """A kohya LoRA of rank 32, alpha 16, text encoders included; its delta has about B's size."""
    tensors = dict(_lora_tensors(pool, read_manifest(family.lora)))
    specs = in_file_order(TensorSpec(name, "F16", tuple(tensor.shape)) for name, tensor in tensors.items())
    with CheckpointWriter(path, specs, {"ss_network_module": "networks.lora"}, force=True) as writer:
        for spec in specs:
            writer.write(spec.name, tensor_bytes(tensors[spec.name]))
        writer.commit()


def _lora_tensors(pool: Pool, specs: Mapping[str, TensorSpec]) -> Iterator[tuple[str, Tensor]]:
    # alpha/rank · up · down has the variance (alpha/rank)² · rank · rms(up)² · rms(down)².
    rms = (DELTA_RMS * LORA_RANK**0.5 / LORA_ALPHA) ** 0.5
    for name, spec in specs.items():
        if name.endswith(".alpha"):
            yield name, torch.tensor(LORA_ALPHA).half()
        else:
            axis = 0 if "lora_down" in name else 1
            shape = (*spec.shape[:axis], LORA_RANK, *spec.shape[axis + 1 :])
            yield name, (pool.take(name, shape) * rms).half()


def make_files(name: str, folder: Path = SCRATCH) -> Files:
    """The files of one family in `folder`; those already there are taken as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    family = FAMILIES[name]
    files = Files(*(folder / f"{name}-{part}.safetensors" for part in ("A", "B", "C", "lora")))
    if not all(path.exists() for path in files.paths()):
        pool = Pool()
        write_checkpoints(pool, family, files.A, files.B)
        shutil.copyfile(files.A, files.C)
        write_lora(pool, family, files.lora)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("family", nargs="*", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--folder", type=Path, default=SCRATCH)
    options = parser.parse_args()
    for name in options.family:
        files = make_files(name, options.folder)
        print(*(f"{path}: {path.stat().st_size / 1e9:.2f} GB" for path in files.paths()), sep="\n")


if __name__ == "__main__":
    main()
