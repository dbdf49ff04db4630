"""Structure of transformers: rows of blocks, blocks of a whole row, names for rows of a layer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loralathe.families.components import LayerAddress, Piece, denoiser_component
from loralathe.families.layers import Layer, Split, bare_layer, layer, parameter, split_layer
from loralathe.families.recognition import DENOISER_PREFIX
from loralathe.families.transformer import Stage, Transformer

QKV = tuple(f"blocks.#.attn.to_{letter}" for letter in "qkv")


def _layers() -> Iterator[Layer]:
    yield layer("x_in", "patch", aliases=("embedder",))
    yield parameter("pad_token", "token")
    yield split_layer("main.#.qkv", QKV, "linear", bias=False, original=True)
    yield layer("main.#.both", "blocks.#.both", splits=(Split(("main.#.first", ""), (3, 1)),))
    yield layer("main.#.extra.up", "blocks.#.up", bias=False)
    yield bare_layer("main.#.norm", "blocks.#.norm1", "main.#.norm.weight")
    yield parameter("main.#.mod.lin", "blocks.#.table", "vector")
    yield layer("text.refiner.#.mix", "text.#.proj", bias=False)


MODEL = Transformer(
    layers=_layers,
    entry="x_in",
    inputs={16: "base"},
    stages=(Stage("text.refiner", "TXT", 2, whole=True), Stage("main", "B", 3)),
    first={"IN": ("x_in", "pad_token")},
    last={},
    optional={"main.#.extra.": "main.#.extra.up.weight"},
)
PART = denoiser_component(
    MODEL, "original", bare=MODEL.starts(), others=("net.",), renamed={".norm.scale": ".norm.weight"}
)


def keys(depth: int, extra: int) -> set[str]:
    """All tensors with so many blocks; the first `extra` of them have one layer more."""
    block = ("qkv.weight", "both.weight", "both.bias", "norm.weight", "mod.lin")
    found = {f"main.{i}.{end}" for i in range(depth) for end in block}
    found |= {f"main.{i}.extra.up.weight" for i in range(extra)} | {"text.refiner.0.mix.weight"}
    return found | {"x_in.weight", "x_in.bias", "pad_token"}


def test_blocks() -> None:
    assert MODEL.blocks() == ("IN", "TXT", "B00", "B01", "B02")
    assert MODEL.short_blocks() == ("TXT", "B00", "B01", "B02")
    paths = {
        "pad_token": "IN", "x_in.bias": "IN", "text.refiner.7.mix.weight": "TXT", "main.2.qkv": "B02",
        "main.3.qkv": None, "mainly.0.qkv": None, "text.other": None, "main.x.qkv": None,
    }  # fmt: skip
    assert {path: MODEL.block_of_path(path) for path in paths} == paths


def test_depth_is_told_by_the_blocks_that_are_there() -> None:
    inside, to_the_end, behind = ["main.0.qkv"], ["main.2.qkv", "text.refiner.0.mix"], ["main.3.qkv"]
    assert [MODEL.holds(paths) for paths in (inside, to_the_end, behind, [])] == [True, True, False, True]
    assert [MODEL.fills(paths) for paths in (inside, to_the_end, behind, [])] == [False, True, False, False]


def test_what_is_missing() -> None:
    assert MODEL.missing(keys(3, 2)) == []
    assert MODEL.missing(keys(1, 0)) == []
    lost = {"pad_token", "main.1.mod.lin", "main.0.both.bias", "text.refiner.0.mix.weight"}
    assert set(MODEL.missing(keys(3, 1) - lost)) == lost


def test_how_keys_begin_tells_a_transformer_alone() -> None:
    assert MODEL.starts() == ("x_in.", "pad_token", "main.", "text.")
    for key, path in (
        (f"{DENOISER_PREFIX}main.0.qkv.weight", "main.0.qkv.weight"),
        ("main.0.qkv.weight", "main.0.qkv.weight"),
        ("net.main.0.norm.scale", "main.0.norm.weight"),
        ("pad_token", "pad_token"),
    ):
        assert PART.owns(key)
        assert PART.path(key) == path
        assert PART.modern_key(key) == DENOISER_PREFIX + path
        assert PART.tensor(key) is not None
    assert not PART.owns("nets.main.0.qkv.weight")


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("blocks.1.attn.to_k", LayerAddress("unet.main.1.qkv", 1, (1, 1, 1))),
        ("blocks.1.both", LayerAddress("unet.main.1.both")),
        ("main.1.first", LayerAddress("unet.main.1.both", 0, (3, 1))),
        ("embedder", LayerAddress("unet.x_in")),
        ("main.1.qkv", LayerAddress("unet.main.1.qkv")),
        ("patch", LayerAddress("unet.x_in")),
        ("blocks.1.attn.to_x", None),
        ("", None),
    ],
)
def test_names_of_adapters(path: str, address: LayerAddress | None) -> None:
    assert PART.address_of_path(path) == address
    assert PART.address_of_kohya(f"lora_unet_{path.replace('.', '_')}") == address


def test_pieces_of_the_diffusers_layout() -> None:
    first, plain = f"{DENOISER_PREFIX}main.2", ("none",)
    for key, piece in {
        "blocks.2.attn.to_v.weight": Piece(f"{first}.qkv.weight", None, *plain, 2, (1, 1, 1)),
        "blocks.2.both.bias": Piece(f"{first}.both.bias", None, *plain),
        "blocks.2.table": Piece(f"{first}.mod.lin", None, *plain),
        "token": Piece(f"{DENOISER_PREFIX}pad_token", None, *plain),
        "blocks.2.attn.to_v.bias": None,
        "blocks.2.table.weight": None,
        "main.2.first.weight": None,  # only adapters call it so
        "embedder.weight": None,
    }.items():
        assert PART.piece_of_diffusers(key) == piece, key
    piece = PART.piece_of_diffusers("blocks.2.attn.to_v.weight")
    assert piece is not None
    assert piece.rows(12) == range(8, 12)
    assert Piece("x", (1, 3), "none").rows(12) == range(4, 8)
    assert Piece("x", None, "none", 1, (3, 1)).rows(12) == range(9, 12)
