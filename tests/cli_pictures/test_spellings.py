"""A name in another case means the same wherever it is written; those that differ in case alone are two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from cli.kit import Run
from loralathe.errors import InputError
from loralathe.families.sdxl import SDXL
from loralathe.studies.context import Context
from studies.fakes import request, use
from studies.test_axes import cells

HINA = "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1"
CONTEXT = Context(
    loras={"Hina": "hina.safetensors"},
    samplers=("Euler a", "DPM++ 2M"),
    schedules=("Automatic", "Karras"),
    presets={"HinaBlock": HINA},
    element_presets={"Faces": "OUT03-OUT05:attn:0"},
    family=SDXL,
)


@pytest.mark.parametrize("name", ["outall", "OutAll", "OUTALL", " outALL\u200b"])
def test_a_preset_is_one_name_in_arguments_tags_and_axes(name: str) -> None:
    bare = request(adapters=())
    ways = [
        cells("seed = 7", request(adapters=(use(blocks=name),)), CONTEXT),
        cells("seed = 7", replace(bare, prompt=f"1girl, smile, hat<lora:hina:1:lbw={name}>"), CONTEXT),
        cells(f"hina blocks = {name}", context=CONTEXT),
        cells(f"HINA Block Preset = {name}", context=CONTEXT),
    ]
    assert {cell.adapters[0].blocks for (cell,) in ways} == {"OUTALL"}
    assert len({cell.key() for (cell,) in ways}) == 1
    (listed,) = cells(f"original weights = {name}", context=CONTEXT)
    (whole,) = cells("original weights = OUTALL", context=CONTEXT)
    assert listed.adapters == whole.adapters


@pytest.mark.parametrize("name", ["hinablock", "HINABLOCK", "HinaBlock"])
def test_so_is_a_list_of_ones_own(name: str) -> None:
    for text, base in (
        ("seed = 7", request(adapters=(use(blocks=name),))),
        ("seed = 7", request(prompt=f"<lora:hina:1:lbw={name}>", adapters=())),
        (f"hina blocks = {name}", request()),
    ):
        assert [cell.adapters[0].blocks for cell in cells(text, base, CONTEXT)] == [HINA]


def test_elements_blocks_and_samplers(tmp_path: Path) -> None:
    for name in ("faces", "FACES"):
        for base in (
            request(adapters=(replace(use(), elements=name),)),
            request(prompt=f"<lora:hina:1:lbwe={name}>", adapters=()),
        ):
            (cell,) = cells("seed = 7", base, CONTEXT)
            assert cell.adapters[0].elements == "OUT03-OUT05:attn:0"
        (cell,) = cells(f"hina elements = {name}", request(), CONTEXT)
        assert cell.adapters[0].elements == "OUT03-OUT05:attn:0"
    assert (
        cells("hina in04-m00 = 0", context=CONTEXT)[0].adapters[0].blocks
        == "IN04=0,IN05=0,IN06=0,IN07=0,IN08=0,MID=0"
    )
    assert [c.sampler for c in cells("SAMPLER = euler A, dpm++ 2m karras", context=CONTEXT)] == [
        "Euler a",
        "DPM++ 2M",
    ]


def test_names_that_differ_in_case_alone() -> None:
    context = replace(CONTEXT, presets={"Face": HINA, "face": "ALL"})
    assert cells("hina blocks = Face", context=context)[0].adapters[0].blocks == HINA
    for text, base in (
        ("hina blocks = FACE", request()),
        ("seed = 7", request(adapters=(use(blocks="FACE"),))),
        ("seed = 7", request(prompt="<lora:hina:1:lbw=FACE>", adapters=())),
    ):
        with pytest.raises(InputError, match="no block weights called 'FACE'") as caught:
            cells(text, base, context)
        assert "these differ in case alone" in str(caught.value)


def test_in_formulas_and_on_the_command_line(here: Path, done: Run) -> None:
    ways = (
        ("merge", "baseA.safetensors", "hina.safetensors:outall"),
        ("merge", "baseA.safetensors", "hina.safetensors:OUTALL"),
        ("eval", "A + hina@outall", "A=baseA.safetensors", "hina=hina.safetensors"),
        ("eval", "A + hina@'OutAll'", "A=baseA.safetensors", "hina=hina.safetensors"),
    )
    hashes = set()
    for words in ways:
        done(*words, "-o", "made.safetensors", "--force")
        tensors = load_file("made.safetensors")
        hashes.add(tuple(tensors[name].tobytes() for name in sorted(tensors)))
    assert len(hashes) == 1
