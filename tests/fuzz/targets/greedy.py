"""Small inputs that ask for much: recipes that double or are deep, patterns, products of extreme sides."""

from __future__ import annotations

from pathlib import Path
from random import Random

import torch
from safetensors.torch import save

from fuzz.case import Case
from fuzz.mutate_text import mutated
from fuzz.targets.files import NAME, SOUND

HEAD = '[inputs]\nA = "A.safetensors"\nB = "B.safetensors"\nlora = "lora.safetensors"\n[steps]\n'
STEPS = (
    "{0}", "0.5*{0} + 0.5*{0}", "fp16({0})", "{0} + {0} - {0}", "slerp({0}, {0}, 0.5)", "A + 0.5*({0} - {0})",
    "weighted_sum({0}, {1}, 0.5)", "{0} + {1}", "extract({0} - B, rank=1) + {1}", "0.5*{0} + 0.5*fp16({1})",
    "({0})*2", "{0}*{0}", "-(-({0}))",
)  # fmt: skip
STARTS = ("A", "B - A", "0.7*lora", "2", "1e99", "extract(B - A, rank=1)")


def recipe(draw: Random, fixtures: Path) -> Case:
    """A chain of steps, each made of the one or two before."""
    names, step = ["s0"], draw.choice(STEPS)
    lines = [f'{names[0]} = "{draw.choice(STARTS)}"']
    for number in range(1, draw.choice((3, 12, 40, 300, 2000))):
        step = draw.choice(STEPS) if draw.random() < 0.3 else step
        lines.append(f's{number} = "{step.format(names[-1], names[max(len(names) - 2, 0)])}"')
        names.append(f"s{number}")
    last = f"A + {names[-1]}*lora" if draw.random() < 0.3 else names[-1]
    text = f'{HEAD}{chr(10).join(lines)}\nout = "{last}"\n[save]\nout = "out.safetensors"\n'
    ending = draw.choice((["--dry-run"], ["--threads", "1"], ["--show"]))
    return Case("doubling and deep recipes", ("run", "r.toml", *ending), SOUND | {"r.toml": text.encode()})


PATTERNS = (
    "^model_ema", "^first_stage_model", "cond_stage|first_stage", r"\.(weight|bias)$", r"(a|a)*$", "(.*)*x",
    r"^(.|..)+(?=A)", "a{1000}", r"(\w+\.)+\d+\.weight", r"(?i)[A-Z]+$", "(?<=model).x", "[^.]*" * 20 + "$",
)  # fmt: skip
PARTS = (
    "*", "+", "?", "{2}", "{1,}", "{,9}", "{99999999999}", "(", ")", "(?:", "(?=", "(?<=", "(?P<a>", "(?P=a)",
    "\\1", "[", "]", "[^", "|", "^", "$", ".", "(.*)*", "(a+)+", "(?i)", "(?R)", "(?1)", "\\p{L}", "(?e)",
)  # fmt: skip


def discard(draw: Random, fixtures: Path) -> Case:
    pattern = mutated(draw.choice(PATTERNS), PARTS, draw)
    words = draw.choice((("convert", "A.safetensors"), ("eval", "A", "A=A.safetensors")))
    ending = draw.choice((("--dry-run",), ("--threads", "1")))
    return Case("discard patterns", (*words, "--discard", pattern, "-o", "out.safetensors", *ending), SOUND)


MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
SIDES = (1, 1, 2, 5, 7, 100, 500, 11_586, 100_000)
MOST = 400_000
"""Numbers of one factor."""


def product(draw: Random, fixtures: Path) -> Case:
    """LoKr and LoHa of a few hundred kilobytes, beside one that may be like it."""
    make = draw.choice((_lokr, _loha))
    first = _file(make(draw), draw)
    second = first if draw.random() < 0.2 else _file(draw.choice((_lokr, _loha))(draw), draw)
    words = draw.choice((
        ("inspect", NAME, "--norms"), ("inspect", NAME), ("compare", NAME, "Y.safetensors"),
        ("compare", NAME, "Y.safetensors", "--rank", "3"),
        ("compare", NAME, "kinds.safetensors"),
        ("merge", "A.safetensors", NAME, "-o", "out.safetensors"),
        ("combine", NAME, "Y.safetensors", "--rank", "2", "-o", "out.safetensors", "--dry-run"),
    ))  # fmt: skip
    return Case("products of extreme sides", words, SOUND | {NAME: first, "Y.safetensors": second})


def _side(draw: Random, other: int = 1) -> int:
    return draw.choice([side for side in SIDES if side * other <= MOST])


def _pair(draw: Random) -> tuple[int, int, int]:
    rank = draw.choice((1, 1, 2, 30))
    return _side(draw, rank), rank, _side(draw, rank)


def _lokr(draw: Random) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for side in "12":
        out, rank, width = _pair(draw)
        if out * width <= MOST and draw.random() < 0.6:
            shapes[f"lokr_w{side}"] = (out, width)
        else:
            shapes |= {f"lokr_w{side}_a": (out, rank), f"lokr_w{side}_b": (rank, width)}
    return shapes


def _loha(draw: Random) -> dict[str, tuple[int, ...]]:
    out, rank, width = _pair(draw)
    other = draw.choice((rank, 1))
    return {
        "hada_w1_a": (out, rank), "hada_w1_b": (rank, width),
        "hada_w2_a": (out, other), "hada_w2_b": (other, width),
    }  # fmt: skip


def _file(shapes: dict[str, tuple[int, ...]], draw: Random) -> bytes:
    generator = torch.Generator().manual_seed(draw.randrange(100))
    tensors = {
        f"{MODULE}.{part}": torch.randn(shape, generator=generator).half() for part, shape in shapes.items()
    }
    return save({**tensors, f"{MODULE}.alpha": torch.tensor(draw.choice((0.5, 1.0, 65504.0)))})
