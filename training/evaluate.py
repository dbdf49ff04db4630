"""The numbers of the model card, and sheets of pictures to look at.

What is measured: the judge on clean drawings and on reconstructions; for each base the share of right
answers per attribute on complete captions never trained on; for each LoRA its traits at rising strength, on
both bases.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.judge import accuracy, load_judge, open_pools
from training.latents import encode, load_folded_vae
from training.lora import SUBJECTS, LoraSet, load_lora, prepare_gallery
from training.runs import steps_done
from training.text import load_text
from training.unet import STYLE_OF, load_unet, prepare_examination

STRENGTHS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)
Numbers = dict[str, dict[str, float]]


def save_sheet(path: Path, pictures: torch.Tensor, columns: int) -> None:
    """Pictures (n, 3, h, w) in -1..1 side by side, with two pixels between."""
    n, _, height, width = pictures.shape
    rows = -(-n // columns)
    sheet = Image.new("RGB", (columns * (width + 2), rows * (height + 2)), "white")
    for i, pixels in enumerate(
        ((pictures + 1) * 127.5).round().clamp(0, 255).byte().cpu().permute(0, 2, 3, 1)
    ):
        sheet.paste(
            Image.fromarray(np.asarray(pixels)), (i % columns * (width + 2), i // columns * (height + 2))
        )
    sheet.save(path)


def examine_autoencoder(folder: Path, out: Path, count: int) -> Numbers:
    """The judge on clean drawings and on what the autoencoder makes of them."""
    judge, vae = load_judge(folder), load_folded_vae(folder)
    pool = open_pools(folder)[1]
    rows = list(range(min(count, len(pool.portraits))))
    images, labels = pool.images(rows), pool.labels(rows)
    with torch.no_grad():
        back = torch.cat([vae.decode(z).sample for z in torch.split(encode(vae, images), 16)]).clamp(-1, 1)
    save_sheet(out / "autoencoder.png", torch.stack([images[:16], back[:16]], 1).flatten(0, 1), 8)
    return {"clean": accuracy(judge, images, labels), "reconstructed": accuracy(judge, back, labels)}


def examine_base(folder: Path, out: Path, base: str, count: int) -> dict[str, float]:
    """Share of right answers per attribute over `count` captions."""
    examination = prepare_examination(folder, STYLE_OF[base], count)
    pictures = examination.pictures(load_unet(folder, base))
    save_sheet(out / f"base-{base}.png", pictures[:32], 8)
    return examination.marks(pictures)


def examine_lora(folder: Path, out: Path, name: str, base: str, count: int) -> Numbers:
    """Traits and prompt following at each strength, same prompts and noise."""
    unet, encoders = load_unet(folder, base), load_text(folder)
    loras = load_lora(folder, name, LoraSet(unet, encoders))
    gallery = prepare_gallery(folder, name, count, STYLE_OF[base])
    numbers, rows = {}, []
    for strength in STRENGTHS:
        loras.set_strength(strength)
        pictures = gallery.pictures(unet, encoders)
        rows.append(pictures[:8])
        numbers[f"{name} on {base} at {strength}"] = gallery.marks(pictures)
    save_sheet(out / f"{name}-{base}.png", torch.cat(rows), 8)
    return numbers


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(os.environ.get("TINYFAM_STATE", "build/tinyfam")))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=128, help="pictures per measurement")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    numbers = examine_autoencoder(options.state, options.out, options.count)
    for base in STYLE_OF:
        if not steps_done(options.state, f"unet-{base}"):
            continue
        numbers[f"base {base}"] = examine_base(options.state, options.out, base, options.count)
        for name in SUBJECTS:
            if steps_done(options.state, f"lora-{name}"):
                numbers |= examine_lora(options.state, options.out, name, base, options.count)
    (options.out / "numbers.json").write_text(json.dumps(numbers, indent=1))
    for what, marks in numbers.items():
        print(what, {k: round(v, 3) for k, v in marks.items()})


if __name__ == "__main__":
    _main()
