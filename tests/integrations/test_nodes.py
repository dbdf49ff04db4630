"""The nodes for ComfyUI, inside of a stand-in of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib
import torch
from safetensors.torch import load_file

import loralathe
from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from integrations.held import clip_of, unet_of
from integrations.locales import FILE, text_of
from integrations.stand_in import PACK, Host, InterruptProcessingException, checked, in_host
from integrations.workflows import texts, workflows
from loralathe import AdapterUse

LIST = "1,0,0.5,1,1,1,1,1,-0.25,1,1,1,1,1,0,1,1"
AS_WRITTEN = "(as written in blocks)"
Graph = dict[str, dict[str, Any]]


class Draw:
    """A sampler and a VAE: the grey of the picture is what the weights add up to, a pixel is the seed."""

    @staticmethod
    def run(model: Any, clip: Any, seed: int, steps: int = 20) -> tuple[torch.Tensor]:
        weights = [*model.weights().values(), *clip.patcher.weights().values()]
        before = [*model.model.state_dict().values(), *clip.cond_stage_model.state_dict().values()]
        change = sum(float((a - b.float()).abs().mean()) for a, b in zip(weights, before, strict=True))
        picture = torch.full((1, 24, 32, 3), min(0.1 + change / 20, 1.0))
        picture[0, 0, 0] = (seed % 256) / 255
        return (picture,)


class Batch:
    """Two pictures at once."""

    @staticmethod
    def run(image: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.cat([image, image]),)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comfyui")
    return folder / "base"


@pytest.fixture(scope="module")
def host(base: Path) -> Iterator[Host]:
    made = Host(base)
    models = base / "models"
    first = tiny_checkpoint("sd1", seed=1)
    write_safetensors(models / "checkpoints/base.safetensors", first)
    write_safetensors(models / "checkpoints/other.safetensors", second_checkpoint(first, 0.01, 5))
    write_safetensors(models / "loras/hina.safetensors", tiny_lora("sd1", rank=2, alpha=1.0, seed=2))
    write_safetensors(models / "loras/mio.safetensors", tiny_lora("sd1", rank=1, alpha=1.0, seed=3))
    with pytest.MonkeyPatch.context() as patch:
        in_host(made, patch.setitem)
        made.load()
        made.nodes |= {"Draw": Draw, "Batch": Batch}
        yield made


def lora(**fields: object) -> dict[str, Any]:
    usual = {
        "lora": "hina.safetensors", "strength_model": 0.8, "strength_clip": 0.5, "preset": AS_WRITTEN,
        "blocks": LIST, "elements": "",
    }  # fmt: skip
    return {"class_type": "LatheLora", "inputs": usual | fields}


def node(class_type: str, **inputs: object) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def with_lora(**fields: object) -> Graph:
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "2": lora(model=["1", 0], clip=["1", 1], **fields),
        "3": node("Draw", model=["2", 0], clip=["2", 1], seed=7, steps=20),
    }


def merged_by(host: Host, *uses: AdapterUse, dtype: str = "fp32") -> dict[str, torch.Tensor]:
    file = host.base / "models/checkpoints/base.safetensors"
    report = loralathe.merge(file, *uses, output=loralathe.MEMORY, dtype=dtype)
    return dict(report.tensors["merged"])


def hina(host: Host, **fields: Any) -> AdapterUse:
    return AdapterUse(str(host.base / "models/loras/hina.safetensors"), **fields)


def test_a_lora_adds_what_a_merge_adds(host: Host) -> None:
    graph = with_lora()
    model, clip, loras, tag = host.run(graph, "2")
    wanted = merged_by(host, hina(host, te=0.5, unet=0.8, blocks=LIST))
    for patcher, held in ((model, unet_of(wanted)), (clip.patcher, clip_of(wanted))):
        for key, weight in patcher.weights().items():
            assert torch.allclose(weight, held[key], rtol=3e-7, atol=1e-7), key
    assert [use.blocks for use in loras] == [LIST]
    assert tag == f"<lora:hina:0.5:0.8:lbw={LIST}>"


def test_a_stack_is_the_same_as_a_row_of_nodes(host: Host) -> None:
    row = with_lora() | {
        "4": lora(lora="mio.safetensors", blocks="", preset="OUTALL", model=["2", 0], clip=["2", 1])
    }
    stack = {
        "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "2": lora(),
        "4": lora(lora="mio.safetensors", blocks="", preset="OUTALL", loras=["2", 2]),
        "5": node("LatheApply", loras=["4", 2], model=["1", 0], clip=["1", 1]),
    }
    one, other = host.run(row, "4")[0].weights(), host.run(stack, "5")[0].weights()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_stack_of_another_pack_is_taken(host: Host) -> None:
    host.nodes["Other"] = type(
        "Other", (), {"run": staticmethod(lambda: ([("hina.safetensors", 0.8, 0.5)],))}
    )
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "2": node("Other"),
        "3": node("LatheApply", loras=["2", 0], model=["1", 0]),
    }
    model, clip = host.run(graph, "3")
    wanted = unet_of(merged_by(host, hina(host, te=0, unet=0.8)))
    assert clip is None
    assert all(torch.allclose(value, wanted[key], atol=1e-6) for key, value in model.weights().items())


def test_sliders_make_a_list(host: Host) -> None:
    names = [one.id for one in host.nodes["LatheBlocksSD1"].define_schema().inputs]
    graph = {"1": node("LatheBlocksSD1", **{name: index / 20 for index, name in enumerate(names)})}
    (text,) = host.run(graph, "1")
    assert len(names) == 17
    assert text.startswith("0,0.05,0.1,0.15,")


def test_merge_to_model_is_what_the_file_holds(host: Host) -> None:
    graph = with_lora() | {"4": node("LatheMerge", model=["2", 0], clip=["2", 1], dtype="as the base")}
    model, clip, vae, report = host.run(graph, "4")
    wanted = merged_by(host, hina(host, te=0.5, unet=0.8, blocks=LIST), dtype="fp16")
    assert all(torch.equal(value, unet_of(wanted)[key]) for key, value in model.model.state_dict().items())
    held = clip.cond_stage_model.state_dict()
    assert all(torch.equal(value, clip_of(wanted)[key]) for key, value in held.items())
    assert vae == "VAE"
    assert "tensors changed" in report


@pytest.mark.long
def test_save_writes_the_file_of_lathe_merge(host: Host, tmp_path: Path) -> None:
    graph = with_lora() | {
        "4": node("LatheSave", model=["2", 0], clip=["2", 1], dtype="as the base", file="", overwrite=False)
    }
    (report,) = host.run(graph, "4")
    name = report.splitlines()[0]
    made = host.base / "output" / name
    use = hina(host, te=0.5, unet=0.8, blocks=LIST)
    loralathe.merge(
        host.base / "models/checkpoints/base.safetensors", use, output=tmp_path / "merged.safetensors"
    )
    assert without_record(made) == without_record(tmp_path / "merged.safetensors")
    places = [host.base / "models" / kind for kind in ("checkpoints", "loras")]
    assert loralathe.verify(made, search=places, least=1).ok
    with pytest.raises(refused(host), match="overwrite"):
        host.run(graph, "4")
    after_merge = graph | {"5": node("LatheMerge", model=["2", 0], clip=["2", 1], dtype="fp16")}
    after_merge["4"] = node(
        "LatheSave", model=["5", 0], clip=["5", 1], dtype="as the base", file="again", overwrite=False
    )
    host.run(after_merge, "4")
    assert without_record(host.base / "output/checkpoints/again.safetensors") == without_record(made)


def without_record(path: Path) -> tuple[dict[str, Any], str]:
    """(names, types and places, SHA-256 of the data) of a file."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        digest = hashlib.sha256()
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    header.pop("__metadata__")
    return header, digest.hexdigest()


