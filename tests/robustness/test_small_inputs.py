"""Small inputs that ask for much: refused in a moment, and the bound is told."""

from __future__ import annotations

import errno
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import write_safetensors
from clock import at_most
from loralathe.adapters import load_factors, load_product, open_adapter
from loralathe.adapters.alphas import read_alpha
from loralathe.adapters.notes import _of_config
from loralathe.engine import RunOptions, run_recipe
from loralathe.engine.patterns import found_by
from loralathe.engine.record import parse_record
from loralathe.errors import InputError, MachineError
from loralathe.inspection import block_norms, compare_files
from loralathe.language import Recipe, Save, make_recipe
from loralathe.lowrank import (
    Factors,
    Hadamard,
    Kronecker,
    Product,
    Swapped,
    factors_energy,
    product_energy,
    product_inner,
    products,
)
from loralathe.tensorfiles import open_tensorfile, read_header
from loralathe.verification import verify_file
from robustness.workdir import refused

QUICK = 300
"""Millions of additions: a refusal, and making its input, may take as long, some fifteen seconds.

Attacks take minutes.
"""


@pytest.fixture
def at_once() -> Iterator[None]:
    with at_most(QUICK):
        yield


def recipe_of(folder: Path, steps: Mapping[str, str]) -> Recipe:
    inputs = {name: folder / f"{name}.safetensors" for name in ("A", "B", "lora")}
    last = next(reversed(steps))
    return make_recipe(inputs=inputs, steps=steps, saves=[Save(last, folder / "out.safetensors")])


def chain(first: str, then: Callable[[str], str], count: int) -> dict[str, str]:
    """s0, s1, …: each made of the one before."""
    return {"s0": first} | {f"s{number}": then(f"s{number - 1}") for number in range(1, count)}


SAVE_BETWEEN = "save a step between, and make the file an input of another recipe"
COUNTS = "a step counts wherever it is used: save it, and make the file an input of another recipe"
TERMS = "this is a sum of 2,048 terms; the most is 2,000"
GREEDY = {
    "sums that double": (chain("A", lambda s: f"0.5*{s} + 0.5*{s}", 40), TERMS, COUNTS),
    "roundings that double": (
        chain("A", lambda s: f"0.5*fp16({s}) + 0.5*fp16({s})", 40),
        "this is a sum of 3,070 terms; the most is 2,000",
        COUNTS,
    ),
    "methods that double": (
        chain("A", lambda s: f"slerp({s}, {s}, 0.5)", 40),
        "this is a sum of 2,047 terms; the most is 2,000",
        COUNTS,
    ),
    "extractions that double": (
        chain("B - A", lambda s: f"extract({s}, rank=1) + extract({s}, rank=1)", 40),
        None,
        COUNTS,
    ),
    "100 roundings": (
        chain("A", lambda s: f"fp16({s})", 100),
        "more than 50 functions inside each other",
        SAVE_BETWEEN,
    ),
    "1,200 steps": (
        chain("A", lambda s: s, 1200),
        "step 's300' builds on others that build on others, more than 300 levels deep",
        SAVE_BETWEEN,
    ),
    "numbers that grow": (
        chain("1e99", lambda s: f"{s}*{s}", 40) | {"out": "A + s39*lora"},
        "this number is too large",
        "write a smaller one",
    ),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("case", GREEDY)
def test_steps_that_ask_for_much(folder: Path, case: str) -> None:
    steps, what, fix = GREEDY[case]
    with refused(folder, InputError) as fault:
        run_recipe(recipe_of(folder, steps), RunOptions(threads=1))
    assert fault.error is not None
    assert what in {None, fault.error.what}
    assert fault.error.fix == fix


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "steps",
    [
        {"n0": "0.01"} | chain("n0", lambda s: f"{s} + {s} - {s}", 60) | {"out": "A + s59*lora"},
        chain("A", lambda s: f"fp16({s})", 49),
        chain("A", lambda s: s, 299),
        chain("A", lambda s: f"0.5*{s} + 0.5*{s}", 11),
    ],
    ids=["60 numbers", "49 roundings", "299 steps", "1,024 terms"],
)
def test_what_is_within_the_bounds_runs_and_is_verified(few: Path, steps: dict[str, str]) -> None:
    run_recipe(recipe_of(few, steps), RunOptions(threads=1))
    assert verify_file(few / "out.safetensors").ok


