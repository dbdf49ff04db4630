"""Promise 1: what the picture showed is what the merge gives.

Every case says the same strengths twice, as tags of a prompt and as words of `lathe merge`. The tags are
rendered on the untouched base; the command writes a file, which is rendered with the bare prompt.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from loralathe.families import family_by_id
from loralathe.strengths import AdapterUse
from loralathe.studies.context import gather_context
from loralathe.studies.grid import GridOptions, run_grid
from promise.conftest import REQUEST, Atelier

TOLERANCE = 1e-3
SHORT = {
    "sd1": "0.5,1,0,0.3,0.5,1,0.3,0.3,1,1,0,1,-0.5,1,2,1,0",
    "sdxl": "0.5,1,0,0.3,0.5,1,0.3,0.3,1,-1,0,1",
}
LONG = {
    "sd1": "0.5,1,1,0,0.3,1,-1,0.5,0.5,1,1,1,0,1,1,0,2,0.5,1,0,1,1,0.2,1,1,0.7",
    "sdxl": "0.5,1,1,0,0.3,1,-1,0.5,0.5,1,1,2,0.5,1,0,1,-0.3,0.2,1,0.7",
}
NAMED = "IN01=0.5,IN03=-1,IN04=0.3,MID=0.3,OUT05=0,OUT02=2,BASE=0.5"
RULES = "IN04-OUT02:attn2:0.2,NOT BASE:to_v:0.6,:ff:1.2"
APART = {"sd1": "TE1=0.5,*=1", "sdxl": "TE1=1,TE2=0.2,*=1"}

# (family, kind, items that mean the same in a tag and on the command line, whether it is slow)
CASES = [
    ("sd1", "linear", f"te=0.4:unet=0.7:lbw={SHORT['sd1']}", False),
    ("sd1", "conv", f"te=0.4:unet=0.7:lbw={NAMED}:lbwe={RULES}", False),
    ("sdxl", "linear", f"te=0.4:unet=0.7:lbw={SHORT['sdxl']}:lbwe={RULES}", False),
    ("sdxl", "tucker", f"te=-0.3:unet=0.7:lbw={LONG['sdxl']}", True),
    ("sd1", "tucker", f"te=0.4:unet=0.7:lbw={LONG['sd1']}", True),
    ("sd1", "tucker", f"0.7:lbw={NAMED}:lbwe={RULES}", True),
    ("sd1", "conv", "te=0:unet=0.7", True),
    ("sd1", "linear", "-0.5:lbw=MIDD", True),
    ("sd1", "linear", f"te=1.5:unet=0:lbw={APART['sd1']}", True),
    ("sdxl", "conv", f"te=0.4:unet=0.7:lbw={NAMED}:lbwe={RULES}", True),
    ("sdxl", "conv", f"0.7:lbw={LONG['sdxl']}", True),
    ("sdxl", "tucker", f"te=0.4:unet=0.7:lbw={NAMED}", True),
    ("sdxl", "linear", f"te=1.2:unet=0.7:lbw={APART['sdxl']}", True),
]


def tag(name: str, items: str) -> str:
    return f"<lora:{name}:{items}>"


def check(atelier: Atelier, family: str, *adapters: tuple[str, str]) -> None:
    """`adapters` are (stem, items)."""
    base = atelier.base(family)
    shown = atelier.latents(base, REQUEST.prompt + "".join(tag(*adapter) for adapter in adapters))
    kept = atelier.latents(atelier.merged(family, *(":".join(adapter) for adapter in adapters)))
    plain = atelier.latents(base)
    assert (plain - kept).abs().max() > 30 * TOLERANCE, "the adapters must show"
    assert (shown - kept).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    ("family", "kind", "items"),
    [
        pytest.param(*case, id=f"{case[0]}-{case[1]}-{i}", marks=pytest.mark.slow if slow else ())
        for i, (*case, slow) in enumerate(CASES)
    ],
)
@pytest.mark.long
def test_a_tag_shows_what_the_merge_gives(atelier: Atelier, family: str, kind: str, items: str) -> None:
    check(atelier, family, (f"{family}-{kind}", items))


@pytest.mark.parametrize("family", ["sd1", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_two_adapters(atelier: Atelier, family: str) -> None:
    check(
        atelier, family,
        (f"{family}-tucker", f"te=0.3:unet=0.6:lbw={NAMED}"),
        (f"{family}-other", f"-0.4:lbw={SHORT[family]}:lbwe={RULES}"),
    )  # fmt: skip


@pytest.mark.parametrize("family", ["sd1", pytest.param("sdxl", marks=pytest.mark.slow)])
@pytest.mark.long
def test_an_extracted_adapter(atelier: Atelier, family: str) -> None:
    """`lathe extract` writes an adapter with its own ranks and alpha; it renders as it merges."""
    words = ["--rank", 8, "--conv-rank", 4, "--dtype", "fp32", "--force", "--quiet"]
    name = f"{family}-extracted"
    atelier.lathe("extract", atelier.near(family), atelier.base(family), "-o", atelier.lora(name), *words)
    check(atelier, family, (name, f"te=0.5:unet=0.8:lbw={NAMED}"))


@pytest.mark.long
def test_the_command_that_a_cell_offers(atelier: Atelier, tmp_path: Path) -> None:
    """The line in a grid's table, typed as it stands, gives the file behind the cell's picture."""
    family = "sd1"
    base = atelier.base(family)
    use = AdapterUse(f"{family}-conv", 0.4, 0.7, blocks="Mine", elements=RULES)
    options = GridOptions(
        replace(REQUEST, checkpoint=str(base), adapters=(use,)),
        tmp_path / "grid",
        x=f"{family}-conv unet = 0, -0.6",
        scorers=(),
        preview_seconds=0,
        context=gather_context(
            family_by_id(family), lora_dirs=[atelier.folder / "loras"], presets={"Mine": NAMED}
        ),
    )
    cell = run_grid(options, atelier.renderer).cells[1]
    assert cell.recipe is not None
    first, *words = shlex.split(cell.recipe.command)
    assert first == "lathe"
    atelier.lathe(*words, "-o", tmp_path / "merged.safetensors", "--quiet")
    kept = {}
    atelier.renderer.render(
        [replace(REQUEST, checkpoint=str(tmp_path / "merged.safetensors"))],
        lambda index, image: kept.update({index: np.asarray(image).astype(int)}),
    )
    shown = np.asarray(Image.open(tmp_path / "grid" / cell.file)).astype(int)
    assert np.abs(shown - kept[0]).max() <= 1


def test_the_tolerance_would_notice(atelier: Atelier) -> None:
    """Strengths that differ by a hundredth are told apart, and so are te and unet the other way round."""
    base, name = atelier.base("sd1"), "sd1-linear"
    asked, nearly, swapped = (
        atelier.latents(base, REQUEST.prompt + tag(name, items))
        for items in ("te=0.4:unet=0.7", "te=0.4:unet=0.71", "te=0.7:unet=0.4")
    )
    for other in (nearly, swapped):
        assert torch.dist(asked, other, p=float("inf")) > TOLERANCE
