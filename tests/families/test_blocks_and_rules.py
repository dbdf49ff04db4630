"""Block lists by length, block names in any spelling, and the rules for keys that are no weights."""

from __future__ import annotations

import pytest

import checkpoints
from loralathe.errors import InputError
from loralathe.families import FAMILIES, Family, block_lists, family_by_id, is_block_word
from loralathe.families.layers import flat
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sdxl import SDXL


def numbered(side: str, numbers: range | tuple[int, ...]) -> list[str]:
    return [f"{side}{i:02d}" for i in numbers]


def test_the_four_lists() -> None:
    attending = numbered("IN", (1, 2, 4, 5, 7, 8))
    seventeen = ("BASE", *attending, "MID", *numbered("OUT", range(3, 12)))
    twelve = ("BASE", *attending[2:], "MID", *numbered("OUT", range(6)))
    twenty_six = ("BASE", *numbered("IN", range(12)), "MID", *numbered("OUT", range(12)))
    twenty = ("BASE", *numbered("IN", range(9)), "MID", *numbered("OUT", range(9)))
    for family in (SD1, SD2):
        assert (family.short_blocks, family.long_blocks) == (seventeen, twenty_six)
    assert (SDXL.short_blocks, SDXL.long_blocks) == (twelve, twenty)
    assert SDXL.also_accepts == (twenty_six,)
    assert {12, 17, 20, 26, 57, 61} <= block_lists().keys()
    assert block_lists()[26] == twenty_six


@pytest.mark.parametrize(
    "word", ["MID", "M00", "mid00", "in4", "OUT11", "base", "TE1", "IN", "CLIP", "T5", "d7", "S99"]
)
def test_words_that_name_blocks(word: str) -> None:
    assert is_block_word(word)


@pytest.mark.parametrize("word", ["", "M", "te", "D", "MIDD", "attn1", "*", "INS", "4"])
def test_words_that_do_not(word: str) -> None:
    assert not is_block_word(word)


@pytest.mark.parametrize(
    ("key", "rule", "frozen"),
    [
        ("v_pred", "prediction marks", True),
        ("edm_vpred.sigma_min", "prediction marks", True),
        ("cond_stage_model.transformer.text_model.embeddings.position_ids", "position ids", True),
        ("denoiser.sigmas", "schedule buffers", True),
        ("cond_stage_model.model.attn_mask", "attention mask buffers", True),
        ("model_ema.diffusion_modelinput_blocks00weight", "EMA copies", False),
        ("model_ema.decay", "EMA copies", True),
        ("first_stage_model.loss.logvar", "training leftovers", False),
        ("conditioner.embedders.1.model.logit_scale", "logit scale, unused in pictures", False),
        ("model.diffusion_model.input_blocks.0.0.weight", None, False),
        ("model.diffusion_model.v_pred", None, False),
        ("conditioner.embedders.1.model.text_projection", None, False),
    ],
)
def test_rules(key: str, rule: str | None, frozen: bool) -> None:
    for family in FAMILIES:
        assert family.rule_for_key(key) == rule
        assert family.is_frozen(key) is frozen


def test_all_schedule_buffers_have_their_rule() -> None:
    for key in checkpoints.manifest("extras_sd1_scheduler_buffers"):
        assert SD1.rule_for_key(key) == "schedule buffers"


def test_no_layer_falls_under_a_rule_for_buffers() -> None:
    for name in ("ckpt_sd15", "ckpt_sd21_768v", "ckpt_sdxl_base"):
        frozen = [key for key in checkpoints.manifest(name) if SDXL.is_frozen(key)]
        assert all(key.endswith("position_ids") for key in frozen)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_flat_names_of_different_layers_differ(family: Family) -> None:
    """Underscores are ambiguous in general; within a family no two layers may collide."""
    for part in family.components:
        owner: dict[str, str] = {}
        for layer in part.table.layers:
            for path in {layer.name, layer.diffusers or layer.name}:
                assert owner.setdefault(flat(path), layer.name) == layer.name


def test_families_by_name() -> None:
    assert family_by_id("SDXL") is SDXL
    with pytest.raises(InputError, match="did you mean 'sdxl'"):
        family_by_id("sdlx")
