"""Small inputs that ask for much, as files in a folder and the command that is given them."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from checkpoints import write_safetensors

Make = Callable[[Path], list[str]]
"""Write the files into a folder that holds A, B and lora; the words after `lathe`."""

SWAPPED = "transformer.norm_out.linear"
"""The halves of its rows stand the other way round in checkpoints of Flux."""
LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
EMPTY = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
HEAD = '[inputs]\nA = "A.safetensors"\nB = "B.safetensors"\nlora = "lora.safetensors"\n[steps]\n'
RUN = ["run", "x.toml", "--dry-run"]
INSPECT = ["inspect", "x.safetensors"]
PICTURE = ["render", "A.safetensors", "--prompt", "x", "--dry-run"]


def header(folder: Path, table: dict[str, object], data: bytes = b"", name: str = "x.safetensors") -> None:
    text = json.dumps(table).encode()
    (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + data)


def lokr(side: int, name: str = "x.safetensors", layer: str = LAYER) -> Callable[[Path], None]:
    """Two matrices of side × side, of which comes one of side² × side²."""

    def write(folder: Path) -> None:
        torch.manual_seed(0)
        factors = {f"{layer}.lokr_w{number}": torch.randn(side, side).half() for number in (1, 2)}
        write_safetensors(folder / name, {**factors, f"{layer}.alpha": torch.tensor(1.0)})

    return write


def loha(out: int, width: int, name: str = "x.safetensors") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        torch.manual_seed(1)
        shapes = {"w1_a": (out, 1), "w1_b": (1, width), "w2_a": (out, 1), "w2_b": (1, width)}
        write_safetensors(
            folder / name, {f"{LAYER}.hada_{part}": torch.randn(s).half() for part, s in shapes.items()}
        )

    return write


def nothing(folder: Path) -> None:
    """No file is needed."""


def both(first: Callable[[Path], None], second: Callable[[Path], None], *words: str) -> Make:
    def make(folder: Path) -> list[str]:
        first(folder)
        second(folder)
        return list(words)

    return make


def one(write: Callable[[Path], None], *words: str) -> Make:
    return both(write, nothing, *words)


def chain(start: str, step: str, count: int) -> dict[str, str]:
    """s0, s1, …: each made of the one before, {0}."""
    return {"s0": start} | {f"s{n}": step.format(f"s{n - 1}") for n in range(1, count)}


def recipe(steps: dict[str, str], words: list[str] = RUN) -> Make:
    def make(folder: Path) -> list[str]:
        lines = [f'{name} = "{text}"' for name, text in steps.items()]
        save = f'[save]\n{next(reversed(steps))} = "o.safetensors"\n'
        (folder / "x.toml").write_text(HEAD + "\n".join(lines) + "\n" + save)
        return words

    return make


def record(steps: dict[str, str], *words: str) -> Make:
    """A stranger's file, whose record of how it was made is this."""

    def make(folder: Path) -> list[str]:
        inputs = {name: {"file": f"{name}.safetensors"} for name in ("A", "B", "lora")}
        told = {"version": "0.1.0", "save": next(reversed(steps)), "inputs": inputs, "steps": steps}
        data = (folder / "A.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        table = json.loads(data[8 : 8 + length])
        header(folder, {"__metadata__": {"loralathe": json.dumps(told)}, **table}, data[8 + length :])
        return list(words)

    return make


def pickle(program: bytes) -> Make:
    def make(folder: Path) -> list[str]:
        with zipfile.ZipFile(folder / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("x/data.pkl", program)
            out.writestr("x/byteorder", b"little")
            out.writestr("x/data/0", bytes(64))
        return ["inspect", "x.ckpt"]

    return make


def called(function: bytes, arguments: bytes, times: int) -> Make:
    """Calls a function again and again with what was made once."""
    ready = function + b"q\x00" + arguments + b"q\x01"
    return pickle(b"\x80\x02(" + ready + times * b"h\x00h\x01R" + b"t.")


PAIRS = b"(" + 1000 * b"X\x01\x00\x00\x00aN\x86" + b"l\x85"
DISTINCT = b"(" + b"".join(b"X\x04\x00\x00\x00%04dN\x86" % n for n in range(1000)) + b"l\x85"


def shared_storage(folder: Path) -> None:
    """A megabyte under 3,000 names."""
    whole = torch.zeros(1 << 18)
    torch.save({f"t{number}": whole for number in range(3000)}, folder / "x.ckpt")


def unknown_modules(count: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        names = (
            f"lora_unet_nowhere_{number}.lora_{side}.weight"
            for number in range(count)
            for side in ("up", "down")
        )
        header(folder, {name: {**EMPTY, "shape": [0, 1]} for name in names})

    return write


def text(name: str, content: Callable[[], str], *words: str) -> Make:
    return one(lambda folder: (folder / name).write_text(content()) and None, *words)  # type: ignore[func-returns-value]


def discard(pattern: str) -> Make:
    return one(
        nothing,
        "convert",
        "A.safetensors",
        "--discard",
        pattern,
        "-o",
        "o.safetensors",
        "--dry-run",
    )


def picture(*words: str) -> Make:
    return one(nothing, *PICTURE, *words)


def large_png(folder: Path) -> None:
    """Black, 13,000 × 13,000, in a few hundred kilobytes."""
    from PIL import Image

    Image.new("1", (13_000, 13_000)).save(folder / "x.png")


DOUBLED = chain("A", "0.5*{0} + 0.5*{0}", 40)
ROUNDED = {"s": "fp16(" * 200 + "A" + ")" * 200}
HUNGRY: dict[str, Make] = {
    "LoKr, norms": one(lokr(200), *INSPECT, "--norms"),
    "LoKr, compare": both(lokr(200), lokr(200, "y.safetensors"), "compare", "x.safetensors", "y.safetensors"),
    "LoKr, merge": one(lokr(200), "merge", "A.safetensors", "x.safetensors", "-o", "o.safetensors"),
    "LoKr, halves swapped, norms": one(lokr(100, layer=SWAPPED), *INSPECT, "--norms"),
    "LoKr, halves swapped, compare": both(
        lokr(100, layer=SWAPPED), lokr(100, "y.safetensors", "lora_unet_final_layer_adaLN_modulation_1"),
        "compare", "x.safetensors", "y.safetensors",
    ),
    "LoHa, compare": both(
        loha(50_000, 50_000), loha(50_000, 50_000, "y.safetensors"),
        "compare", "x.safetensors", "y.safetensors",
    ),
    "steps that double": recipe(DOUBLED),
    "steps that double, run": recipe(DOUBLED, ["run", "x.toml"]),
    "steps that double, in a record": record(DOUBLED, "verify", "x.safetensors"),
    "steps that double, from a record": record(
        DOUBLED, "run", "x.safetensors", "-o", "o.safetensors", "--dry-run"
    ),
    "extractions that double": recipe(chain("B - A", "extract({0}, rank=1) + extract({0}, rank=1)", 40)),
    "1,200 steps": recipe(chain("A", "{0}", 1200)),
    "200 roundings": recipe(ROUNDED),
    "200 roundings, in a record": record(ROUNDED, "verify", "x.safetensors"),
    "900,000 steps": recipe({f"s{number}": "A" for number in range(900_000)}),
    "a list of 7,000,000 numbers": text("x.toml", lambda: f"a = [{'1,' * (7 << 20)}]", *RUN),
    "one line of 15 MB": text("x.toml", lambda: '"A:\\x' * (3 << 20), *RUN),
    "a formula that grows": recipe(chain("1e99", "{0}*{0}", 40) | {"out": "A + s39*lora"}),
    "discard, backtracking": discard(r"^(.|..)+(?=A)"),
    "discard, repeats": discard("a{99999999999}"),
    "discard, alternatives": discard("(?:[a|b]|a|b)*" * 300 + "c"),
    "discard, thousands of alternatives": discard("(?:" + "|".join(f"[a|b]{n}" for n in range(1500)) + ")+!"),
    "OrderedDict of the same pairs": called(b"ccollections\nOrderedDict\n", PAIRS, 200_000),
    "OrderedDicts": called(b"ccollections\nOrderedDict\n", DISTINCT, 30_000),
    "sizes": called(b"ctorch\nSize\n", b"(" + 20_000 * b"K\x01" + b"t\x85", 50_000),
    "a pickle of zeros": pickle(bytes(1 << 30)),
    "bytes of many names": one(shared_storage, "inspect", "x.ckpt"),
    "100,000 × 100,000": picture("--size", "100000x100000"),
    "64 × 1,000,000": picture("--size", "64x1000000"),
    "10⁹ steps": picture("--steps", "1000000000"),
    "1,200,000 empty tensors": one(
        lambda folder: header(folder, {f"t{number}": EMPTY for number in range(1_200_000)}), *INSPECT
    ),
    "50,000 empty tensors": one(
        lambda folder: header(folder, {f"t{number}": EMPTY for number in range(50_000)}), *INSPECT
    ),
    "100,000 unknown modules": one(
        unknown_modules(100_000), "merge", "A.safetensors", "x.safetensors", "-o", "o.safetensors"
    ),
    "25,000 unknown modules": one(
        unknown_modules(25_000), "merge", "A.safetensors", "x.safetensors", "-o", "o.safetensors"
    ),
    "10,000 unknown modules": one(
        unknown_modules(10_000), "merge", "A.safetensors", "x.safetensors", "-o", "o.safetensors"
    ),
    "a large picture": one(large_png, *PICTURE, "--settings", "x.png"),
    "16 MB of block lists": text(
        "x.txt", lambda: "".join(f"n{number}:1,0\n" for number in range(1_200_000)),
        "merge", "A.safetensors", "lora.safetensors:x", "--presets", "x.txt", "--dry-run",
    ),
    "16 MB of styles": text(
        "x.csv", lambda: "name,prompt,negative_prompt\n" + "".join(f"n{n},a,b\n" for n in range(1_200_000)),
        *PICTURE, "--styles", "x.csv", "--style", "nowhere",
    ),
    "40,000 steps": recipe({f"s{number}": "A" for number in range(40_000)}),
    "a prompt that always changes": picture(
        "--prompt", "".join(f"[{'|'.join('abcdefghijk'[:n])}]" for n in (2, 3, 5, 7, 11)) + "x" * 19_000,
        "--steps", "10000",
    ),
    "prompts with AND": picture("--prompt", "a AND " * 3300, "--steps", "10000"),
    "alternatives of a prompt": picture("--prompt", "[a|b]" * 4000, "--steps", "10000"),
    "switches of a prompt": picture("--prompt", "[a:b:3]" * 2800, "--steps", "10000"),
    "brackets of a prompt": picture("--prompt", "[a:" * 6000),
    "brackets of a prompt, one closed": picture("--prompt", "[a:" * 6000 + "]"),
    "tags of a prompt": picture("--prompt", "<lora:" * 3000),
    "an axis": one(
        nothing, "grid", "A.safetensors", "--prompt", "x", "--x", "seed = 1..1000000000", "--dry-run",
    ),
}  # fmt: skip
"""What a refusal may cost is in `test_limits.py`."""
