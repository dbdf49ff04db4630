"""Adapter specs, block lists, element rules, and the files that hold them."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.mutate_bytes import harmed
from fuzz.mutate_text import mutated
from fuzz.targets.files import SOUND

SPECS = (
    "lora.safetensors", "lora.safetensors:0.7", "lora.safetensors:0.7:OUTALL",
    "lora.safetensors:te=0:unet=1.5",
    "lora.safetensors:0.7:1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1",
    "lora.safetensors:IN04=0.3,OUT00=1:0.5",
    "lora.safetensors:lbw=INS:lbwe=IN05-OUT05:attn:0", "conv.safetensors:-1:Face", "lora",
)  # fmt: skip
LISTS = (
    "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1", ",".join(["1"] * 17), ",".join(["0.5"] * 26), "ALL", "INS",
    "MIDD", "OUTALL", "NONE",
    "IN04=0.3,OUT00=1", "*=0,OUT03-OUT05=1", "NOT IN04-IN08=0", "R," + ",".join(["1"] * 16),
    "1,0,X,1,1,1,1,1,1,1,1,1",
    "BASE=1,MID=0.5",
)  # fmt: skip
RULES = (
    "OUT03-OUT05:attn2:0.5", "IN05-OUT05:attn:0", ":to_q:1", "NOT OUT04:ff.net:0",
    "BASE:mlp:0.3,IN04:attn1:1",
    "IN01 IN02:NOT attn:0",
)  # fmt: skip
WORDS = (
    "BASE", "IN00", "IN04", "MID", "OUT11", "TE1", "D00", "IN04-IN08", "NOT ", "R", "U", "X", "=", ":",
    ",", "*", "te=", "unet=", "lbw=",
    "lbwe=", "attn2", "0.5", "ALL", "XYZ", "start=", "stop=", "step=",
)  # fmt: skip
PRESETS = (
    "#Character\nFace:1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1\nALL0.5:" + ",".join(["0.5"] * 17) + "\n",
    "NONE:0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0\nALL:1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1\nFace:IN04=1\n",
)
ELEMENT_PRESETS = "ATTNDEEPON:IN05-OUT05:attn:1\n\nATTNDEEPOFF:IN05-OUT05:attn:0,BASE:mlp:1\n\nX:MID::0\n"
BASE = ("merge", "A.safetensors")


def adapter_spec(draw: Random, fixtures: Path) -> Case:
    words = [*BASE, *(mutated(draw.choice(SPECS), WORDS, draw) for _ in range(draw.choice((1, 1, 2))))]
    return _merge("adapter specs", words, draw)


def block_list(draw: Random, fixtures: Path) -> Case:
    text = mutated(draw.choice(LISTS), WORDS, draw)
    name = "Face" if draw.random() < 0.8 else mutated("Face", WORDS, draw)
    words = [*BASE, "lora.safetensors:0.7:Face", "--blocks", f"{name}={text}"]
    if draw.random() < 0.2:
        words += ["--missing-blocks", "1"]
    return _merge("block lists", words, draw)


def element_rule(draw: Random, fixtures: Path) -> Case:
    rules = [mutated(draw.choice(RULES), WORDS, draw) for _ in range(draw.choice((1, 1, 3)))]
    words = [*BASE, "lora.safetensors:0.7", *(word for rule in rules for word in ("--elements", rule))]
    return _merge("element rules", words, draw)


def preset_file(draw: Random, fixtures: Path) -> Case:
    """Text that is nearly right, or bytes that are hardly text."""
    elements = draw.random() < 0.3
    text = ELEMENT_PRESETS if elements else draw.choice(PRESETS)
    data = mutated(text, WORDS, draw).encode("utf-8", "surrogateescape")
    if draw.random() < 0.3:
        data = harmed(data, draw) if data else b"\xff\xfe"
    if elements:
        words = [
            "render",
            "A.safetensors",
            "lora.safetensors",
            "--prompt",
            "<lora:lora:1:lbwe=X>",
            "--element-presets",
            "p.txt",
        ]
        return Case("preset files", (*words, "--dry-run"), SOUND | {"p.txt": data})
    words = [*BASE, "lora.safetensors:0.7:Face", "--presets", "p.txt", "--dry-run"]
    return Case("preset files", tuple(words), SOUND | {"p.txt": data})


def _merge(target: str, words: list[str], draw: Random) -> Case:
    words += ["-o", "out.safetensors"] if draw.random() < 0.7 else []
    words += ["--threads", "1"] if draw.random() < 0.1 else ["--dry-run"]
    return Case(target, tuple(words), SOUND)
