"""The article's method from beginning to end on tiny random models in the true SDXL layout.

    python demo/run.py --out demo-out

Makes two bases and a LoRA (7 MB each, random numbers: they draw nothing), then runs the commands that a
person would run on their own files, shows each with its output, and leaves everything in one folder with
`report.md`. Both signs of Add difference are made: minus moves the result towards base A, plus away from it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

RECIPE = """\
# The article's loop as one recipe. Run it with:  lathe run {name}.toml
[inputs]
A    = "baseA.safetensors"
B    = "baseB.safetensors"
hina = "hina.safetensors"

[variables]
M    = 0.7
rank = 8

[blocks]
HinaBlock = "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1"

[steps]
A1     = "A + 0.7*hina@HinaBlock"          # merge the LoRA into base A, per block
lora1  = "extract(A1 - A, rank=rank)"      # subtract base A again: a new LoRA
B1     = "B + 0.8*lora1"                   # carry it to base B
B2     = "B1 {sign} M*(B - A)"                  # Add difference: {meaning}
lora2  = "extract(B2 - B, rank=rank)"      # the special LoRA

[save]
B2    = {{ file = "hina_B_{name}.safetensors", dtype = "fp16" }}
lora2 = {{ file = "hina_special_{name}.safetensors", dtype = "fp16" }}
"""

STORY = [
    ("What is in the LoRA, from its header alone", "inspect hina.safetensors"),
    (
        "Merge it into base A, uniform",
        "merge baseA.safetensors hina.safetensors:0.7 -o A_uniform.safetensors",
    ),
    (
        "Merge it per block, as in SuperMerger's text box",
        "merge baseA.safetensors hina.safetensors:0.7:HinaBlock "
        "--blocks HinaBlock=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1 -o A_blocks.safetensors",
    ),
    (
        "Subtract the base again, file by file: fp16 rounding is all that changed",
        "extract A_uniform.safetensors baseA.safetensors --rank 8 -o hina_again.safetensors",
    ),
    ("So what did the subtraction change?", "compare hina.safetensors hina_again.safetensors"),
    ("Look at the plan before running", "run minus.toml --dry-run"),
    ("Carry it to base B and move towards A (the printed formula)", "run minus.toml"),
    ("The same, away from A (the article's clicks)", "run plus.toml"),
    ("Sweep M without touching the recipe", "run plus.toml --set M=0.3 --force"),
    (
        "The two special LoRAs, side by side",
        "compare hina_special_minus.safetensors hina_special_plus.safetensors",
    ),
    ("Every result remembers how it was made", "inspect hina_B_minus.safetensors"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--out", type=Path, default=Path("demo-out"), help="folder for everything (default: demo-out)"
    )
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    make_files(folder)
    report = [
        "# The article's method on tiny models",
        "",
        "Random numbers in the true SDXL layout: they draw nothing.",
        "",
    ]
    for number, (title, command) in enumerate(STORY, 1):
        print(f"\n[{number}/{len(STORY)}] {title}\n$ lathe {command}", flush=True)
        text = run(command, folder)
        print(text, flush=True)
        report += [f"## {number}. {title}", "", "```console", f"$ lathe {command}", text.rstrip(), "```", ""]
    (folder / "report.md").write_text("\n".join(report), encoding="utf-8")
    print(f"\nDone in {time.monotonic() - started:.0f} s; the story is in {folder}/report.md")


def make_files(folder: Path) -> None:
    """Base A, base B (A plus a difference that decays), a rank-8 LoRA, and the recipe with both signs."""
    from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors

    print("Making two tiny SDXL models and a LoRA …", flush=True)
    base = tiny_checkpoint("sdxl", seed=1)
    write_safetensors(folder / "baseA.safetensors", base)
    write_safetensors(folder / "baseB.safetensors", another_base(base))
    write_safetensors(folder / "hina.safetensors", tiny_lora("sdxl", rank=8, alpha=4.0, seed=3, std=0.05))
    for name, sign, meaning in (("minus", "-", "towards A"), ("plus", "+", "away from A")):
        text = RECIPE.format(name=name, sign=sign, meaning=meaning)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")


def another_base(base: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`base` plus a difference of rms 2e-3 whose singular values fall like 1/i, as between real models."""
    import torch

    generator = torch.Generator().manual_seed(2)
    found = {}
    for key, weight in base.items():
        if not weight.is_floating_point() or weight.ndim < 2:
            found[key] = weight
            continue
        matrix = weight.float().flatten(1)
        small = min(matrix.shape)
        left = torch.linalg.qr(torch.randn(matrix.shape[0], small, generator=generator)).Q
        right = torch.linalg.qr(torch.randn(matrix.shape[1], small, generator=generator)).Q
        delta = (left / torch.arange(1, small + 1)) @ right.T
        delta *= 2e-3 / delta.square().mean().sqrt()
        found[key] = (matrix + delta).reshape(weight.shape).to(weight.dtype)
    return found


def run(command: str, folder: Path) -> str:
    """One command as a person would type it; outputs of an earlier demo are replaced."""
    words = shlex.split(command)
    if words[0] in ("merge", "extract", "run") and "--force" not in words:
        words.append("--force")
    done = subprocess.run(
        [sys.executable, "-m", "loralathe.cli", *words],
        cwd=folder,
        env=os.environ | {"COLUMNS": "110", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\nlathe {command} failed with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
