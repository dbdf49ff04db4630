"""Newer families at full size: one LoRA into a random checkpoint against `cp`; LoRAs resized and combined.

    python -m benchmarks.newer_families [--merge zimage] [--merge klein9b] [--factors] [--folder DIR]

A merge needs twice the checkpoint on the disk (Z-Image 12.3 GB, Klein 9B 18.2 GB), one family at a time; one
that does not fit is left out with a line. Resizing and combining work on factors alone: the baseline is one
full decomposition of the dense change, measured on a layer of each shape and multiplied by their number.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.make_files import SCRATCH, Pool, read_manifest
from benchmarks.measure import Run, copy_seconds, middle, run_process, settle
from loralathe.families import FACTORED, FAMILIES, Family
from loralathe.tensorfiles import CheckpointWriter, TensorSpec, in_file_order, tensor_bytes

MANIFESTS = {"zimage": "ckpt_zimage", "klein9b": "ckpt_klein9b", "qwen-image": "ckpt_qwen_image"}
RANK, ROUNDS = 32, 3
Shapes = dict[str, tuple[int, ...]]


def layers_of(manifest: str) -> tuple[Family, Shapes]:
    """The family of a transformer, and its layers that trainers change → (out, in)."""
    specs = read_manifest(manifest)
    family = next(known for known in FAMILIES if known.signature.matches(specs))
    modules = family.modules(specs).values()
    return family, {one.name: specs[one.key].shape for one in modules if one.scope in FACTORED}


def write_checkpoint(pool: Pool, manifest: str, path: Path) -> None:
    specs = in_file_order(read_manifest(manifest).values())
    with CheckpointWriter(path, specs, {"format": "pt"}, force=True) as writer:
        for spec in specs:
            writer.write(spec.name, tensor_bytes((pool.take(spec.name, spec.shape) * 0.03).bfloat16()))
        writer.commit()


def write_lora(pool: Pool, manifest: str, path: Path, name: str) -> int:
    """A kohya LoRA of rank 32 over every layer that trainers change; how many."""
    family, layers = layers_of(manifest)
    tensors = {}
    for module, (out, width) in layers.items():
        raw = family.kohya_name(module)
        tensors[f"{raw}.lora_up.weight"] = pool.take(f"{name} {raw} up", (out, RANK)).mul(0.02).half()
        tensors[f"{raw}.lora_down.weight"] = pool.take(f"{name} {raw} down", (RANK, width)).mul(0.02).half()
        tensors[f"{raw}.alpha"] = torch.tensor(float(RANK)).half()
    specs = in_file_order(TensorSpec(key, "F16", tuple(one.shape)) for key, one in tensors.items())
    with CheckpointWriter(path, specs, {}, force=True) as writer:
        for spec in specs:
            writer.write(spec.name, tensor_bytes(tensors[spec.name]))
        writer.commit()
    return len(layers)


def run_recipe(folder: Path, formula: str, *names: str) -> Run:
    """One formula in a process of its own; its output is removed."""
    lines = ["[inputs]", *(f'{name} = "{name}.safetensors"' for name in names)]
    lines += ["[steps]", f'out = "{formula}"', "[save]", 'out = { file = "out.safetensors" }']
    recipe = folder / "recipe.toml"
    recipe.write_text("\n".join(lines) + "\n", "utf-8")
    settle()
    try:
        return run_process(["-m", "benchmarks.child", str(recipe), "--no-hash"], folder / "cache")
    finally:
        (folder / "out.safetensors").unlink(missing_ok=True)


def merges(pool: Pool, name: str, folder: Path) -> Iterator[str]:
    specs = read_manifest(MANIFESTS[name]).values()
    size = sum(spec.nbytes for spec in specs)
    free = shutil.disk_usage(folder).free
    if free < 2.2 * size:
        yield f"{name}: left out, it needs {2.2 * size / 1e9:.0f} GB of disk and {free / 1e9:.0f} GB are free"
        return
    base = folder / "A.safetensors"
    write_checkpoint(pool, MANIFESTS[name], base)
    write_lora(pool, MANIFESTS[name], folder / "hina.safetensors", "hina")
    copies, runs = [], []
    for _ in range(ROUNDS):
        settle()
        copies.append(copy_seconds(base, folder / "copy.safetensors"))
        runs.append(run_recipe(folder, "A + 0.7*hina", "A", "hina"))
    copy = statistics.median(copies)
    run = middle(runs)
    yield (
        f"| {name}, {size / 1e9:.1f} GB | merge a LoRA (×{ROUNDS}) | {run.whole:.2f} | {run.work:.2f} | "
        f"cp + fsync | {copy:.2f} | {run.whole / copy:.2f} | {(run.peak or 0) / 1e6:.0f} |"
    )
    base.unlink()


def factors(pool: Pool, folder: Path) -> Iterator[str]:
    manifest = MANIFESTS["qwen-image"]
    for name in ("a", "b", "c"):
        count = write_lora(pool, manifest, folder / f"{name}.safetensors", name)
    dense = decompositions(pool, manifest)
    for job, formula, names in (
        ("resize one to rank 16", "resize(a, rank=16)", ("a",)),
        ("combine three to rank 32", "combine(0.7*a + 0.5*b - 0.2*c, rank=32)", ("a", "b", "c")),
    ):
        runs = [run_recipe(folder, formula, *names) for _ in range(ROUNDS)]
        run = middle(runs)
        yield (
            f"| Qwen-Image, {count} layers | {job} (×{ROUNDS}) | {run.whole:.2f} | {run.work:.2f} | "
            f"full SVDs, extrapolated | {dense:.0f} | {run.whole / dense:.4f} | {(run.peak or 0) / 1e6:.0f} |"
        )


def decompositions(pool: Pool, manifest: str) -> float:
    """Seconds of full decompositions of all layers' dense changes: one of each shape, times their number."""
    total = 0.0
    for shape, count in Counter(layers_of(manifest)[1].values()).items():
        change = pool.take("up", (shape[0], RANK)) @ pool.take("down", (RANK, shape[1]))
        start = time.perf_counter()
        torch.linalg.svd(change, full_matrices=False)
        total += count * (time.perf_counter() - start)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--merge", choices=("zimage", "klein9b"), action="append", default=[])
    parser.add_argument("--factors", action="store_true")
    parser.add_argument("--folder", type=Path, help="on the disk that counts (default: here)")
    options = parser.parse_args()
    folder = options.folder / "loralathe-bench" if options.folder else SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    print("| files | job | whole s | work s | against | s | ratio | peak MB |")
    print("|---|---|---:|---:|---|---:|---:|---:|")
    pool = Pool()
    try:
        for name in options.merge:
            for line in merges(pool, name, folder):
                print(line, flush=True)
        if options.factors:
            for line in factors(pool, folder):
                print(line, flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