def refused(host: Host) -> type[Exception]:
    return sys.modules[f"{host.pack}.language"].Refused  # type: ignore[no-any-return]


def test_what_is_not_ours_is_not_saved_as_ours(host: Host) -> None:
    class Foreign:
        @staticmethod
        def run(model: Any) -> tuple[Any]:
            clone = model.clone()
            clone.add_patches({next(iter(clone.model.state_dict())): ("diff", (torch.zeros(1),))})
            return (clone,)

    class Nowhere:
        @staticmethod
        def run(first: Any) -> tuple[Any]:
            return (first,)

    host.nodes |= {"Foreign": Foreign, "Nowhere": Nowhere}
    for kind, field, message in (
        ("Foreign", "model", "another node changed"),
        ("Nowhere", "first", "cannot be told"),
    ):
        graph = with_lora() | {
            "4": node(kind, **{field: ["2", 0]}),
            "5": node("LatheSave", model=["4", 0], dtype="fp16", file="x", overwrite=False),
        }
        with pytest.raises(refused(host), match=message):
            host.run(graph, "5")
    graph = with_lora() | {"5": node("LatheSave", model=["1", 0], dtype="fp16", file="x", overwrite=False)}
    with pytest.raises(refused(host), match="no LoRA on this model"):
        host.run(graph, "5")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "..\\x"])
