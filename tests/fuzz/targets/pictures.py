"""Prompts, axes, infotexts, folders of studies: the picture commands before there is a picture."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.case import Case, Fixture
from fuzz.fixtures import INFOTEXT, PICTURE, read
from fuzz.mutate_bytes import harmed
from fuzz.mutate_text import mutated
from fuzz.targets.files import SOUND

PROMPTS = (
    "a girl, (smile:1.2), [hat], <lora:lora:0.7:0.5:lbw=OUTALL:start=2:stop=10>",
    "[cat:dog:0.5] and [a|b] AND x :0.8",
    "<lora:lora:te=0:unet=1:lbw=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1:lbwe=IN05-OUT05:attn:0>",
    "\\(a\\), ((b)), BREAK, c AND d:-1",
    "<lora:lora:XYZ> 1girl", "<lyco:conv:1> <lora:nobody:1>", "a" * 2000, "東京 の 少女, (笑顔:1.1)",
    "[[a:3]:b:[c:d:5]:9]",
)  # fmt: skip
AXES = (
    "lora = 0, 0.3, 0.5", "lora te = 0, 1", "lora unet = 0..1 [5]", "lora IN04-IN08 = 0..1 (+0.25)",
    "seed = 1-4", "cfg = 4..8 (+2)",
    "sampler = Euler a, DPM++ 2M", "prompt s/r = smile, frown, \"a, b\"", "prompt order = girl, smile",
    "size = 512x512, 768",
    "lora blocks = ALL, OUTD", 'lora elements = "IN05-OUT05:attn:0"',
    "block id = IN04, IN05-IN08, NOT BASE",
    "checkpoint = A, B", "clip skip = 1, 2", "steps = 10, 20, 30", "values = 0, 0.5, 1", "vae = none, A",
    "lora = lora, conv, none",
    "schedule = Karras, Exponential", "original weights = ALL, OUTALL", "seed = -1, -1",
)  # fmt: skip
WORDS = (
    "<lora:", ">", ":", "(", ")", "[", "]", "|", "AND", "BREAK", "lbw=", "lbwe=", "start=", "stop=",
    "step=0-5", "XYZ", "lora", " = ", "..",
    "(+0.1)", "(+0)", "(-1)", "[3]", "[0]", "[99999999]", "0..1000000 (+0.000001)", ",", '"', "IN04",
    "NOT ", "seed", "cfg", "none", "-1",
)  # fmt: skip


def prompt(draw: Random, fixtures: Path) -> Case:
    text = mutated(draw.choice(PROMPTS), WORDS, draw)
    if draw.random() < 0.4:
        return Case("prompts", ("@prompt", text), {})
    words = ["render", "A.safetensors", "--prompt", text, "--lora-dir", ".", "--dry-run"]
    if draw.random() < 0.3:
        words += ["--negative", mutated(draw.choice(PROMPTS), WORDS, draw)]
    if draw.random() < 0.3:
        words = ["blocks", "A.safetensors", "--prompt", text, "--lora-dir", ".", "--dry-run"]
        words += [
            "--blocks",
            mutated("BASE, IN04-IN08, MID", WORDS, draw),
            "--range",
            mutated("0.5,1", WORDS, draw),
        ]
    return Case("prompts", tuple(words), SOUND)


def axis(draw: Random, fixtures: Path) -> Case:
    words = [
        "grid",
        "A.safetensors",
        "lora.safetensors",
        "--prompt",
        "a girl, smile <lora:conv:XYZ>",
        "--lora-dir",
        ".",
    ]
    for flag in draw.sample(("--x", "--y", "--z"), draw.choice((1, 1, 2, 3))):
        words += [flag, mutated(draw.choice(AXES), WORDS, draw)]
    if draw.random() < 0.1:
        words += ["--reference", mutated("1,1", WORDS, draw)]
    if draw.random() < 0.1:
        words += ["--face-box", mutated("0.25,0,0.75,0.5", WORDS, draw)]
    return Case("axes", (*words, "--seed", "1", "--dry-run"), SOUND)


CONFIG = '{"in_channels": 4, "use_linear_projection": false, "addition_embed_type": "text_time"}'


def diffusers_folder(draw: Random, fixtures: Path) -> Case:
    text = mutated(
        CONFIG, ("null", "[", "{", '"in_channels": [4]', '"use_linear_projection": {}', "1e999", "NaN"), draw
    )
    files = {"model/unet/config.json": text.encode("utf-8", "surrogateescape")}
    return Case("diffusers folders", ("render", "model", "--prompt", "x", "--dry-run"), files)


def study_folder(draw: Random, fixtures: Path) -> Case:
    """A study goes on in a folder whose list of drawn seeds was damaged."""
    seeds = mutated("[1, 2, 3]", ("null", "1e999", "-1", "true", '"x"', "{", "[" * 2000), draw)
    data = seeds.encode("utf-8", "surrogateescape")
    return Case("study folders", ("@seeds", "study"), {"study/seeds.json": data}, ("study/seeds.json",))


def png(draw: Random, fixtures: Path) -> Case:
    """Pictures whose text was typed by anybody."""
    if draw.random() < 0.5:
        text = mutated(INFOTEXT, (*WORDS, "Steps: ", "Size: 0x0", "Seed: ", "\n", ", "), draw)
        return Case("infotexts", ("@infotext", text), {})
    data = harmed(read(fixtures, PICTURE), draw)
    return Case("infotexts", ("@png", "x.png"), {"x.png": data, "A.safetensors": Fixture("A.safetensors")})
