"""Merging a LoRA equals the float64 value within the contract's bound, whatever the strengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .reference import Target, add_lora, as_float64, assert_within_contract, lora_names, targets


def is_text(name: str) -> bool:
    return name.startswith("lora_te")


def check(family, result, lora, strength, dtype=None):
    """Every tensor of the result against the float64 sum; those no module touches byte for byte."""
    base = family.tensors["A"]
    exact, terms = add_lora(family.name, as_float64(base), lora, strength)
    assert result.keys() == base.keys()
    for key, tensor in result.items():
        assert tensor.dtype == (dtype if dtype and base[key].is_floating_point() else base[key].dtype), key
        if key in terms and np.any(terms[key]):
            assert_within_contract(tensor, exact[key], base[key].double().numpy(), terms[key], key)
        elif tensor.dtype == base[key].dtype:
            assert torch.equal(tensor, base[key]), key


CASES = {
    "uniform": ("A + 0.7*lora", lambda name, place: 0.7),
    "negative": ("A - 1.3*lora", lambda name, place: -1.3),
    "te and unet apart": (
        "A + lora(te=0.25, unet=-0.5)",
        lambda name, place: 0.25 if is_text(name) else -0.5,
    ),
    "strengths multiply": ("A + 0.5*lora(te=0.5)", lambda name, place: 0.25 if is_text(name) else 0.5),
    "te=0 leaves the U-Net": ("A + lora(te=0)", lambda name, place: 0.0 if is_text(name) else 1.0),
    "sum of two uses": ("A + 0.3*lora + 0.4*lora(te=0)", lambda name, place: 0.3 if is_text(name) else 0.7),
    "element rule": (
        "A + 0.5*lora(elements='IN04-IN08:attn2:0.25')",
        lambda name, place: 0.5 * (0.25 if place.long in INNER and "_attn2_" in name else 1.0),
    ),
}
INNER = {"IN04", "IN05", "IN06", "IN07", "IN08"}


@pytest.mark.quick(6)
@pytest.mark.parametrize("case", CASES)
def test_strengths(family, evaluate, case):
    formula, strength = CASES[case]
    result, report = evaluate(family, formula)
    check(family, result, family.tensors["lora"], strength)
    assert report.coverage["lora"].unmatched == ()


SHORT = {
    "sd1": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0.2,-1,0,1,2",
    "sdxl": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1",
}
SHORT_BLOCKS = {
    "sd1": "BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
    "sdxl": "BASE IN04 IN05 IN07 IN08 MID OUT00 OUT01 OUT02 OUT03 OUT04 OUT05",
}


def test_short_block_list_from_the_article(family, evaluate):
    text = SHORT[family.name]
    weights = dict(zip(SHORT_BLOCKS[family.name].split(), map(float, text.split(",")), strict=True))
    result, report = evaluate(family, "A + 0.7*lora@HinaBlock", blocks={"HinaBlock": text})

    def strength(name: str, place: Target) -> float:
        return 0.7 * weights[place.long]

    check(family, result, family.tensors["lora"], strength)
    assert report.coverage["lora"].zero_strength > 0


def test_blocks_by_name_with_te1_over_base(family, evaluate):
    result, _ = evaluate(family, "A + lora@'BASE=0.5,TE1=0.25,m00=-1,in04=0'")

    def strength(name: str, place: Target) -> float:
        if is_text(name):
            return 0.5 if name.startswith("lora_te2") else 0.25
        return {"MID": -1.0, "IN04": 0.0}.get(place.long, 1.0)

    check(family, result, family.tensors["lora"], strength)


@pytest.mark.long
def test_convolutions_and_missing_blocks(family, evaluate):
    """Conv modules under a short list: an error by default, 0 as LBW, 1 as kohya."""
    weights = dict.fromkeys(SHORT_BLOCKS[family.name].split(), 0.5)
    formula = "A + conv@'" + ",".join(["0.5"] * len(weights)) + "'"
    with pytest.raises(Exception, match="in blocks that the block list lacks"):
        evaluate(family, formula)
    for missing in (0, 1):
        result, _ = evaluate(family, formula, missing_blocks=missing)
        check(
            family,
            result,
            family.tensors["conv"],
            lambda name, place, missing=missing: weights.get(place.long, float(missing)),
        )


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_output_dtypes(sd1, evaluate, dtype):
    result, _ = evaluate(sd1, "A + 0.7*conv", dtype=dtype)
    expected = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    check(sd1, result, sd1.tensors["conv"], lambda name, place: 0.7, expected)


@pytest.mark.long
def test_strength_zero_leaves_every_byte(family, evaluate):
    for formula in ("A + 0*lora", "A + lora(te=0, unet=0)", "A + lora@NONE", "A + 0.3*lora - 0.3*lora"):
        result, report = evaluate(family, formula)
        for key, tensor in family.tensors["A"].items():
            assert result[key].view(-1).view(torch.uint8).equal(tensor.view(-1).view(torch.uint8)), key
        assert report.coverage["lora"].used in (0, len(lora_names(family.tensors["lora"])))
        assert report.weights[0].buckets.get("changed", 0) == 0


def test_merge_and_unmerge_returns_within_two_roundings(family, evaluate, tmp_path):
    from safetensors.torch import save_file

    merged, _ = evaluate(family, "A + 0.8*lora")
    save_file(merged, tmp_path / "merged.safetensors")
    paths = {"A": tmp_path / "merged.safetensors", "lora": family.path("lora")}
    back, _ = evaluate(family, "A - 0.8*lora", inputs=paths)
    for key, tensor in family.tensors["A"].items():
        if not tensor.is_floating_point():
            continue
        spacing = torch.maximum(_spacing(merged[key]), _spacing(tensor))
        assert bool(((back[key].double() - tensor.double()).abs() <= 2 * spacing).all()), key


def _spacing(tensor: torch.Tensor) -> torch.Tensor:
    exponent = torch.frexp(tensor.double().abs()).exponent.clamp(min=-13)
    return torch.ldexp(torch.ones_like(tensor, dtype=torch.float64), exponent - 11)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    te=st.floats(-2, 2, width=16),
    unet=st.floats(-2, 2, width=16),
    outer=st.floats(-2, 2, width=16),
    blocks=st.dictionaries(
        st.sampled_from(["BASE", "IN01", "IN04", "MID", "OUT03", "OUT11"]), st.floats(-2, 2, width=16)
    ),
)
@pytest.mark.long
def test_any_strengths(sd1, evaluate, te, unet, outer, blocks):
    attached = (
        "@'" + ",".join(f"{name}={weight!r}" for name, weight in blocks.items()) + "'" if blocks else ""
    )
    result, _ = evaluate(sd1, f"A + {outer!r}*lora(te={te!r}, unet={unet!r}){attached}")

    def strength(name: str, place: Target) -> float:
        return outer * (te if is_text(name) else unet) * blocks.get(place.long, 1.0)

    check(sd1, result, sd1.tensors["lora"], strength)


def test_the_reference_covers_every_module(family):
    """Guards the tests themselves: each module of the tiny LoRA has a target of its own."""
    places = [targets(family.name)[name] for name in lora_names(family.tensors["conv"])]
    assert len({(place.key, place.third) for place in places}) == len(places)
    assert all(place.key in family.tensors["A"] for place in places)