def test_files_stay_in_the_output_folder(host: Host, name: str) -> None:
    graph = with_lora() | {
        "4": node("LatheSave", model=["2", 0], clip=["2", 1], dtype="fp16", file=name, overwrite=True)
    }
    with pytest.raises(refused(host), match="output folder"):
        host.run(graph, "4")


def test_the_analyzer_draws_each_block_with_the_graph(host: Host) -> None:
    graph = with_lora(blocks="") | {
        "4": node(
            "LatheBlockAnalyzer", image=["3", 0], lora="", weights="0,1", blocks="BASE, IN04, OUT03-OUT05",
            encoders=False, seeds=2, threshold=0,
        )
    }  # fmt: skip
    sheet, weights, report = host.run(graph, "4")
    assert sheet.shape[0] == 2
    assert sheet.shape[-1] == 3
    assert [line.split()[0] for line in report.splitlines()[:3]] == ["BASE", "IN04", "OUT03-OUT05"]
    assert "BASE=" in weights or "*=" in weights
    folder = host.base / "output" / report.splitlines()[-1]
    found = json.loads((folder / "blocks.json").read_text("utf-8"))
    assert found["seeds"] == [7, 8]
    drawn = [name for name in host.done if host.graph[name]["class_type"] == "Draw"]
    assert len(drawn) == 8  # not the picture as it stands: nothing asks for it
    assert host.graph["1"]["class_type"] == "CheckpointLoaderSimple"
    assert sum(one["class_type"] == "CheckpointLoaderSimple" for one in host.graph.values()) == 1


def test_the_grid_draws_each_cell_with_the_graph(host: Host) -> None:
    graph = with_lora() | {
        "4": node(
            "LatheStrengthGrid", image=["3", 0], x="hina = 0, 0.4, 0.8", y="seed = 7, 9", z="steps = 20, 30",
            legend=True, most_pictures=12,
        )
    }  # fmt: skip
    sheet, report = host.run(graph, "4")
    assert len(sheet) == 1
    folder = host.base / "output" / report.splitlines()[-1]
    cells = json.loads((folder / "results.json").read_text("utf-8"))["cells"]
    assert len(cells) == 12
    from PIL import Image

    for cell in cells:
        with Image.open(folder / cell["file"]) as image:
            corner, grey = (image.convert("RGB").getpixel(place) for place in ((0, 0), (5, 5)))
        seed, use = cell["request"]["seed"], cell["request"]["adapters"][0]
        assert corner[0] == seed
        assert (grey[0] == 25) == (use["unet"] == 0)
    drawn = [host.graph[name]["inputs"] for name in host.done if host.graph[name]["class_type"] == "Draw"]
    assert {one["steps"] for one in drawn} == {20, 30}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": "sampler = Euler, DDIM"}, "own nodes say what sampler is"),
        ({"x": "hima = 1, 2"}, "no axis"),
        ({"x": "cfg = 5, 7"}, "no node before this picture has a field cfg"),
        ({"x": "seed = 1-20"}, "has 20 cells"),
        ({"x": "lora = hina, none"}, "cannot take a LoRA out"),
        ({"image": ["1", 0]}, "no LoRA before this picture"),
        ({"image": ["5", 0], "x": "hina = 0, 1"}, "one picture at a time"),
    ],
)
def test_what_a_graph_cannot_draw_is_told(host: Host, changes: dict[str, Any], message: str) -> None:
    graph = with_lora() | {"5": node("Batch", image=["3", 0])}
    usual = {"image": ["3", 0], "x": "seed = 1, 2", "y": "", "z": "", "legend": True, "most_pictures": 10}
    graph["4"] = node("LatheStrengthGrid", **(usual | changes))
    with pytest.raises(refused(host), match=message):
        host.run(graph, "4")


