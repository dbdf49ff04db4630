"""Every axis: what it does to a request, what it refuses, and whom it suggests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from loralathe.errors import InputError
from loralathe.families import FAMILIES, block_lists
from loralathe.families.sdxl import SDXL
from loralathe.rendering import Hires
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import parse_block_weights, read_block_text, select_blocks
from loralathe.studies.axes import AXIS_KINDS, parse_axis
from loralathe.studies.axis import Axis
from loralathe.studies.cell_builder import CellBuilder
from loralathe.studies.context import Context, files_by_name
from loralathe.studies.plan import plan_grid
from studies.fakes import request, use


@dataclass
class FakeRecipe:
    identity: str = "recipe-1"
    file: str = "article.toml"
    variables: Mapping[str, float] = field(default_factory=lambda: {"M": 0.7, "rank": 64.0})
    asked: list[dict[str, float]] = field(default_factory=list)

    def check(self, variables: Mapping[str, float]) -> None:
        return

    def evaluate(self, variables: Mapping[str, float]) -> str:
        self.asked.append(dict(variables))
        return "weights:" + ",".join(f"{k}={v}" for k, v in sorted(variables.items()))


HINA = "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1"
CONTEXT = Context(
    loras={"hina": "loras/hina.safetensors", "mio": "loras/mio.safetensors"},
    checkpoints={"baseA": "models/baseA.safetensors", "baseB": "models/baseB.safetensors"},
    vaes={"bright": "vae/bright.safetensors"},
    samplers=("Euler a", "Euler", "DPM++ 2M", "DDIM"),
    schedules=("Automatic", "Karras"),
    presets={"HinaBlock": HINA},
    family=SDXL,
)


def cells(
    text: str, base: ImageRequest | None = None, context: Context = CONTEXT, y: str = ""
) -> list[ImageRequest]:
    draft = CellBuilder(base or request())
    axes = (parse_axis(text, draft, context), parse_axis(y, draft, context) if y else None, None)
    return [cell.request for cell in plan_grid(draft, axes, context, identify=str).cells]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("seed = 1-3", "seed", [1, 2, 3]),
        ("Steps = 10, 20", "steps", [10, 20]),
        ("CFG Scale = 4..5 (+0.5)", "cfg", [4.0, 4.5, 5.0]),
        ("sampler = euler, dpm++ 2m", "sampler", ["Euler", "DPM++ 2M"]),
        ("schedule = karras", "schedule", ["Karras"]),
        (
            "checkpoint = baseB, BASEA.safetensors",
            "checkpoint",
            ["models/baseB.safetensors", "models/baseA.safetensors"],
        ),
        ("vae = none, bright", "vae", [None, "vae/bright.safetensors"]),
        ("clip_skip = 1, 2", "clip_skip", [1, 2]),
    ],
)
def test_plain_fields(text: str, name: str, expected: list[object]) -> None:
    assert [getattr(cell, name) for cell in cells(text)] == expected


def test_hires_fix() -> None:
    base = request(hires=Hires(2))
    for text, name, expected in (
        ("denoising = 0.3, 0.5", "denoising", [0.3, 0.5]),
        ("hires steps = 0, 9", "steps", [0, 9]),
        ("hires upscaler = lanczos, Latent", "upscaler", ["Lanczos", "Latent"]),
    ):
        assert [getattr(cell.hires, name) for cell in cells(text, base=base)] == expected
    with pytest.raises(InputError, match="changes nothing without it"):
        cells("denoising = 0.5")


def test_size() -> None:
    assert [(c.width, c.height) for c in cells("size = 832x1216, 64×64")] == [(832, 1216), (64, 64)]
    with pytest.raises(InputError, match="multiple of 8") as caught:
        cells("size = 100x64")
    assert "96x64" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "te", "unet"),
    [
        ("hina strength = 0, 0.5", [0, 0.5], [0, 0.5]),
        ("hina = 0, 0.5", [0, 0.5], [0, 0.5]),
        ("strength = -1", [-1], [-1]),
        ("HINA te = 0, 0.5", [0, 0.5], [1, 1]),
        ("hina unet = 0..1 [3]", [1, 1, 1], [0, 0.5, 1]),
    ],
)
def test_strengths(text: str, te: list[float], unet: list[float]) -> None:
    uses = [cell.adapters[0] for cell in cells(text)]
    assert [u.te for u in uses] == te
    assert [u.unet for u in uses] == unet


def test_two_strengths_crossed_leave_the_rest_alone() -> None:
    base = request(adapters=(use("hina.safetensors", 0.4), use("mio.safetensors", 0.6)))
    got = [tuple(u.unet for u in cell.adapters) for cell in cells("hina = 0, 1", base, y="mio = 0.5, 2")]
    assert got == [(0, 0.5), (1, 0.5), (0, 2), (1, 2)]
    assert {cell.seed for cell in cells("hina = 0, 1", base)} == {base.seed}


def test_a_lora_of_the_folder_is_added() -> None:
    first, second = cells("mio te = 0, 0.5")
    assert [u.file for u in first.adapters] == ["hina.safetensors", "loras/mio.safetensors"]
    assert (second.adapters[1].te, second.adapters[1].unet) == (0.5, 1.0)


def test_the_lora_itself() -> None:
    got = [
        [(u.file, u.te) for u in c.adapters]
        for c in cells("lora = mio, none", request(adapters=(use(strength=0.7),)))
    ]
    assert got == [[("loras/mio.safetensors", 0.7)], []]
    alone = [[u.file for u in c.adapters] for c in cells("lora = mio, hina", request(adapters=()))]
    assert alone == [["loras/mio.safetensors"], ["loras/hina.safetensors"]]


def test_block_presets_and_lists() -> None:
    got = [c.adapters[0].blocks for c in cells('hina blocks = ALL, hinablock, "IN04=0.3,OUT00=1", ""')]
    assert got == ["ALL", HINA, "IN04=0.3,OUT00=1", None], "the person's own presets are spelt out"


def test_value_of_chosen_blocks_by_name() -> None:
    assert [c.adapters[0].blocks for c in cells("hina IN04-IN05 M00 = 0, 1")] == ["IN04=0,IN05=0,MID=0", None]
    assert cells("block IN04 = 0.5")[0].adapters[0].blocks == "IN04=0.5"
    assert cells("NOT BASE IN00-OUT07 = 0.5")[0].adapters[0].blocks == "OUT08=0.5"
    assert cells("TE2 = 0.5")[0].adapters[0].blocks == "TE2=0.5"


def test_value_of_chosen_blocks_in_a_list() -> None:
    base = request(adapters=(use(blocks="HinaBlock"),))
    assert cells("IN07-MID = 0.25", base)[0].adapters[0].blocks == "1,0,0,0.25,0.25,0.25,0.3,0.3,1,1,1,1"
    with pytest.raises(InputError, match="block IN00 is not in this list"):
        cells("IN00 = 0.25", base)


def test_lbw_values_and_block_id() -> None:
    got = [c.adapters[0].blocks for c in cells("values = 0, 0.5", y="block id = IN04, NOT IN00-OUT08")]
    assert got == ["IN04=0", "IN04=0.5", "BASE=0", "BASE=0.5"]
    marked = request(adapters=(use("a.safetensors", blocks="XYZ"), use("b.safetensors", blocks="zyx")))
    got2 = [[u.blocks for u in c.adapters] for c in cells("values = 0.25", marked, y="block id = IN04")]
    assert got2 == [["IN04=0.25", "*=0,IN04=0.75"]]
    with pytest.raises(InputError, match="which blocks"):
        cells("values = 0, 0.5")
    with pytest.raises(InputError, match="needs a value"):
        cells("block id = IN04")


def test_lbw_original_weights_are_summed_as_lbw_does() -> None:
    a, b = "1,0.5,0,0,0,0,0,0,0,0,0,0", "0.2,0,0.3,0,0,0,0,0,0,0,0,1"
    (cell,) = cells(f'original weights = "{a}"', y=f'original weights = "{b}"')
    assert cell.adapters[0].blocks == "1,0.5,0.3,0,0,0,0,0,0,0,0,1"


def test_elements_change_every_cell() -> None:
    base = request(adapters=(replace(use(), elements="IN04::1"),))
    got = [c.adapters[0].elements for c in cells('elements = "", "IN05-OUT05:attn:0"', base)]
    assert got == ["IN04::1", "IN04::1,IN05-OUT05:attn:0"]
    marked = request(adapters=(replace(use(), elements="XYZ"),))
    assert [c.adapters[0].elements for c in cells('elements = "", "IN05::0"', marked)] == [None, "IN05::0"]
    named = cells("elements = AttnDeepOff", base)[0].adapters[0].elements
    assert named == "IN04::1,IN05-OUT05:attn:0"
    for text in ("attn", "IN05:attn", "IN05:attn:x"):
        with pytest.raises(InputError, match=r"element rule|is not a number"):
            cells(f"elements = {text}")


def test_search_and_replace() -> None:
    got = [(c.prompt, c.negative) for c in cells("prompt s/r = smile, , 哭")]
    assert got == [("1girl, smile, hat", "blurry"), ("1girl, , hat", "blurry"), ("1girl, 哭, hat", "blurry")]
    assert cells("s/r = blurry, sharp")[1].negative == "sharp"
    with pytest.raises(InputError, match="does not contain") as caught:
        cells("prompt s/r = smle, cry")
    assert "did you mean 'smile'?" in str(caught.value)


def test_prompt_order_keeps_what_lies_between() -> None:
    got = [c.prompt for c in cells("prompt order = hat, 1girl")]
    assert got == ["hat, smile, 1girl", "1girl, smile, hat"]
    with pytest.raises(InputError, match="does not contain"):
        cells("prompt order = hat, cat")


def test_tags_are_text_to_prompt_axes_and_adapters_to_the_rest() -> None:
    context = CONTEXT
    base = request(prompt="1girl <lora:hina:0.5>", adapters=())
    swapped = cells("prompt s/r = hina, mio", base, context)
    assert [c.adapters[0].file for c in swapped] == ["loras/hina.safetensors", "loras/mio.safetensors"]
    strengths = cells("hina = 0, 1", base, context)
    assert [c.adapters[0].unet for c in strengths] == [0, 1]
    assert {c.prompt for c in strengths} == {"1girl "}


def test_recipe_variables() -> None:
    recipe = FakeRecipe()
    context = replace(CONTEXT, recipe=recipe)
    draft = CellBuilder(request(adapters=()))
    x, y = (parse_axis(text, draft, context) for text in ("M = -0.7..0.7 (+0.7)", "rank = 4, 8"))
    plan = plan_grid(draft, (x, y, None), context, identify=str)
    assert [cell.variables for cell in plan.cells[:2]] == [
        (("M", -0.7), ("rank", 4.0)),
        (("M", 0.0), ("rank", 4.0)),
    ]
    assert len({cell.key for cell in plan.cells}) == 6
    assert recipe.asked == [], "planning evaluates nothing"


@pytest.mark.parametrize(
    ("text", "what", "suggestion"),
    [
        ("samplr = Euler", "no axis 'samplr'", "'sampler'"),
        ("hnia strength = 1", "no adapter 'hnia'", "'hina'"),
        ("sampler = Eular a", "no sampler 'Eular a'", "'Euler a'"),
        ("schedule = karas", "no schedule", "'Karras'"),
        ("checkpoint = baseC", "no checkpoint", "'baseA'"),
        ("hina blocks = HinaBlok", "no block weights called 'HinaBlok'", "'HinaBlock'"),
        ("block id = IN4", "'IN4' is not a block of SDXL", "'IN04'"),
        ("hina", "NAME = VALUES", "cfg = "),
        ("steps = 0", "at least 1 step", ""),
        ("clip skip = 0", "clip skip", ""),
        ("seed = -2", "0 or more", ""),
        ('hina blocks = "1,0,1"', "a list of 3 block weights does not fit SDXL", ""),
    ],
)
def test_mistakes_are_named(text: str, what: str, suggestion: str) -> None:
    with pytest.raises(InputError) as caught:
        cells(text)
    assert what in str(caught.value)
    assert suggestion in str(caught.value)


def test_several_adapters_need_a_name() -> None:
    base = request(adapters=(use("hina.safetensors"), use("mio.safetensors")))
    with pytest.raises(InputError, match="which adapter"):
        cells("strength = 1", base)


def test_a_strength_without_a_name_is_that_of_whichever_adapter() -> None:
    base = request(adapters=(use("hina.safetensors"),))
    got = [(c.adapters[0].file, c.adapters[0].te) for c in cells("lora = mio", base, y="strength = 0.5, 1")]
    assert got == [("loras/mio.safetensors", 0.5), ("loras/mio.safetensors", 1.0)]
    assert parse_axis("strength = 0.5, 1", CellBuilder(base), CONTEXT).title == "strength"
    assert parse_axis("hina te = 0.5, 1", CellBuilder(base), CONTEXT).title == "hina te"
    with pytest.raises(InputError, match="an axis 'lora = hina, mio' puts others in its place"):
        cells("lora = mio", request(adapters=()), y="strength = 0.5, 1")


def test_random_seeds_are_drawn_once_per_value() -> None:
    drawn = iter([11, 12])
    got = cells("seed = -1, 5, -1", context=replace(CONTEXT, draw_seed=lambda: next(drawn)))
    assert [c.seed for c in got] == [11, 5, 12]


def test_every_example_of_the_table_parses(tmp_path: Path) -> None:
    context = replace(
        CONTEXT,
        samplers=(),
        schedules=(),
        vaes={"sdxl_vae": "v"},
    )
    for kind in AXIS_KINDS:
        axis = parse_axis(kind.example.replace("frown, 哭", "frown"), CellBuilder(request()), context)
        assert isinstance(axis, Axis)
        assert axis.values


@pytest.mark.parametrize("length", [12, 17, 20, 26, 57, 61])
def test_block_lists_have_their_length(length: int) -> None:
    names = block_lists()[length]
    assert len(names) == len(set(names)) == length
    family = next(family for family in FAMILIES if names in (family.short_blocks, family.long_blocks))
    assert select_blocks(f"{names[-1]}-{names[0]}", family, names) == names
    assert read_block_text(",".join(["0.5"] * length), family).text() == ",".join(["0.5"] * length)


def test_old_sampler_names_carry_a_schedule() -> None:
    got = [(c.sampler, c.schedule) for c in cells("sampler = DPM++ 2M Karras, Euler")]
    assert got == [("DPM++ 2M", "Karras"), ("Euler", "Automatic")]


def test_builtin_presets_are_taken_apart_by_name() -> None:
    base = request(adapters=(use(blocks="NONE"),))
    text = cells("IN04 = 0.5", base)[0].adapters[0].blocks
    assert text is not None
    weights = parse_block_weights(text, SDXL)
    assert [weights.weight_of("unet.x", name) for name in SDXL.long_blocks] == [
        0.5 if n == "IN04" else 0 for n in SDXL.long_blocks
    ]


def test_keys_follow_what_a_preset_says() -> None:
    keys = []
    for text in (HINA, HINA.replace("0.3", "0.4")):
        context = replace(CONTEXT, presets={"HinaBlock": text}, element_presets={"E": "IN04::1"})
        draft = CellBuilder(request(adapters=(replace(use(blocks="HinaBlock"), elements="E"),)))
        (cell,) = plan_grid(draft, (None, None, None), context, identify=str).cells
        assert (cell.request.adapters[0].blocks, cell.request.adapters[0].elements) == (text, "IN04::1")
        keys.append(cell.key)
    assert keys[0] != keys[1]


def test_files_are_known_by_name(tmp_path: Path) -> None:
    for name in ("hina.safetensors", "a/mio.safetensors", "b/mio.safetensors", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert files_by_name([tmp_path]) == {
        "hina": str(tmp_path / "hina.safetensors"),
        "a/mio": str(tmp_path / "a/mio.safetensors"),
        "b/mio": str(tmp_path / "b/mio.safetensors"),
    }
    assert files_by_name([tmp_path, tmp_path / "a"]) == files_by_name([tmp_path])  # one file, found twice
    assert set(files_by_name([tmp_path / "a", tmp_path / "b"])) == {"a/mio", "b/mio"}


@pytest.mark.parametrize(
    ("x", "y", "what"),
    [
        ("strength = 0, 1", "hina = 0.3, 0.5", "two axes set the strength of hina in the U-Net"),
        ("hina te = 0, 1", "hina = 0.3, 0.5", "two axes set the strength of hina in the text encoders"),
        ("hina = 0.3, 0.5", "te = 0, 1", "two axes set the strength of hina in the text encoders"),
        ("hina IN04-IN08 = 0, 1", "IN05 = 0.5, 1", "two axes set the weight of IN05 in hina"),
        ("hina blocks = ALL", 'original weights = "NONE"', "two axes set the weight of all blocks in hina"),
        ("values = 1", "values = 0", "two axes set values"),
        ("sampler = DPM++ 2M Karras", "schedule = Automatic, Karras", "two axes set the schedule"),
        ("seed = 1, 2", "Seeds = 3, 4", "two axes set Seed"),
    ],
)
def test_two_axes_that_undo_each_other(x: str, y: str, what: str) -> None:
    with pytest.raises(InputError, match="two axes set") as caught:
        cells(x, y=y)
    assert caught.value.what == what
    assert "drop" in str(caught.value.fix)


@pytest.mark.parametrize("turned", [False, True])
def test_axes_that_add_to_each_other(turned: bool) -> None:
    pairs = [
        ("hina te = 0, 1", "hina unet = 0.5, 1"),
        ("hina blocks = ALL, NONE", "hina IN04 = 0.5"),
        ("prompt s/r = smile, cry", "prompt s/r = hat, cap"),
    ]
    got = [cells(*pair[:1], y=pair[1]) for pair in (one[::-1] if turned else one for one in pairs)]
    assert [len({cell.key() for cell in found}) for found in got] == [4, 2, 4]
    assert all("IN04=0.5" in (cell.adapters[0].blocks or "") for cell in got[1])


def test_an_axis_of_an_adapter_that_is_there_twice(tmp_path: Path) -> None:
    twice = request(adapters=(use("a/hina.safetensors"), use("b/hina.safetensors")))
    for text in ("hina = 0, 1", "hina te = 0", "hina blocks = ALL"):
        with pytest.raises(InputError, match="two adapters are called 'hina'") as caught:
            cells(text, twice)
        assert caught.value.where == "a/hina.safetensors and b/hina.safetensors"
    tags = request(prompt="<lora:hina:0.5><lora:hina:0.3>", adapters=())
    with pytest.raises(InputError, match="two adapters are called 'hina'"):
        cells("hina = 0, 1", tags)
    beside = request(adapters=(use("loras/hina.safetensors"), use("loras/mio.safetensors")))
    with pytest.raises(InputError, match="use mio twice"):
        cells("hina lora = hina, mio", beside)


def test_a_copy_under_another_name_counts_once(tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{name}.safetensors") for name in ("hina", "copy", "other")}
    for name, content in (("hina", b"one"), ("copy", b"one"), ("other", b"two")):
        Path(files[name]).write_bytes(content)
    context = replace(CONTEXT, loras=files)
    base = request(adapters=(use(files["hina"]),))
    with pytest.raises(InputError, match="used twice") as caught:
        cells("seed = 1", replace(base, prompt="<lora:copy:0.5>"), context)
    assert files["copy"] in str(caught.value)
    assert len(cells("seed = 1", replace(base, prompt="<lora:other:0.5>"), context)) == 1
    with pytest.raises(InputError, match="use copy twice"):
        cells("copy = 0, 1", base, context)
    assert [len(c.adapters) for c in cells("other = 0, 1", base, context)] == [2, 2]


def test_an_axis_of_checkpoints_beside_a_recipe() -> None:
    with pytest.raises(InputError, match="the recipe makes the model"):
        cells("checkpoint = baseA, baseB", request(adapters=()), replace(CONTEXT, recipe=FakeRecipe()))