DISCARD = {
    r"^(.|..)+(?=A)": "takes longer than 2 seconds",
    "a{99999999999}": "repeats more than 10,000 times",
    "((a{1000}){1000}){1000}": "repeats more than 10,000 times",
    "a{, 20000}": "repeats more than 10,000 times",
    "(" * 5000 + ")" * 5000: "is nested too deeply",
    "a" * 10_001: "is longer than 10,000 characters",
    "(": "is not a regular expression: missing ) at position 1",
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("pattern", DISCARD, ids=lambda text: text[:12])
@pytest.mark.long
def test_a_pattern_that_asks_for_much(few: Path, pattern: str) -> None:
    names = "A", few / "A.safetensors"
    saves = [Save("out", few / "out.safetensors", discard=pattern)]
    recipe = make_recipe(inputs=dict([names]), steps={"out": "A"}, saves=saves)
    with refused(few, InputError) as fault:
        run_recipe(recipe, RunOptions(threads=1))
    assert fault.error is not None
    assert fault.error.what == f"discard = '{pattern:.80}' {DISCARD[pattern]}"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("^model_ema\\.", ["model_ema.x"]),
        ("cond_stage|first_stage", ["first_stage.y"]),
        (r"\.\d{1,2}\.", ["a.10.z"]),
    ],
)
def test_patterns_as_people_paste_them(pattern: str, found: list[str]) -> None:
    names = {name: name for name in ("model_ema.x", "first_stage.y", "a.10.z", "a.100.z")}
    assert list(found_by(pattern, names, "step 'out'")) == found


def test_many_patterns_of_peft(tmp_path: Path) -> None:
    patterns = {f"layer{number}.q": 4 for number in range(2001)}
    (tmp_path / "adapter_config.json").write_text(json.dumps({"rank_pattern": patterns}))
    with pytest.raises(InputError, match="rank_pattern has 2,001 entries; the most is 2,000"):
        _of_config(tmp_path / "adapter_config.json")


@pytest.mark.usefixtures("at_once")
def test_a_pattern_for_each_module_of_peft(tmp_path: Path) -> None:
    patterns = {f"blocks.{number}.attn.to_q": number + 1 for number in range(2000)}
    (tmp_path / "adapter_config.json").write_text(json.dumps({"rank_pattern": patterns}))
    notes = _of_config(tmp_path / "adapter_config.json")
    assert [notes.rank_of(f"x.blocks.{number}.attn.to_q") for number in range(2000)] == list(range(1, 2001))