def test_a_field_that_another_node_fills_must_be_known(host: Host) -> None:
    class Count:
        @staticmethod
        def run() -> tuple[float]:
            return (0.5,)

    host.nodes["Count"] = Count
    usual = {"image": ["3", 0], "x": "seed = 1, 2", "y": "", "z": "", "legend": True, "most_pictures": 10}
    graph = with_lora(strength_model=["6", 0]) | {"6": node("Count"), "4": node("LatheStrengthGrid", **usual)}
    with pytest.raises(refused(host), match="comes from another node"):
        host.run(graph, "4")
    names = [one.id for one in host.nodes["LatheBlocksSD1"].define_schema().inputs]
    graph = with_lora(blocks=["6", 0]) | {
        "6": node("LatheBlocksSD1", **dict.fromkeys(names, 0.5)), "4": node("LatheStrengthGrid", **usual)
    }  # fmt: skip
    host.run(graph, "4")


@pytest.mark.slow
def test_extracting_and_combining_give_a_lora_to_the_next_node(host: Host) -> None:
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "2": node(
            "LatheExtract", tuned="other.safetensors", base="base.safetensors", rank=4, conv_rank=0,
            dtype="fp16", file="difference", overwrite=False,
        ),
        "3": lora(loras=["2", 0]),
        "4": node(
            "LatheCombine", loras=["3", 2], rank=3, conv_rank=0, dtype="fp16", file="", overwrite=False
        ),
        "5": node("LatheApply", loras=["4", 0], model=["1", 0], clip=["1", 1]),
    }  # fmt: skip
    model, clip = host.run(graph, "5")
    assert model.patches
    assert clip.patcher.patches
    assert (host.base / "output/loras/difference.safetensors").is_file()
    assert "of the difference is in the LoRA" in host.done["2"][1]
    assert "difference.safetensors" in host.names("loras")


@pytest.mark.slow
def test_add_difference_gives_a_model_and_a_file(host: Host, tmp_path: Path) -> None:
    graph = {
        "1": node(
            "LatheAddDifference", a="base.safetensors", b="other.safetensors", c="base.safetensors",
            multiplier=0.5, dtype="as the base", file="", overwrite=False,
        )
    }  # fmt: skip
    model, *_ = host.run(graph, "1")
    models = host.base / "models/checkpoints"
    loralathe.add_difference(
        models / "base.safetensors", models / "other.safetensors", models / "base.safetensors", 0.5,
        output=tmp_path / "x.safetensors",
    )  # fmt: skip
    wanted = unet_of(load_file(tmp_path / "x.safetensors"))
    assert all(torch.equal(value, wanted[key]) for key, value in model.model.state_dict().items())
    graph["1"]["inputs"]["file"] = "sum"
    host.run(graph, "1")
    made = host.base / "output/checkpoints/sum.safetensors"
    assert without_record(made) == without_record(tmp_path / "x.safetensors")


RECIPE = """[inputs]
A = "base"
hina = "hina"
[variables]
M = 1
[steps]
A1 = "A + M*hina"
small = "extract(A1 - A, rank=1)"
[save]
A1 = { file = "A1.safetensors" }
small = { file = "small.safetensors" }
"""


def test_a_recipe_takes_files_of_the_folders_and_writes_into_the_output(host: Host) -> None:
    graph = {"1": node("LatheRecipe", recipe=RECIPE, variables="M=0.5", overwrite=False)}
    (report,) = host.run(graph, "1")
    assert report.startswith("checkpoints/A1.safetensors\nloras/small.safetensors")
    wanted = merged_by(host, hina(host, te=0.5, unet=0.5), dtype="fp16")
    made = load_file(host.base / "output/checkpoints/A1.safetensors")
    assert all(torch.equal(value, wanted[key]) for key, value in made.items())


@pytest.mark.long
def test_a_recipe_reaches_nothing_else(host: Host, tmp_path: Path) -> None:
    outside = write_safetensors(tmp_path / "secret.safetensors", tiny_checkpoint("sd1", seed=1))
    for old, new, message in (
        ('"base"', json.dumps(str(outside)), "ComfyUI's folders alone"),
        ('"A1.safetensors"', json.dumps(str(tmp_path / "out.safetensors")), None),
        ('"A1.safetensors"', '"../../out.safetensors"', None),
    ):
        graph = {"1": node("LatheRecipe", recipe=RECIPE.replace(old, new), variables="", overwrite=True)}
        if message:
            with pytest.raises(refused(host), match=message):
                host.run(graph, "1")
        else:
            host.run(graph, "1")
    assert [one.name for one in tmp_path.iterdir()] == ["secret.safetensors"]
    assert (host.base / "output/checkpoints/out.safetensors").is_file()


