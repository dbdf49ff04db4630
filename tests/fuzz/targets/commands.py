"""Commands that take a checkpoint or an adapter, for files that are not what they seem."""

from __future__ import annotations

from random import Random

OUT = ("-o", "out.safetensors", "--threads", "1")

ON_A_CHECKPOINT: tuple[tuple[str, ...], ...] = (
    ("inspect", "X"),
    ("inspect", "X", "--json"),
    ("inspect", "X", "--norms", "--hash", "--threads", "1"),
    ("merge", "X", "lora.safetensors:0.7", *OUT),
    ("merge", "X", "conv.safetensors:0.7", "--allow-unmatched", "--dry-run"),
    ("merge", "A.safetensors", "X", *OUT),
    ("extract", "X", "A.safetensors", "--rank", "2", *OUT),
    ("extract", "A.safetensors", "X", "--rank", "2", *OUT),
    ("eval", "A + 0.5*(X - A)", "A=A.safetensors", "X=X", *OUT),
    ("eval", "X + 0.5*(X - A)", "A=A.safetensors", "X=X", "--json", *OUT),
    ("weighted-sum", "A.safetensors", "X", "-M", "0.3", *OUT),
    ("add-difference", "A.safetensors", "X", "A.safetensors", "-M", "0.3", *OUT),
    ("convert", "X", "--dtype", "bf16", *OUT),
    ("convert", "X", "--dtype", "fp32", "--check-finite", *OUT),
    ("compare", "X", "A.safetensors", "--threads", "1"),
    ("compare", "A.safetensors", "X", "--threads", "1", "--json"),
    ("render", "X", "--prompt", "a girl", "--dry-run"),
    ("grid", "X", "lora.safetensors", "--x", "lora = 0, 1", "--prompt", "a girl", "--dry-run"),
    ("blocks", "--weights", "X", "lora.safetensors", "--threads", "1"),
)
ON_AN_ADAPTER: tuple[tuple[str, ...], ...] = (
    ("inspect", "X"),
    ("inspect", "X", "--json"),
    ("inspect", "X", "--norms", "--hash", "--threads", "1"),
    ("merge", "A.safetensors", "X:0.7", *OUT),
    ("merge", "A.safetensors", "X:0.7:OUTALL:te=0.5", "--allow-unmatched", *OUT),
    ("merge", "X", "lora.safetensors", *OUT),
    ("eval", "A + 0.5*X(te=0) - X@INS", "A=A.safetensors", "X=X", *OUT),
    ("eval", "extract(B - A + X, rank=2)", "A=A.safetensors", "B=B.safetensors", "X=X", *OUT),
    ("compare", "X", "lora.safetensors", "--threads", "1"),
    ("compare", "lora.safetensors", "X", "--threads", "1", "--json"),
    ("render", "A.safetensors", "X:0.5", "--prompt", "a girl", "--dry-run"),
    ("render", "A.safetensors", "--lora-dir", ".", "--prompt", "a girl <lora:X:1>", "--dry-run"),
    ("grid", "A.safetensors", "X", "--x", "X = 0, 1", "--y", "X IN04 = 0, 1", "--prompt", "x", "--dry-run"),
    ("blocks", "--weights", "A.safetensors", "X", "--threads", "1"),
    ("blocks", "--weights", "A.safetensors", "lora.safetensors", "X", "--threads", "1"),
    ("blocks", "A.safetensors", "X", "--prompt", "girl", "--dry-run"),
)


def about(name: str, commands: tuple[tuple[str, ...], ...], draw: Random) -> tuple[str, ...]:
    """One of the commands, with the file `name` as X."""
    return tuple(_put(word, name) for word in draw.choice(commands))


def _put(word: str, name: str) -> str:
    if word == "X" or word.startswith("X:"):
        return name + word[1:]
    return f"X={name}" if word == "X=X" else word
