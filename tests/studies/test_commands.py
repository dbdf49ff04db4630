"""The command of a cell, read back by the parsers it is meant for."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loralathe.language import read_recipe
from loralathe.strengths import AdapterUse, argument_text, has_tokens, read_argument
from loralathe.studies.commands import cell_recipe
from printed import fault
from studies.fakes import request, use

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

USES = [
    use("a b/hina.safetensors", 0.7),
    use("hina.safetensors", -0.35, blocks="1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1"),
    use("hina.safetensors", 0.5, blocks="IN04=0.3,OUT00=1"),
    use("hina.safetensors", 0.5, blocks="*=0,MID=1"),
    AdapterUse("C:\\loras\\hina.safetensors", 0.0, 0.8, "HinaBlock", "IN05-OUT05:attn:0,BASE::0.5"),
]


@pytest.mark.parametrize("adapter", USES, ids=range(5))
def test_adapter_arguments_read_back(adapter: AdapterUse) -> None:
    spec = read_argument(argument_text(adapter))
    assert str(spec.path) == adapter.file
    assert (spec.te, spec.unet, spec.blocks) == (adapter.te, adapter.unet, adapter.blocks)
    assert spec.elements == adapter.elements


def test_the_merge_command_is_one_shell_line() -> None:
    uses = (
        use("my loras/hina.safetensors", 0.7, "1,0,0"),
        use("mio.safetensors", 0.0),
        use("b.safetensors", 1, "ALL"),
    )
    recipe = cell_recipe(request(adapters=uses))
    assert recipe is not None
    assert shlex.split(recipe.command) == [
        "lathe", "merge", "baseA.safetensors",
        "my loras/hina.safetensors:0.7:lbw=1,0,0", "b.safetensors:1:lbw=ALL",
    ]  # fmt: skip


def test_the_snippet_is_a_recipe_of_the_same_merge() -> None:
    uses = (use("x/hina-v2.safetensors", -0.7, "IN04=0.3"), replace(use("mio.safetensors"), te=0.5, unet=0.8))
    recipe = cell_recipe(request(adapters=uses))
    assert recipe is not None
    parsed = tomllib.loads(recipe.snippet)
    assert parsed["inputs"] == {
        "A": "baseA.safetensors",
        "hina_v2": "x/hina-v2.safetensors",
        "mio": "mio.safetensors",
    }
    assert parsed["steps"]["merged"] == "A - 0.7*hina_v2@'IN04=0.3' + mio(te=0.5, unet=0.8)"


ODD = (
    "紅髮.safetensors", "slerp.safetensors", "merged.safetensors", "A.safetensors", "x/A.safetensors",
    "2b.safetensors", 'C:\\new "x"\\hina.safetensors',
    "if.safetensors", "x/if.safetensors", "ALL.safetensors",
)  # fmt: skip


def test_a_snippet_of_odd_names_is_a_recipe_that_lathe_reads(tmp_path: Path) -> None:
    recipe = cell_recipe(request(adapters=tuple(use(file, blocks="ALL") for file in (*ODD, ODD[0]))))
    assert recipe is not None
    file = tmp_path / "cell.toml"
    file.write_text(recipe.snippet, encoding="utf-8")
    read = read_recipe(file)
    assert [path.name for path in read.inputs.values()] == [
        path.name for path in (tmp_path / "baseA.safetensors", *(tmp_path / file for file in ODD))
    ]
    swept = cell_recipe(request(), recipe_file="x.toml", variables=(("強度", 0.5),))
    assert swept is not None
    assert tomllib.loads(swept.snippet) == {"variables": {"強度": 0.5}}


@pytest.mark.parametrize(
    ("blocks", "there"),
    [
        ("1,R,0", True),
        ("IN04=x+0.2", True),
        ("*=0,IN04=U", True),
        ("1,0,0.3", False),
        ("IN04=1", False),
        ("R", False),
    ],
)
def test_values_that_only_a_picture_has(blocks: str, there: bool) -> None:
    assert has_tokens(blocks) is there


def test_nothing_to_merge_and_what_cannot_be_merged() -> None:
    assert cell_recipe(request(adapters=())) is None
    assert cell_recipe(request(adapters=(use(strength=0),))) is None
    timed = cell_recipe(request(adapters=(replace(use(blocks="1,R,0"), stop=5),)))
    assert timed is not None
    assert timed.notes == ("steps", "tokens")


def test_recipe_cells_name_their_variables() -> None:
    recipe = cell_recipe(
        request(), recipe_file=str(Path("my recipe.toml")), variables=(("M", -0.35), ("rank", 8.0))
    )
    assert recipe is not None
    assert recipe.command == 'lathe run "my recipe.toml" --set M=-0.35 --set rank=8'
    assert tomllib.loads(recipe.snippet) == {"variables": {"M": -0.35, "rank": 8}}
    assert recipe.notes == ("apply",)


@pytest.mark.parametrize(
    "adapter",
    [
        use(),
        use("my models/hina.safetensors", 0.5),
        use(blocks="1,0,0,0,0,0,0,1,1,1,1,1,0,0,0,0,0"),
        use(blocks="IN04=0.3,*=0"),
    ],
)
def test_the_command_of_a_cell_is_the_same_in_every_shell(adapter: AdapterUse) -> None:
    made = cell_recipe(request(adapters=(adapter,)))
    recipe = cell_recipe(request(), recipe_file="my recipe.toml", variables=(("M", -0.35),))
    assert made is not None
    assert recipe is not None
    assert (fault(made.command), fault(recipe.command)) == (None, None)