def test_looking(host: Host) -> None:
    (text,) = host.run({"1": node("LatheInspect", file="hina.safetensors")}, "1")
    assert "LoRA for SD 1.5" in text
    assert "rank 2" in text
    (text,) = host.run({"1": node("LatheInspect", file="base.safetensors")}, "1")
    assert "SD 1.5" in text
    loads, text = host.run({"1": node("LatheCheck", lora="hina.safetensors", program="all")}, "1")
    assert loads
    assert text.splitlines()[0].startswith("ComfyUI: ")
    assert host.shown["1"] == {"text": [text]}


def test_what_is_seen_is_told_in_the_language_of_the_program(host: Host, settings: Path) -> None:
    assert settings.is_file()
    for file, known in (("hina.safetensors", "SD 1.5 的 LoRA"), ("base.safetensors", "個張量")):
        (text,) = host.run({"1": node("LatheInspect", file=file)}, "1")
        assert known in text
        assert "tensor" not in text.replace(file, "")


@pytest.fixture
def settings(host: Host) -> Iterator[Path]:
    """Those of ComfyUI's user, in Chinese."""
    file = host.base / "user/default/comfy.settings.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('{"Comfy.Locale": "zh-TW"}', "utf-8")
    yield file
    file.unlink(missing_ok=True)


def test_errors_are_told_in_the_language_of_the_program(host: Host, settings: Path) -> None:
    graph = with_lora(blocks="1,2,3")
    with pytest.raises(refused(host), match="3 個分層權重的清單不適用"):
        host.run(graph, "2")
    settings.unlink()
    with pytest.raises(refused(host), match="does not fit"):
        host.run(graph, "2")
    with pytest.raises(refused(host), match="another one is written"):
        host.run(with_lora(preset="OUTALL"), "2")


def test_so_are_errors_of_weights_while_it_samples(host: Host, settings: Path) -> None:
    """A LoRA's numbers are read only then, for each layer that ComfyUI loads."""
    factors = tiny_lora("sd1", rank=2, alpha=1.0, seed=2)
    next(value for name, value in factors.items() if name.endswith("lora_up.weight")).fill_(torch.nan)
    file = write_safetensors(host.base / "models/loras/broken.safetensors", factors)
    try:
        model, clip, *_ = host.run(with_lora(lora=file.name, blocks=""), "2")
        with pytest.raises(refused(host), match=r"張量含有 NaN 或無限大\n  位置：.*broken"):
            _ = model.weights(), clip.patcher.weights()
        settings.unlink()
        with pytest.raises(refused(host), match=r"the tensor holds NaN or infinity\n  where: .*broken"):
            _ = model.weights(), clip.patcher.weights()
    finally:
        file.unlink()


def test_without_a_setting_it_is_the_language_of_the_browser(host: Host, settings: Path) -> None:
    """ComfyUI's page is in the browser's language then, and says so nowhere but in its requests."""

    def spoken(path: str = "/api/prompt", **headers: str) -> str:
        asked = host.ask(path, **headers)
        assert asked.path == path
        with pytest.raises(refused(host)) as told:
            host.run(with_lora(blocks="1,2,3"), "2")
        return "Chinese" if "不適用" in str(told.value) else "English"

    try:
        assert spoken(Accept_Language="en-US,en;q=0.9") == "Chinese"
        assert spoken(Accept_Language="zh-TW", comfy_user="2") == "Chinese"
        assert spoken(Accept_Language="en", comfy_user="2") == "English"
        assert spoken(Accept_Language="en", comfy_user="nobody") == "Chinese"
        settings.unlink()
        assert spoken("/prompt", Accept_Language="zh-TW,zh;q=0.9,en;q=0.8") == "Chinese"
        assert spoken("/api/queue", Accept_Language="en") == "Chinese"
        assert spoken(Accept_Language="ja,zh-TW;q=0.5") == "English"
        assert spoken(Accept_Language="zh-CN") == "English"
    finally:
        assert spoken() == "English"


