"""Recipe files: TOML that is damaged, and TOML that is sound and says something odd."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.mutate_bytes import harmed
from fuzz.mutate_text import mutated
from fuzz.targets import formulas
from fuzz.targets.files import SOUND

RECIPE = """\
[inputs]
A    = "A.safetensors"
B    = "B.safetensors"
lora = "lora.safetensors"

[variables]
M = 0.7
rank = 2

[blocks]
Face = "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1"

[steps]
A1     = "A + 0.7*lora@Face"
lora1  = "extract(A1 - A, rank=rank)"
B2     = "B + 0.8*lora1 - M*(B - A)"

[save]
B2    = { file = "out.safetensors", dtype = "fp16" }
lora1 = { file = "out_lora.safetensors", dtype = "fp16" }
"""
WORDS = (
    "[inputs]", "[variables]", "[blocks]", "[steps]", "[save]", "[[save]]", "[extra]", "A", "B2",
    "lora1", " = ", '"', "'''", "\n",
    "{", "}", "file = ", "dtype = ", 'metadata = { a = "b" }', "discard = ", "true", "1979-05-27",
    "0xff", "1e5", "[1, 2]", "#", ".",
    '"A.safetensors"', '"../x.safetensors"', '"/tmp/x.safetensors"', "vae = ", "metadata = ", "\\u0000",
    "\\ud800", "\\U0010FFFF",
)  # fmt: skip


def recipe(draw: Random, fixtures: Path) -> Case:
    text = RECIPE
    if draw.random() < 0.5:
        step = draw.choice(("A + 0.7*lora@Face", "extract(A1 - A, rank=rank)", "B + 0.8*lora1 - M*(B - A)"))
        other = mutated(draw.choice((step, *formulas.SEEDS)), formulas.WORDS, draw).replace('"', "'")
        text = text.replace(step, other)
    if draw.random() < 0.6:
        text = mutated(text, WORDS, draw)
    data = text.encode("utf-8", "surrogateescape")
    if data and draw.random() < 0.2:
        data = harmed(data, draw)
    return Case("recipes", (*_command(draw),), SOUND | {"r.toml": data})


def _command(draw: Random) -> list[str]:
    kind = draw.random()
    if kind < 0.15:
        return ["grid", "--recipe", "r.toml", "--prompt", "x", "--x", "M = 0, 1", "--dry-run"]
    words = ["run", "r.toml"]
    if kind < 0.3:
        words += ["--set", mutated("M=0.5", WORDS, draw)]
    if kind < 0.4:
        words += ["-o", mutated("B2=other.safetensors", WORDS, draw)]
    # Mutated recipes name other output files: those that leave the sandbox are planned only.
    return [*words, "--threads", "1"] if draw.random() < 0.1 else [*words, "--dry-run"]