EMPTY = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
MUCH = "the header holds more than 1,000,000 values; the most that is read is 50,000 tensors"
HEADERS: dict[str, tuple[Callable[[], object], str]] = {
    "empty tensors": (
        lambda: {f"t{number}": EMPTY for number in range(50_001)},
        "the header holds 50,001 tensors; the most that is read is 50,000",
    ),
    "empty lists": (
        lambda: {"a": [[]] * 2_000_000},
        MUCH,
    ),
    "empty metadata": (
        lambda: {"__metadata__": {f"k{number}": "" for number in range(600_000)}},
        MUCH,
    ),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.long
def test_headers_that_hold_much(tmp_path: Path, name: str) -> None:
    make, what = HEADERS[name]
    text = json.dumps(make()).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(InputError) as caught:
        read_header(tmp_path / "x.safetensors")
    assert caught.value.what == what


def test_long_metadata_is_no_amount(tmp_path: Path) -> None:
    text = json.dumps(
        {"__metadata__": {"ss_tag_frequency": '{"1girl": [1, 2], "\\"": {}}, ' * 50_000}}
    ).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    assert read_header(tmp_path / "x.safetensors").metadata


@pytest.mark.parametrize("value", [10**400, [1], "1", True, None])
def test_a_variable_of_a_record_that_is_no_number(value: object) -> None:
    record = {"version": "1", "save": "s", "steps": {"s": "A"}, "inputs": {}, "variables": {"M": value}}
    with pytest.raises(InputError, match="the variable 'M' is not a number"):
        parse_record({"loralathe": json.dumps(record)}, "x.safetensors")


def lokr(path: Path, side: int) -> Path:
    """A LoKr of two matrices of side × side."""
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    torch.manual_seed(0)
    factors = {f"{name}.lokr_w{number}": torch.randn(side, side).half() for number in (1, 2)}
    write_safetensors(path, {**factors, f"{name}.alpha": torch.tensor(1.0)})
    return path


@pytest.mark.usefixtures("at_once")
def test_a_layer_larger_than_any(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        block_norms(lokr(tmp_path / "x.safetensors", 200))
    assert caught.value.what == "the LoKr makes a layer of [40000, 40000], more than 1,073,741,824 numbers"


def test_norms_of_a_kronecker_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lokr(tmp_path / "x.safetensors", 8)
    with open_adapter(file) as adapter:
        (module,) = adapter.modules.values()
        wanted = factors_energy(load_factors(adapter, module))
        assert product_energy(load_product(adapter, module)) == pytest.approx(wanted, rel=1e-6)
    monkeypatch.setattr("loralathe.lowrank.kronecker_factors", None)
    assert block_norms(lokr(tmp_path / "x.safetensors", 100))[-1].elements == 10**8


def loha(path: Path, out: int, width: int) -> Path:
    """A LoHa of rank 1 + 1 that makes a whole layer."""
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    torch.manual_seed(1)
    shapes = {"w1_a": (out, 1), "w1_b": (1, width), "w2_a": (out, 1), "w2_b": (1, width)}
    write_safetensors(path, {f"{name}.hada_{part}": torch.randn(shape) for part, shape in shapes.items()})
    return path


@pytest.mark.parametrize("product", ["LoKr", "LoHa", "wide LoHa"])
def test_comparing_large_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, product: str) -> None:
    monkeypatch.setattr("loralathe.lowrank.kronecker_factors", None)
    monkeypatch.setattr("loralathe.lowrank.hadamard_factors", None)
    x, y = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    for path in (x, y):
        if product == "LoKr":
            lokr(path, 100)
        else:
            loha(path, *((5, 4_000_000) if product == "wide LoHa" else (4200, 4200)))
    found = compare_files(x, y, threads=1)
    assert found.identical
    assert found.total.cosine == pytest.approx(1.0)
    assert found.total.up == (pytest.approx(1.0) if product == "LoKr" else None)


def test_an_alpha_that_is_complex(tmp_path: Path) -> None:
    file = lokr(tmp_path / "x.safetensors", 2)
    tensors = load_file(file)
    (name,) = (name for name in tensors if name.endswith("alpha"))
    write_safetensors(file, {**tensors, name: torch.tensor(1j)})
    with open_tensorfile(file) as opened, pytest.raises(InputError, match="alpha is of dtype C64"):
        read_alpha(opened, opened.info(name))


def test_too_many_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    file = lokr(tmp_path / "x.safetensors", 2)
    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(MachineError) as caught:
        read_header(file)
    assert "ulimit -n" in str(caught.value.fix)


@pytest.mark.parametrize("product", [Kronecker, Hadamard])
def test_halves_of_rows_in_each_others_place(monkeypatch: pytest.MonkeyPatch, product: type) -> None:
    """Measured without the whole; against the dense matrix, in bands of one row to all, wide and high."""
    torch.manual_seed(3)

    def of(rows: int, columns: int) -> Product:
        pair = [(torch.randn(side, 2), torch.randn(2, columns)) for side in (rows, rows)]
        if product is Hadamard:
            return Hadamard(*pair)
        return Kronecker(*(Factors(up, down, (rows, columns)) for up, down in pair))

    for rows, columns in ((4, 3), (6, 8), (2, 5)):
        x, y = of(rows, columns), of(rows, columns)
        dense_x, dense_y = (one.rows(0, one.size[0]).double() for one in (x, y))
        wanted = float((dense_x.roll(x.size[0] // 2, 0) * dense_y).sum())
        for band in (1, 50, 10_000):
            monkeypatch.setattr(products, "BAND", band)
            assert product_inner(Swapped(x), y) == pytest.approx(wanted, rel=1e-5)
            assert product_energy(Swapped(x)) == pytest.approx(float(dense_x.square().sum()), rel=1e-5)
