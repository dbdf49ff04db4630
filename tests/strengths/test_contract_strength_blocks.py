"""The contract on strength and blocks (SEMANTICS §1, §2), one row a statement: what is typed, on which
module, and the effective strength that must come out; or the error.

Expected values are written out by hand from the contract, never computed by the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from loralathe.errors import InputError
from loralathe.strengths import (
    Strength,
    builtin_names,
    effective,
    parse_block_weights,
    read_argument,
    resolve,
)
from strengths.families_for_tests import FLUX, SD1, SD2, SDXL

FAMILIES = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL, "flux": FLUX}
PRESETS = {"HinaBlock": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1", "Named": "IN04=0.3,OUT00=1", "OUTS": "OUT05=9"}


@dataclass(frozen=True)
class Layer:
    name: str
    block: str | None


LAYERS = {
    # name of the row: canonical module name, block of the long list
    "te1": Layer("te1.text_model.encoder.layers.0.self_attn.q_proj", "BASE"),
    "te2": Layer("te2.text_model.encoder.layers.31.mlp.fc1", "BASE"),
    "te2 projection": Layer("te2.text_projection", "BASE"),
    "te1 embedding": Layer("te1.text_model.embeddings.token_embedding", "BASE"),
    "time_embed": Layer("unet.time_embed.0", None),
    "label_emb": Layer("unet.label_emb.0.0", None),
    "out": Layer("unet.out.2", None),
    "IN00 conv": Layer("unet.input_blocks.0.0", "IN00"),
    "IN04 q1": Layer("unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q", "IN04"),
    "IN05 k2": Layer("unet.input_blocks.5.1.transformer_blocks.0.attn2.to_k", "IN05"),
    "IN05 ff": Layer("unet.input_blocks.5.1.transformer_blocks.0.ff.net.0.proj", "IN05"),
    "IN05 ff2": Layer("unet.input_blocks.5.1.transformer_blocks.0.ff.net.2", "IN05"),
    "IN05 proj_in": Layer("unet.input_blocks.5.1.proj_in", "IN05"),
    "IN05 resnet": Layer("unet.input_blocks.5.0.in_layers.2", "IN05"),
    "IN06 op": Layer("unet.input_blocks.6.0.op", "IN06"),
    **{
        f"{side}{n:02d}": Layer(f"unet.{path}.{n}.1.proj_in", f"{side}{n:02d}")
        for side, path in (("IN", "input_blocks"), ("OUT", "output_blocks"))
        for n in range(12)
    },
    "MID": Layer("unet.middle_block.1.transformer_blocks.0.attn1.to_q", "MID"),
    "D07": Layer("unet.double_blocks.7.img_attn.qkv", "D07"),
    "S37": Layer("unet.single_blocks.37.linear1", "S37"),
    "flux in": Layer("unet.img_in", "IN"),
    "flux out": Layer("unet.final_layer.linear", "OUT"),
    "clip": Layer("te1.text_model.encoder.layers.0.mlp.fc1", "CLIP"),
    "t5": Layer("te3.encoder.block.23.layer.0.SelfAttention.q", "T5"),
}


def strength_of(
    text: str, family: str, *, te: float = 1, unet: float = 1, missing: float | None = None
) -> Strength:
    """What every caller does with an adapter argument."""
    spec = read_argument(text, exists=lambda path: False)
    strength = resolve(spec, FAMILIES[family], block_presets=PRESETS, missing=missing)
    return strength.times(te=te, unet=unet)


LIST_12 = "1,.1,.2,.3,.4,.5,.6,.7,.8,.9,1.1,1.2"  # BASE IN04 IN05 IN07 IN08 MID OUT00…OUT05
LIST_17 = "1," + ",".join(f"0.{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9)) + ",2,3,4,5,6,7,8"
LIST_20 = ",".join(str(n) for n in range(20))
LIST_26 = ",".join(str(n) for n in range(26))
LIST_57 = ",".join(str(n) for n in range(57))
LIST_61 = ",".join(str(n) for n in range(61))

EVERYWHERE = (("sd1", "te1"), ("sd1", "IN00"), ("sdxl", "IN06 op"), ("flux", "S37"))

ROWS = [
    # (section, adapter argument, family, module, effective strength)
    # §1: effective = s × w, linear, sign kept, any size
    ("§1 default 1", "hina", "sd1", "te1", 1.0),
    ("§1 default 1", "hina", "sd1", "IN04 q1", 1.0),
    ("§1 bare number sets te", "hina:0.7", "sd1", "te1", 0.7),
    ("§1 bare number sets unet", "hina:0.7", "sd1", "IN04 q1", 0.7),
    ("§1 sign kept", "hina:-0.7", "sd1", "MID", -0.7),
    ("§1 sign kept, no square root", "hina:-0.5:IN04=-0.5", "sd1", "IN04 q1", 0.25),
    ("§1 any size", "hina:40", "sd1", "MID", 40.0),
    ("§1 zero", "hina:0", "sd1", "MID", 0.0),
    ("§1 te= replaces the te part only", "hina:0.7:te=0.2", "sd1", "te1", 0.2),
    ("§1 te= replaces the te part only", "hina:0.7:te=0.2", "sd1", "IN04 q1", 0.7),
    ("§1 unet= replaces the unet part only", "hina:0.7:unet=0.2", "sd1", "IN04 q1", 0.2),
    ("§1 unet= replaces the unet part only", "hina:0.7:unet=0.2", "sd1", "te1", 0.7),
    ("§1 te=0 zeroes the text encoders", "hina:te=0", "sdxl", "te2", 0.0),
    ("§1 te=0 zeroes nothing else", "hina:te=0", "sdxl", "IN04 q1", 1.0),
    ("§1 items in any order", "hina:te=0.2:0.7", "sd1", "te1", 0.2),
    ("§1 items in any order", "hina:HinaBlock:0.5", "sdxl", "IN08", 0.25),
    ("§1 items in any order", "hina:0.5:HinaBlock", "sdxl", "IN08", 0.25),
    ("§1 a bare word is BLOCKS, strength 1", "hina:HinaBlock", "sdxl", "IN08", 0.5),
    ("§1 a bare list is BLOCKS", f"hina:{LIST_12}", "sdxl", "IN04 q1", 0.1),
    ("§1 s × w", f"hina:0.7:{LIST_12}", "sdxl", "OUT05", 0.84),
    ("§1 lbw=", "hina:lbw=HinaBlock:0.7", "sdxl", "IN08", 0.35),
    ("§1 lbwe= replaces the block weight", "hina:lbw=NONE:lbwe=IN05:attn:0.4", "sdxl", "IN05 k2", 0.4),
    ("§1 lbwe= is times s", "hina:0.5:lbwe=IN05:attn:0.4", "sdxl", "IN05 k2", 0.2),
    ("§1 else block weight", "hina:0.5:lbw=HinaBlock:lbwe=IN05:attn:0.4", "sdxl", "IN04 q1", 0.0),
    ("§1 a preset in lbwe= is one item", "hina:lbwe=ATTNDEEPOFF:0.5:HinaBlock", "sdxl", "IN05 k2", 0.0),
    ("§1 a preset in lbwe= is one item", "hina:lbwe=ATTNDEEPOFF:0.5:HinaBlock", "sdxl", "IN08", 0.25),
    ("§1 items after a rule in lbwe=", "hina:lbwe=IN05:attn:0:0.5:HinaBlock", "sdxl", "IN08", 0.25),
    # §2: the lists
    ("§2 12 on SDXL", f"hina:{LIST_12}", "sdxl", "te1", 1.0),
    ("§2 12 on SDXL", f"hina:{LIST_12}", "sdxl", "IN07", 0.3),
    ("§2 12 on SDXL", f"hina:{LIST_12}", "sdxl", "MID", 0.5),
    ("§2 12 on SDXL", f"hina:{LIST_12}", "sdxl", "OUT00", 0.6),
    ("§2 17 on SD1", f"hina:{LIST_17}", "sd1", "IN01", 0.1),
    ("§2 17 on SD1", f"hina:{LIST_17}", "sd1", "IN08", 0.6),
    ("§2 17 on SD1", f"hina:{LIST_17}", "sd1", "MID", 0.7),
    ("§2 17 on SD1", f"hina:{LIST_17}", "sd1", "OUT03", 0.8),
    ("§2 17 on SD1", f"hina:{LIST_17}", "sd1", "OUT11", 8.0),
    ("§2 20 on SDXL", f"hina:{LIST_20}", "sdxl", "IN00 conv", 1.0),
    ("§2 20 on SDXL", f"hina:{LIST_20}", "sdxl", "IN08", 9.0),
    ("§2 20 on SDXL", f"hina:{LIST_20}", "sdxl", "MID", 10.0),
    ("§2 20 on SDXL", f"hina:{LIST_20}", "sdxl", "OUT08", 19.0),
    ("§2 26 on SD1", f"hina:{LIST_26}", "sd1", "IN11", 12.0),
    ("§2 26 on SD1", f"hina:{LIST_26}", "sd1", "MID", 13.0),
    ("§2 26 on SD1", f"hina:{LIST_26}", "sd1", "OUT11", 25.0),
    ("§2 26 on SDXL uses the places it has", f"hina:{LIST_26}", "sdxl", "IN08", 9.0),
    ("§2 26 on SDXL uses the places it has", f"hina:{LIST_26}", "sdxl", "MID", 13.0),
    ("§2 26 on SDXL uses the places it has", f"hina:{LIST_26}", "sdxl", "OUT08", 22.0),
    ("§2 57 on Flux", f"hina:{LIST_57}", "flux", "D07", 7.0),
    ("§2 57 on Flux", f"hina:{LIST_57}", "flux", "S37", 56.0),
    ("§2 61 on Flux", f"hina:{LIST_61}", "flux", "flux in", 2.0),
    ("§2 61 on Flux", f"hina:{LIST_61}", "flux", "S37", 59.0),
    ("§2 61 on Flux", f"hina:{LIST_61}", "flux", "clip", 0.0),
    ("§2 61 on Flux", f"hina:{LIST_61}", "flux", "t5", 1.0),
    ("§2 61 on Flux", f"hina:{LIST_61}", "flux", "flux out", 60.0),
    ("§2 57 says nothing of text encoders", f"hina:0.5:{LIST_57}", "flux", "clip", 0.5),
    ("§2 57 says nothing of text encoders", f"hina:te=0.25:{LIST_57}", "flux", "t5", 0.25),
    ("§2 Flux by name", "hina:D07=0.3,S37=2", "flux", "D07", 0.3),
    ("§2 Flux by name", "hina:D07=0.3,S37=2", "flux", "S37", 2.0),
    ("§2 Flux by name", "hina:D07=0.3,S37=2", "flux", "t5", 1.0),
    ("§2 BASE is CLIP and T5", "hina:BASE=0.2", "flux", "clip", 0.2),
    ("§2 BASE is CLIP and T5", "hina:BASE=0.2", "flux", "t5", 0.2),
    ("§2 BASE is CLIP and T5", "hina:BASE=0.2", "flux", "D07", 1.0),
    ("§2 T5 wins over BASE", "hina:BASE=0.2,T5=0.6", "flux", "t5", 0.6),
    ("§2 T5 wins over BASE", "hina:BASE=0.2,T5=0.6", "flux", "clip", 0.2),
    ("§2 TE1 is CLIP, TE3 is T5", "hina:te1=0.3,TE3=0.4", "flux", "clip", 0.3),
    ("§2 TE1 is CLIP, TE3 is T5", "hina:te1=0.3,TE3=0.4", "flux", "t5", 0.4),
    ("§2 element rules on Flux", "hina:lbwe=D00-D18:img_attn:0.1", "flux", "D07", 0.1),
    ("§2 element rules on Flux", "hina:lbwe=D00-S36:attn:0.1", "flux", "S37", 1.0),
    ("§2 element rules on Flux", "hina:lbwe=BASE:q:0.1", "flux", "t5", 0.1),
    ("§2 element rules on Flux", "hina:lbwe=NOT T5::0.1", "flux", "clip", 0.1),
    # §2: BASE, TE1, TE2, MID, letter case
    ("§2 BASE is all text encoders", "hina:BASE=0.2", "sdxl", "te1", 0.2),
    ("§2 BASE is all text encoders", "hina:BASE=0.2", "sdxl", "te2", 0.2),
    ("§2 BASE includes text_projection", "hina:BASE=0.2", "sdxl", "te2 projection", 0.2),
    ("§2 BASE includes embeddings", "hina:BASE=0.2", "sdxl", "te1 embedding", 0.2),
    ("§2 BASE is not the U-Net", "hina:BASE=0.2", "sdxl", "time_embed", 1.0),
    ("§2 TE1 wins over BASE", "hina:BASE=0.2,TE1=0.6", "sdxl", "te1", 0.6),
    ("§2 TE1 names one encoder", "hina:BASE=0.2,TE1=0.6", "sdxl", "te2", 0.2),
    ("§2 TE2 wins over BASE", "hina:TE2=0.6,BASE=0.2", "sdxl", "te2", 0.6),
    ("§2 MID = M00", "hina:M00=0.3", "sd1", "MID", 0.3),
    ("§2 MID = MID00", "hina:MID00=0.3", "sd1", "MID", 0.3),
    ("§2 names in any case", "hina:in04=0.3,m00=0.5", "sdxl", "MID", 0.5),
    ("§2 names in any case", "hina:In04=0.3", "sdxl", "IN04 q1", 0.3),
    # §2: by name
    ("§2 by name", "hina:IN04=0.3,OUT00=1", "sdxl", "IN04 q1", 0.3),
    ("§2 by name: not named is 1", "hina:IN04=0.3,OUT00=0.2", "sdxl", "OUT01", 1.0),
    ("§2 by name: *= sets the rest", "hina:IN04=0.3,*=0", "sdxl", "OUT01", 0.0),
    ("§2 by name: *= leaves the named", "hina:*=0,IN04=0.3", "sdxl", "IN04 q1", 0.3),
    ("§2 by name: *= means BASE too", "hina:*=0,IN04=0.3", "sdxl", "te1", 0.0),
    ("§2 no block: w = 1", "hina:*=0", "sdxl", "time_embed", 1.0),
    ("§2 no block follows the strength", "hina:0.4:lbw=NONE", "sdxl", "label_emb", 0.4),
    ("§2 no block follows the strength", "hina:0.4:lbw=NONE", "sd1", "out", 0.4),
    # §2: presets
    ("§2 the person's preset by name", "hina:Named", "sdxl", "IN04 q1", 0.3),
    ("§2 the person's win over built-ins", "hina:OUTS", "sdxl", "OUT05", 9.0),
    *[("§2 ALL", "hina:ALL", f, m, 1.0) for f, m in EVERYWHERE],
    *[("§2 NONE", "hina:NONE", f, m, 0.0) for f, m in EVERYWHERE],
    *[("§2 ALL0.5", "hina:ALL0.5", f, m, 0.5) for f, m in EVERYWHERE],
    # §2: element rules
    ("§2 ff matches the feed-forward", "hina:lbwe=:ff:0", "sd1", "IN05 ff", 0.0),
    ("§2 ff matches the feed-forward", "hina:lbwe=:ff:0", "sd1", "IN05 ff2", 0.0),
    ("§2 ff matches nothing else", "hina:lbwe=:ff:0", "sd1", "IN05 k2", 1.0),
    ("§2 ff matches nothing else", "hina:lbwe=:ff:0", "sd1", "IN05 proj_in", 1.0),
    ("§2 NOT ff", "hina:lbwe=:NOT ff:0", "sd1", "IN05 k2", 0.0),
    ("§2 NOT ff", "hina:lbwe=:NOT ff:0", "sd1", "IN05 ff", 1.0),
    ("§2 attn is attn1 and attn2", "hina:lbwe=:attn:0", "sd1", "IN05 k2", 0.0),
    ("§2 attn is self_attn too", "hina:lbwe=:attn:0", "sd1", "te1", 0.0),
    ("§2 attn is not mlp", "hina:lbwe=:attn:0", "sdxl", "te2", 1.0),
    ("§2 attn1 is not attn2", "hina:lbwe=:attn1:0", "sd1", "IN05 k2", 1.0),
    ("§2 dots and underscores alike", "hina:lbwe=:attn2_to_k:0", "sd1", "IN05 k2", 0.0),
    ("§2 dots and underscores alike", "hina:lbwe=:attn2.to_k:0", "sd1", "IN05 k2", 0.0),
    ("§2 several selectors", "hina:lbwe=:ff attn2:0", "sd1", "IN05 k2", 0.0),
    ("§2 blocks of a rule", "hina:lbwe=IN04 MID:attn:0", "sd1", "MID", 0.0),
    ("§2 blocks of a rule", "hina:lbwe=IN04 MID:attn:0", "sd1", "IN05 k2", 1.0),
    ("§2 ranges in list order", "hina:lbwe=IN05-OUT05:attn:0", "sdxl", "MID", 0.0),
    ("§2 ranges in either direction", "hina:lbwe=OUT05-IN05:attn:0", "sdxl", "MID", 0.0),
    ("§2 ranges end where they end", "hina:lbwe=IN05-OUT05:attn:0", "sdxl", "IN04 q1", 1.0),
    ("§2 NOT in front of blocks", "hina:lbwe=NOT IN05-OUT05:attn:0", "sdxl", "IN04 q1", 0.0),
    ("§2 NOT in front of blocks", "hina:lbwe=NOT IN05-OUT05:attn:0", "sdxl", "MID", 1.0),
    ("§2 last match wins", "hina:lbwe=:attn:0.5,IN05::0.25", "sd1", "IN05 k2", 0.25),
    ("§2 last match wins", "hina:lbwe=IN05::0.25,:attn:0.5", "sd1", "IN05 k2", 0.5),
    ("§2 empty fields mean all", "hina:lbwe=::0.5", "sd1", "time_embed", 0.5),
    ("§2 TE1 in a rule", "hina:lbwe=TE1::0", "sdxl", "te1", 0.0),
    ("§2 TE1 in a rule", "hina:lbwe=TE1::0", "sdxl", "te2", 1.0),
    ("§2 ATTNDEEPON", "hina:lbw=NONE:lbwe=ATTNDEEPON", "sd1", "MID", 1.0),
    ("§2 ATTNDEEPOFF", "hina:lbwe=ATTNDEEPOFF", "sd1", "IN05 k2", 0.0),
    ("§2 ATTNDEEPOFF", "hina:lbwe=ATTNDEEPOFF", "sd1", "IN05 ff", 1.0),
    ("§2 PROJDEEPOFF", "hina:lbwe=PROJDEEPOFF", "sd1", "IN05 proj_in", 0.0),
    ("§2 PROJDEEPOFF", "hina:lbwe=PROJDEEPOFF", "sd1", "IN05 k2", 1.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "text", "family", "layer", "expected"),
    ROWS,
    ids=[f"{row[1]} {row[2]} {row[3]}" for row in ROWS],
)
def test_effective_strength(section: str, text: str, family: str, layer: str, expected: float) -> None:
    assert effective(strength_of(text, family), LAYERS[layer]) == pytest.approx(expected, rel=1e-15), section


# §2, the table of built-ins: exactly these blocks are 1, all others 0
BUILTINS = {
    "sd1": {
        "INS": "BASE IN00 IN01 IN02 IN03 IN04",
        "IND": "BASE IN05 IN06 IN07 IN08 IN09 IN10 IN11",
        "INALL": "BASE IN00 IN01 IN02 IN03 IN04 IN05 IN06 IN07 IN08 IN09 IN10 IN11",
        "MIDD": "BASE IN05 IN06 IN07 IN08 IN09 IN10 IN11 MID OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 OUT06",
        "OUTD": "BASE OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 OUT06",
        "OUTS": "BASE OUT07 OUT08 OUT09 OUT10 OUT11",
        "OUTALL": "BASE OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
    },
    "sdxl": {
        "INS": "BASE IN00 IN01 IN02 IN03 IN04 IN05",
        "IND": "BASE IN06 IN07 IN08",
        "INALL": "BASE IN00 IN01 IN02 IN03 IN04 IN05 IN06 IN07 IN08",
        "MIDD": "BASE IN07 IN08 MID OUT00 OUT01 OUT02",
        "OUTD": "BASE OUT00 OUT01 OUT02",
        "OUTS": "BASE OUT03 OUT04 OUT05 OUT06 OUT07 OUT08",
        "OUTALL": "BASE OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08",
    },
}


@pytest.mark.parametrize(
    ("family", "name", "on"), [(f, name, on) for f, table in BUILTINS.items() for name, on in table.items()]
)
def test_builtin_presets(family: str, name: str, on: str) -> None:
    weights = dict(parse_block_weights(name, FAMILIES[family]).weights)
    assert tuple(weights) == FAMILIES[family].long_blocks
    assert {block for block, value in weights.items() if value == 1} == set(on.split())
    assert {block for block, value in weights.items() if value == 0} == set(weights) - set(on.split())


# LoRA Block Weight's own lists: BASE, IN01 IN02 IN04 IN05 IN07 IN08, MID, OUT03 … OUT11
LORA_BLOCK_WEIGHT = {
    "NONE": "0 000000 0 000000000",
    "ALL": "1 111111 1 111111111",
    "INS": "1 111000 0 000000000",
    "IND": "1 000111 0 000000000",
    "INALL": "1 111111 0 000000000",
    "MIDD": "1 000111 1 111100000",
    "OUTD": "1 000000 0 111100000",
    "OUTS": "1 000000 0 000011111",
    "OUTALL": "1 000000 0 111111111",
    "ALL0.5": "5 555555 5 555555555",
}


@pytest.mark.parametrize("family", ["sd1", "sd2"])
@pytest.mark.parametrize("name", LORA_BLOCK_WEIGHT)
def test_builtin_presets_are_those_of_lora_block_weight(family: str, name: str) -> None:
    short = FAMILIES[family].short_blocks
    weights = dict(parse_block_weights(name, FAMILIES[family]).weights)
    values = {"0": 0.0, "1": 1.0, "5": 0.5}
    assert [weights[block] for block in short] == [
        values[digit] for digit in LORA_BLOCK_WEIGHT[name].replace(" ", "")
    ]


def test_every_builtin_preset_is_in_the_tables() -> None:
    uniform = {"ALL", "NONE", "ALL0.5"}
    assert {*builtin_names(FAMILIES["sd1"])} == {*builtin_names(FAMILIES["sd2"])} == {*LORA_BLOCK_WEIGHT}
    assert {*builtin_names(FAMILIES["sdxl"])} == {*BUILTINS["sdxl"]} | uniform
    for family in ("sd1", "sd2", "sdxl"):
        for name, value in (("ALL", 1.0), ("NONE", 0.0), ("ALL0.5", 0.5)):
            weights = dict(parse_block_weights(name, FAMILIES[family]).weights)
            assert weights == dict.fromkeys(FAMILIES[family].long_blocks, value)


@pytest.mark.parametrize(
    ("section", "te", "unet", "layer", "expected"),
    [
        ("§1 a:0.7 --te 0.5", 0.5, 1.0, "te1", 0.35),
        ("§1 a:0.7 --te 0.5", 0.5, 1.0, "MID", 0.7),
        ("§1 --unet multiplies", 1.0, -2.0, "MID", -1.4),
        ("§1 --unet multiplies", 1.0, 0.0, "te1", 0.7),
    ],
)
def test_global_multipliers(section: str, te: float, unet: float, layer: str, expected: float) -> None:
    assert effective(strength_of("a:0.7", "sd1", te=te, unet=unet), LAYERS[layer]) == pytest.approx(
        expected
    ), section


def test_strengths_of_a_call_and_a_factor_multiply() -> None:
    """§3: `0.7*hina(te=0.5)`."""
    strength = Strength(te=0.5).times(0.7)
    assert effective(strength, LAYERS["te1"]) == pytest.approx(0.35)
    assert effective(strength, LAYERS["MID"]) == pytest.approx(0.7)


@pytest.mark.parametrize(("missing", "expected"), [(0.0, 0.0), (1.0, 0.7)])
def test_missing_blocks_policy(missing: float, expected: float) -> None:
    """§2: modules in a block that the list lacks."""
    strength = strength_of("hina:0.7:HinaBlock", "sdxl", missing=missing)
    assert effective(strength, LAYERS["IN06 op"]) == pytest.approx(expected)
    assert effective(strength, LAYERS["IN08"]) == pytest.approx(0.35)


# what stands before the items is the path (§1: split from the right; an existing path wins; C:\… works)
PATHS = [
    ("hina.safetensors:0.7", [], "hina.safetensors"),
    ("Hina_Lora_Kohya:HinaBlock", [], "Hina_Lora_Kohya"),
    ("a:b/hina.safetensors:0.7", [], "a:b/hina.safetensors"),
    ("a:0.7", ["a:0.7"], "a:0.7"),
    ("a:0.7:0.5", ["a", "a:0.7"], "a:0.7"),
    ("a:0.7", ["a"], "a"),
    (r"C:\loras\hina.safetensors:0.7", [], r"C:\loras\hina.safetensors"),
    (r"C:\loras\hina:0.7", [], r"C:\loras\hina"),
    ("C:/loras/hina:HinaBlock:0.7", [], "C:/loras/hina"),
    ("hina.v1.0:0.7", [], "hina.v1.0"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "files", "path"), PATHS)
def test_path_of_an_adapter(text: str, files: list[str], path: str) -> None:
    assert read_argument(text, exists=lambda p: str(p) in files).path == Path(path)


ERRORS = [
    ("§1 duplicates", "hina:0.7:0.8", "sd1",
     "strength is given twice\n  where: 'hina:0.7:0.8'\n"
     "  fix:   one strength for all of it, te= and unet= for its two parts"),
    ("§1 duplicates", "hina:ALL:lbw=NONE", "sd1",
     "block weights are given twice: 'ALL' and 'NONE'\n  where: 'hina:ALL:lbw=NONE'\n"
     "  fix:   keep one of them"),
    ("§1 unknown items", "hina:tee=1", "sd1",
     "the item 'tee=' is not known\n  where: 'hina:tee=1'\n  fix:   did you mean 'te'?"),
    ("§1 unknown items", "hina:start=5", "sd1",
     "the item 'start=' is not known\n  where: 'hina:start=5'\n"
     "  fix:   items are te=, unet=, lbw=, lbwe=, a strength, and block weights"),
    ("§1 nan", "hina:nan", "sd1",
     "strength 'nan' is not a finite number\n  where: 'hina:nan'\n"
     "  fix:   write a finite number such as 0.7"),
    ("§1 inf", "hina:te=-inf", "sd1",
     "te= '-inf' is not a finite number\n  where: 'hina:te=-inf'\n"
     "  fix:   write a finite number such as 0.7"),
    ("§1 too large for a double", "hina:1e999", "sd1",
     "strength '1e999' is not a finite number\n  where: 'hina:1e999'\n"
     "  fix:   write a finite number such as 0.7"),
    ("§1 no number", "hina:te=big", "sd1",
     "te= 'big' is not a number\n  where: 'hina:te=big'\n  fix:   write one such as 0.7"),
    ("§1 empty item", "hina::0.7", "sd1",
     "an item between two ':' is empty\n  where: 'hina::0.7'\n"
     "  fix:   write PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y][:lbw=B][:lbwe=E]"),
    ("§2 length", "hina:1,0,1", "sd1",
     "a list of 3 block weights does not fit SD 1.5\n  where: block weights '1,0,1'\n"
     "  fix:   lists that fit are 17: BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03…OUT11; "
     "26: BASE IN00…IN11 MID OUT00…OUT11"),
    ("§2 length 2 is a decimal comma", "hina:0,7", "sd1",
     "a list of 2 block weights does not fit SD 1.5\n"
     "  where: block weights '0,7', read as two weights; a decimal has a point\n"
     "  fix:   lists that fit are 17: BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03…OUT11; "
     "26: BASE IN00…IN11 MID OUT00…OUT11"),
    ("§2 another family's length", "hina:" + LIST_17, "sdxl",
     f"a list of 17 block weights does not fit SDXL\n  where: block weights '{LIST_17}'\n"
     '  fix:   by the block names of SD 1.5 it is "BASE=1,IN01=0.1,IN02=0.2,IN04=0.3,IN05=0.4,IN07=0.5,'
     'IN08=0.6,MID=0.7,OUT03=0.8,OUT04=0.9,OUT05=2,OUT06=3,OUT07=4,OUT08=5" (SDXL has no OUT09…OUT11; '
     "IN00 IN03 IN06 OUT00…OUT02 weigh 1); lists that fit are 12: BASE IN04 IN05 IN07 IN08 MID OUT00…OUT05; "
     "20: BASE IN00…IN08 MID OUT00…OUT08; 26: BASE IN00…IN11 MID OUT00…OUT11"),
    ("§2 unknown block", "hina:IN4=0.3,OUT00=1", "sdxl",
     "'IN4' is not a block of SDXL\n  where: block weights 'IN4=0.3,OUT00=1'\n"
     "  fix:   did you mean 'IN04'?"),
    ("§2 a block of another family", "hina:IN09=0.3", "sdxl",
     "'IN09' is not a block of SDXL\n  where: block weights 'IN09=0.3'\n"
     "  fix:   did you mean 'IN08' or 'IN07' or 'IN06'?"),
    ("§2 unknown preset", "hina:HinaBlok", "sdxl",
     "there are no block weights called 'HinaBlok'\n  fix:   did you mean 'HinaBlock' or 'INALL'?"),
    ("§2 a stage of another family", "hina:INS", "flux",
     "there are no block weights called 'INS' on Flux\n  fix:   stages (INS, MIDD, OUTALL …) are those of "
     "U-Nets; name blocks: D00=0.5,S37=1,*=0"),
    ("§2 a list of another family", "hina:" + LIST_26, "flux",
     f"a list of 26 block weights does not fit Flux\n  where: block weights '{LIST_26}'\n"
     "  fix:   lists that fit are 57: D00…D18 S00…S37; 61: CLIP T5 IN D00…D18 S00…S37 OUT"),
    ("§2 a block of another family", "hina:MID=0.3", "flux",
     "'MID' is not a block of Flux\n  where: block weights 'MID=0.3'\n"
     "  fix:   blocks: CLIP T5 IN D00…D18 S00…S37 OUT"),
    ("§2 a block of another family", "hina:TE2=0.3", "flux",
     "'TE2' is not a block of Flux\n  where: block weights 'TE2=0.3'\n"
     "  fix:   blocks: CLIP T5 IN D00…D18 S00…S37 OUT"),
    ("§2 unknown preset", "hina:zzz", "flux",
     "there are no block weights called 'zzz'\n  fix:   known names: HinaBlock Named OUTS ALL NONE ALL0.5"
     '; define one with blocks={"NAME": "LIST"}'),
    ("§2 R is for rendering", "hina:1,R,1,1,1,1,1,1,1,1,1,1", "sdxl",
     "'R' is drawn at random when rendering; a merge needs a number in its place\n"
     "  where: block weights '1,R,1,1,1,1,1,1,1,1,1,1'\n"
     "  fix:   write a number instead of 'R', for instance the one a render reported"),
    ("§2 X is for rendering", "hina:IN04=X+0.2", "sdxl",
     "'X+0.2' takes its value from x= when rendering; a merge needs a number in its place\n"
     "  where: block weights 'IN04=X+0.2'\n"
     "  fix:   write a number instead of 'X+0.2', for instance the one a render reported"),
    ("§2 twice", "hina:M00=1,MID=0", "sd1",
     "block MID is given twice\n  where: block weights 'M00=1,MID=0'\n  fix:   keep one of them"),
    ("§2 mixed forms", "hina:IN04=1,0.3", "sd1",
     "'0.3' has no block name\n  where: block weights 'IN04=1,0.3'\n"
     "  fix:   name every block (IN04=0.3,OUT00=1) or none (1,0,0,0.3,…)"),
    ("§2 one number", "hina:lbw=0.5", "sd1",
     "'0.5' is one number, not block weights\n"
     "  fix:   *=0.5 gives every block that weight; a strength goes without lbw="),
    ("§2 rule without three fields", "hina:lbwe=IN05:attn", "sd1",
     "'IN05:attn' is not an element rule\n  where: element rules 'IN05:attn'\n"
     "  fix:   write blocks:elements:value, for instance IN05-OUT05:attn:0; an empty field means all"),
    ("§2 unknown block in a rule", "hina:lbwe=IN05-IN11:attn:0", "sdxl",
     "'IN11' is not a block of SDXL\n  where: element rules 'IN05-IN11:attn:0'\n"
     "  fix:   did you mean 'IN01'?"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "text", "family", "message"), ERRORS, ids=[f"{row[1][:30]} {row[2]}" for row in ERRORS]
)
def test_errors(section: str, text: str, family: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        strength_of(text, family)
    assert str(caught.value) == message, section
