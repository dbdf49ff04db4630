"""Block lists by length, block names in any spelling, and the rules for keys that are no weights."""

from __future__ import annotations

import pytest

import checkpoints
from loralathe.errors import InputError
from loralathe.families import (
    FAMILIES,
    SD1,
    SD2,
    SDXL,
    block_names_for_length,
    canonical_block,
    family_by_id,
    places_without_block,
)
from loralathe.families.names import flat


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
    assert block_names_for_length(SDXL, 12) == twelve
    assert block_names_for_length(SDXL, 26) == twenty_six
    assert places_without_block(SDXL, 26) == (*numbered("IN", (9, 10, 11)), *numbered("OUT", (9, 10, 11)))
    assert places_without_block(SDXL, 20) == places_without_block(SD1, 17) == ()


def test_a_list_of_another_length_names_those_that_fit() -> None:
    with pytest.raises(InputError) as caught:
        block_names_for_length(SD1, 12)
    assert str(caught.value) == (
        "a block list of 12 weights does not fit SD 1.5\n"
        "  fix:   SD 1.5 takes 17 or 26 weights: 17 = BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03…OUT11; "
        "26 = BASE IN00…IN11 MID OUT00…OUT11"
    )
    with pytest.raises(InputError, match="SDXL takes 12 or 20 weights"):
        block_names_for_length(SDXL, 17)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        *[(spelling, "MID") for spelling in ("MID", "M00", "MID00", "mid", " m00 ")],
        ("in4", "IN04"),
        ("OUT11", "OUT11"),
        ("base", "BASE"),
        ("M", None),
        ("IN", None),
        ("IN100", None),
        ("MIDD", None),
        ("TE1", None),
        ("", None),
    ],
)
def test_block_names_in_any_spelling(given: str, name: str | None) -> None:
    assert canonical_block(given) == name


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
def test_flat_names_of_different_layers_differ(family: object) -> None:
    """Underscores are ambiguous in general; within a family no two layers may collide."""
    for part in family.parts:  # type: ignore[attr-defined]
        owner: dict[str, str] = {}
        for layer in part.table.layers:
            for path in {layer.name, layer.diffusers or layer.name}:
                assert owner.setdefault(flat(path), layer.name) == layer.name


def test_families_by_name() -> None:
    assert family_by_id("SDXL") is SDXL
    with pytest.raises(InputError, match="did you mean 'sdxl'"):
        family_by_id("sdlx")