def test_own_lists_are_known(host: Host) -> None:
    file = host.base / "user/loralathe/lbwpresets.txt"
    file.write_text(f"MyFace:{LIST}\n", "utf-8")
    try:
        schema = host.nodes["LatheLora"].define_schema()
        assert "MyFace" in next(one for one in schema.inputs if one.id == "preset").options["options"]
        own, written = (
            host.run(with_lora(**fields), "2")[0].weights()
            for fields in ({"blocks": "", "preset": "MyFace"}, {})
        )
    finally:
        file.unlink()
    assert all(torch.equal(value, written[key]) for key, value in own.items())


def test_cancel_stops_the_work_and_leaves_nothing(host: Host) -> None:
    graph = with_lora() | {
        "4": node("LatheSave", model=["2", 0], clip=["2", 1], dtype="fp16", file="cancelled", overwrite=False)
    }
    host.run(with_lora(), "2")
    host.interrupted = True
    with pytest.raises(InterruptProcessingException):
        host.run(graph, "4")
    assert not host.interrupted
    assert not (host.base / "output/checkpoints/cancelled.safetensors").exists()
    host.bars.clear()
    host.run(graph, "4")
    assert any(steps and steps[-1][0] == steps[-1][1] for steps in host.bars)


def test_the_pack_says_its_version() -> None:
    said = tomllib.loads((PACK / "pyproject.toml").read_text("utf-8"))
    assert said["project"]["version"] == loralathe.__version__
    assert said["project"]["dependencies"] == ["loralathe"]
    assert said["tool"]["comfy"]["DisplayName"] == "loralathe"
    given = {**said["project"], **said["project"]["urls"], **said["tool"]["comfy"]}
    assert [name for name, value in given.items() if value == ""] == []
    for readme in PACK.glob("README*.md"):
        pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", readme.read_text("utf-8"))
        assert pictures
        assert all((PACK / picture).is_file() for picture in pictures)
    assert "ComfyUI" not in said["project"]["name"]


def test_every_node_keeps_to_the_schema(host: Host) -> None:
    ours = [node for name, node in host.nodes.items() if name.startswith("Lathe")]
    assert len(ours) >= 15
    for one in ours:
        schema = checked(one)
        assert schema.category.startswith("loralathe")
        assert schema.description or "inside" in schema.category


def test_the_chinese_of_the_nodes_is_that_of_the_catalogue(host: Host) -> None:
    ours = [node for name, node in host.nodes.items() if name.startswith("Lathe")]
    assert FILE.read_text("utf-8") == text_of(ours), "run python -m integrations.locales"
    found = json.loads(FILE.read_text("utf-8"))
    assert found["LatheLora"]["display_name"] == "LoRA 與分層權重"
    assert found["LatheLora"]["inputs"]["strength_model"]["name"] == "模型強度"
    assert found["LatheBlocksSDXL"]["display_name"] == "分層權重（SDXL）"


def test_the_examples_are_graphs_of_these_nodes(host: Host) -> None:
    wanted = texts(host)
    there = {path: path.read_text("utf-8") for path in (PACK / "example_workflows").glob("*.json")}
    assert there == wanted, "run python -m integrations.workflows"
    for graph in workflows().values():
        for one in graph.values():
            if one["class_type"].startswith("Lathe"):
                ids = {socket.id for socket in host.nodes[one["class_type"]].define_schema().inputs}
                assert one["inputs"].keys() <= ids


def test_an_older_copy_says_so(host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nodes, pack = dict(host.nodes), host.pack
    copy = tmp_path / "loralathe"
    shutil.copytree(PACK, copy)
    said = (copy / "pyproject.toml").read_text("utf-8")
    (copy / "pyproject.toml").write_text(said.replace(loralathe.__version__, "0.0.1"), "utf-8")
    try:
        host.load(copy)
    finally:
        host.nodes, host.pack = nodes, pack
    assert "these nodes are of version 0.0.1" in caplog.text
    caplog.clear()
    shutil.copytree(PACK, tmp_path / "new")
    try:
        host.load(tmp_path / "new")
    finally:
        host.nodes, host.pack = nodes, pack
    assert caplog.text == ""


def test_without_loralathe_the_fix_is_told(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PACK, tmp_path / "pack")
    pack = host.pack
    monkeypatch.setitem(sys.modules, "loralathe", None)
    with pytest.raises(ImportError, match="pip install loralathe"):
        host.load(tmp_path / "pack")
    host.pack = pack
