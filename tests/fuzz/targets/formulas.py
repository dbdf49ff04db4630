"""Formulas, with variables, block lists and inputs of odd names."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.mutate_text import mutated
from fuzz.targets.files import SOUND

SEEDS = (
    "A + 0.7*lora", "B + lora@Face - M*(B - A)",
    "A + 0.5*(B - A)@\"1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1\"",
    "extract(B - A, rank=rank)",
    "extract(A + lora - A, rank=2, conv_rank=1)", "fp16(A + 0.3*lora) - (B - A)*M",
    "A + lora(te=0.5, unet=0)@INS",
    "(1-M)*A + M*B", "bf16(B)", "A + 2*(-lora)", "0.5*A + 0.5*B", "A + extract(B - A, rank=1)@OUTALL",
    "-(-A)",
    "A + (lora - lora)", "extract(A - A)", "A + 1e-9*lora", "A - -B + -B", "A + lora@'IN04=0.3,OUT00=1'",
)  # fmt: skip
WORDS = (
    "A", "B", "lora", "M", "rank", "Face", "extract(", "fp16(", "bf16(", "rank=", "conv_rank=", "te=",
    "unet=", "@INS",
    '@"', "0.5*", " + ", " - ", "(B - A)", "method=", "energy=0.9", "size=", "dtype=", "seed=1", "tau=",
)  # fmt: skip


def formula(draw: Random, fixtures: Path) -> Case:
    text = mutated(draw.choice(SEEDS), WORDS, draw)
    values = mutated("M=0.7", (), draw) if draw.random() < 0.2 else "M=0.7"
    inputs = ["A=A.safetensors", "B=B.safetensors", "lora=lora.safetensors"]
    if draw.random() < 0.1:
        inputs[draw.randrange(3)] = mutated(draw.choice(inputs), WORDS, draw)
    words = [
        "eval",
        text,
        *inputs,
        "--set",
        values,
        "--set",
        "rank=2",
        "--blocks",
        "Face=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1",
    ]
    if draw.random() < 0.5:
        words += ["-o", "out.safetensors"]
    # Most formulas are told apart by planning; now and then one is worked out.
    words += ["--threads", "1"] if draw.random() < 0.2 else ["--dry-run"]
    return Case("formulas", tuple(words), SOUND)
