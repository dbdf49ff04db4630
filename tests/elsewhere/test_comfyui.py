"""`--on comfyui://…`: graphs that ComfyUI takes, every picture there or named, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL.Image import Image

from elsewhere.asking import drawn, failing, pool_on, quickly
from elsewhere.comfy_stand_in import ComfyStandIn
from elsewhere.conftest import Studio
from loralathe.errors import InputError, MachineError
from loralathe.progress import CallableSink, Cancel, Cancelled, Event, Progress
from loralathe.rendering import Hires, ImageRequest
from loralathe.rendering.elsewhere import comfyui
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.comfyui import comfy_pool
from loralathe.rendering.elsewhere.program import Settings
from loralathe.rendering.infotext import infotext, read_infotext
from loralathe.strengths import AdapterUse
from loralathe.tensorfiles import read_header

__all__ = ["quickly"]
Graph = dict[str, dict[str, Any]]
SEVERAL = "the server has several files called 'baseA.safetensors'"
NO_LORAS = "this folder holds no LoRAs of the program"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfyui, "MISSED_SECONDS", 0.2)


@pytest.fixture
def comfy(tmp_path: Path, studio: Studio) -> ComfyStandIn:
    """A ComfyUI in `ComfyUI`, with the studio's files."""
    loras = tmp_path / "ComfyUI" / "models" / "loras"
    loras.mkdir(parents=True)
    (loras / "hina.safetensors").symlink_to(studio.lora)
    return ComfyStandIn("SD1.5/baseA.safetensors", "other.safetensors", folder=loras)


def nodes(graph: Graph, kind: str) -> list[dict[str, Any]]:
    return [one["inputs"] for one in graph.values() if one["class_type"] == kind]


def node(graph: Graph, kind: str) -> dict[str, Any]:
    (found,) = nodes(graph, kind)
    return found


@pytest.mark.parametrize("newer", [False, True])
def test_a_request_is_a_graph_of_its_own_nodes(comfy: ComfyStandIn, studio: Studio, newer: bool) -> None:
    comfy.newer = newer
    (one,) = studio.requests(1, seed=2**64 - 1, prompt="a (girl:1.2), [hat] \\(x\\)", clip_skip=2)
    with pool_on(comfy) as pool:
        found = drawn(pool, [one])
    (graph,) = comfy.graphs
    assert node(graph, "CheckpointLoaderSimple") == {"ckpt_name": "SD1.5/baseA.safetensors"}
    sampler = node(graph, "KSampler")
    assert (sampler["seed"], sampler["steps"], sampler["cfg"]) == (2**64 - 1, 2, 3.0)
    assert (sampler["sampler_name"], sampler["scheduler"]) == ("euler_ancestral", "normal")
    lora = node(graph, "LoraLoader")
    assert (lora["lora_name"], lora["strength_model"], lora["strength_clip"]) == (
        "hina.safetensors",
        0.0,
        0.0,
    )
    assert node(graph, "CLIPSetLastLayer")["stop_at_clip_layer"] == -2
    assert [one["text"] for one in nodes(graph, "CLIPTextEncode")] == [
        "a (girl:1.2), (hat:0.909091) \\(x\\)", "bad",
    ]  # fmt: skip
    assert not nodes(graph, "SaveImage"), "nothing may stay in the folder of results"
    assert found[0].info == {"parameters": infotext(one, made_with="ComfyUI")}
    assert read_infotext(found[0].info["parameters"]).entries["Seed"] == str(2**64 - 1)
    assert not comfy.history
    assert found[0].size == (64, 64)


@pytest.mark.parametrize(
    ("upscaler", "between"),
    [
        ("Latent", ["LatentUpscale"]),
        ("Latent (nearest-exact)", ["LatentUpscale"]),
        ("Lanczos", ["VAEDecode", "ImageScale", "VAEEncode"]),
    ],
)
def test_hires_fix_is_a_second_sampler(
    comfy: ComfyStandIn, studio: Studio, upscaler: str, between: list[str]
) -> None:
    (one,) = studio.requests(1, hires=Hires(1.5, upscaler, 3, 0.5), width=64, height=96)
    with pool_on(comfy) as pool:
        found = drawn(pool, [one])
    (graph,) = comfy.graphs
    first, second = nodes(graph, "KSampler")
    assert (first["steps"], first["denoise"]) == (2, 1.0)
    assert (second["steps"], second["denoise"]) == (3, 0.5)
    same = first.keys() - {"steps", "denoise", "latent_image"}
    assert {name: first[name] for name in same} == {name: second[name] for name in same}
    kinds = [one["class_type"] for one in graph.values()]
    at = [place for place, kind in enumerate(kinds) if kind == "KSampler"]
    assert kinds[at[0] + 1 : at[1]] == between
    (scaled,) = (inputs for kind in ("LatentUpscale", "ImageScale") for inputs in nodes(graph, kind))
    assert (scaled["width"], scaled["height"]) == (96, 144)
    assert scaled["upscale_method"] == {"Latent": "bilinear", "Lanczos": "lanczos"}.get(
        upscaler, "nearest-exact"
    )
    assert found[0].size == (96, 144)
    assert found[0].info == {"parameters": infotext(one, made_with="ComfyUI")}


def test_without_denoising_it_only_enlarges(comfy: ComfyStandIn, studio: Studio) -> None:
    with pool_on(comfy) as pool:
        drawn(pool, studio.requests(1, hires=Hires(2, denoising=0)))
    assert len(nodes(comfy.graphs[0], "KSampler")) == 1


def test_embeddings_are_named_as_comfyui_does(comfy: ComfyStandIn, studio: Studio) -> None:
    comfy.embeddings = ["style/bad.v2", "easy"]
    (one,) = studio.requests(
        1, prompt="a girl, (Bad.v2:1.2)", negative="x,EASY, uneasy embedding:easy",
        embeddings=("embeddings/bad.v2.safetensors", "embeddings/easy.pt"),
    )  # fmt: skip
    with pool_on(comfy) as pool:
        found = drawn(pool, [one])
    said = [one["text"] for one in nodes(comfy.graphs[0], "CLIPTextEncode")]
    assert said == [
        "a girl, ( embedding:style/bad.v2 :1.2)", "x, embedding:easy , uneasy  embedding:easy ",
    ]  # fmt: skip
    assert found[0].info == {"parameters": infotext(one, made_with="ComfyUI")}


def test_every_cell_arrives_in_its_place(comfy: ComfyStandIn, studio: Studio) -> None:
    wanted, events = studio.requests(9), list[Event]()
    with pool_on(comfy, progress=Progress(CallableSink(events.append))) as pool:
        found = drawn(pool, wanted)
    assert sorted(found) == list(range(9))
    for index, image in found.items():
        assert image.info["parameters"] == infotext(wanted[index], made_with="ComfyUI")
    assert [node(graph, "KSampler")["seed"] for graph in comfy.graphs] == list(range(9))
    assert len({image.tobytes() for image in found.values()}) == 9
    assert events[-1].done == events[-1].total == 18


def test_two_servers_share_the_cells(tmp_path: Path, comfy: ComfyStandIn, studio: Studio) -> None:
    other = ComfyStandIn("baseA.safetensors", folder=comfy.folder)
    comfy.faults.seconds = other.faults.seconds = 0.02
    with pool_on(comfy, other) as pool:
        assert len(drawn(pool, studio.requests(12))) == 12
    assert len(comfy.graphs) + len(other.graphs) == 12
    assert min(len(comfy.graphs), len(other.graphs)) >= 2


Spoil = Callable[[ComfyStandIn], None]
FAULTS: dict[str, Spoil] = {
    "a full queue": lambda stand_in: setattr(stand_in.faults, "busy", 2),
    "a dropped connection": lambda stand_in: stand_in.faults.dropped.update({"/prompt": 1}),
    "a dropped picture": lambda stand_in: stand_in.faults.dropped.update({"/view": 2}),
    "a dropped list": lambda stand_in: stand_in.faults.dropped.update({"/queue": 1}),
    "too little memory": lambda stand_in: stand_in.faults.memory.update({3: 1}),
    "a slow server": lambda stand_in: setattr(stand_in.faults, "seconds", 0.3),
}


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_no_cell_is_lost(comfy: ComfyStandIn, studio: Studio, fault: str) -> None:
    with pool_on(comfy) as pool:
        pool.render(studio.requests(1), lambda index, image: None)
        FAULTS[fault](comfy)
        found = drawn(pool, studio.requests(5))
    assert sorted(found) == list(range(5))
    assert comfy.freed == (fault == "too little memory")


def test_a_cell_that_never_fits_is_named(comfy: ComfyStandIn, studio: Studio) -> None:
    comfy.faults.memory[3] = 99
    found: dict[int, Image] = {}
    with pool_on(comfy) as pool, pytest.raises(MachineError) as caught:
        pool.render(studio.requests(6), found.__setitem__)
    assert sorted(found) == [0, 1, 2, 4, 5]
    assert caught.value.what.startswith("1 picture could not be drawn: ComfyUI at 127.0.0.1:")
    assert caught.value.what.endswith("out of memory")
    assert caught.value.where == "seed 3 hina:0.75 'a girl'"


def test_a_server_that_goes_away_names_the_rest(comfy: ComfyStandIn, studio: Studio) -> None:
    found: dict[int, Image] = {}

    def receive(index: int, image: Image) -> None:
        found[index] = image
        comfy.faults.dropped.update(dict.fromkeys(("/prompt", "/view", f"/history/{index}"), 10**6))
        comfy.faults.busy = 10**6

    with pool_on(comfy) as pool, pytest.raises(MachineError, match="could not be drawn") as caught:
        pool.render(studio.requests(9), receive)
    assert 1 <= len(found) < 9
    assert f"{9 - len(found)} pictures" in caught.value.what


def test_a_graph_that_somebody_took_out_is_drawn_again(comfy: ComfyStandIn, studio: Studio) -> None:
    comfy.faults.seconds = 0.1
    taken: list[int] = []

    def receive(index: int, image: Image) -> None:
        with comfy.lock:
            if not taken:
                taken.append(len(comfy.waiting))
                comfy.waiting.clear()

    with pool_on(comfy) as pool:
        seen: list[int] = []
        pool.render(studio.requests(4), lambda index, image: (seen.append(index), receive(index, image))[0])
    assert sorted(seen) == [0, 1, 2, 3]
    assert taken[0] > 0


def test_cancelling_takes_back_what_is_ours(comfy: ComfyStandIn, studio: Studio) -> None:
    comfy.faults.seconds = 30
    cancel = Cancel()
    with pool_on(comfy, progress=Progress(cancel=cancel)) as pool:
        comfy.when(lambda: comfy.current, cancel.cancel)
        with pytest.raises(Cancelled):
            drawn(pool, studio.requests(6))
        assert not comfy.waiting
        assert len(comfy.interrupted) == 1


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"prompt": "a cat AND a dog"}, "do not read AND"),
        ({"prompt": "[cat:dog:1]"}, "a prompt that changes with the step"),
        ({"prompt": "cat BREAK dog"}, "do not read BREAK"),
        ({"hires": Hires(2, "Latent (antialiased)")}, "ComfyUI has no upscaler 'Latent (antialiased)'"),
        ({"hires": Hires(2), "prompt": "[cat:dog:3]"}, "a prompt that changes with the step"),
        ({"embeddings": ("badhand.pt",)}, "the server has no embedding 'badhand.pt'"),
        ({"embeddings": ("my.pt",)}, "cannot name an embedding with a blank in its name"),
        ({"guidance": 3.5}, "no guidance as a number"),
        ({"sampler": "PLMS"}, "ComfyUI has no sampler 'PLMS'"),
        ({"schedule": "Polyexponential"}, "ComfyUI has no schedule 'Polyexponential'"),
        ({"vae": "mine.safetensors"}, "the server has no VAE 'mine.safetensors'"),
        ({"adapters": (AdapterUse("hina.safetensors", start=1),)}, "on and off between steps"),
    ],
)
def test_what_cannot_be_said_there_is_told_first(
    comfy: ComfyStandIn, studio: Studio, changes: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(studio.lora.parent)
    good, bad = studio.requests(1), studio.requests(1, **changes)
    if "adapters" in changes:
        bad = [replace(bad[0], adapters=changes["adapters"])]
    comfy.embeddings = ["two words/my"]
    with pool_on(comfy) as pool:
        assert what in failing(pool, [*good, *bad]).what
    assert not comfy.graphs


def test_names_that_the_server_lacks(comfy: ComfyStandIn, studio: Studio) -> None:
    comfy.files["checkpoints"] = ["baseB.safetensors"]
    with pool_on(comfy) as pool:
        error = failing(pool, studio.requests(1))
    assert error.what == "the server has no checkpoint 'baseA.safetensors'"
    assert error.fix == "it has 'baseB.safetensors'"
    comfy.files["checkpoints"] = ["a/baseA.safetensors", "b\\baseA.safetensors"]
    with pool_on(comfy) as pool:
        assert failing(pool, studio.requests(1)).what == SEVERAL


def weighted(studio: Studio, *lists: str) -> list[ImageRequest]:
    (one,) = studio.requests(1)
    use = AdapterUse(str(studio.lora), te=0.5, unet=0.8)
    return [replace(one, adapters=(replace(use, blocks=blocks),)) for blocks in lists]


def test_block_weights_are_small_files_for_a_while(
    comfy: ComfyStandIn, studio: Studio, tmp_path: Path
) -> None:
    """Parts keep their tensors byte for byte, have the block's weight as strength, and do not stay."""
    assert comfy.folder is not None
    wanted = weighted(studio, "BASE=0.5, IN04=0.25, *=0", "BASE=1, IN04=0.5, *=0", "*=0.5")
    listed: list[set[str]] = []
    with pool_on(comfy, folder=tmp_path / "ComfyUI") as pool:
        pool.render(wanted, lambda index, image: listed.append(set(comfy.loras())))
        first, second, third = (nodes(graph, "LoraLoader") for graph in comfy.graphs)
        strengths = [
            [(one["strength_clip"], one["strength_model"]) for one in some] for some in (first, second, third)
        ]
        assert strengths == [[(0.25, 0.4), (0.125, 0.2)], [(0.5, 0.8), (0.25, 0.4)], [(0.25, 0.4)]]
        assert [one["lora_name"] for one in first] == [one["lora_name"] for one in second]
        assert third[0]["lora_name"] == "hina.safetensors"
        whole, parts = read_header(studio.lora), [comfy.folder / one["lora_name"] for one in first]
        keys = [set(read_header(part).tensors) for part in parts]
        assert keys[0].isdisjoint(keys[1])
        assert keys[0] | keys[1] < set(whole.tensors)
        assert all(key.startswith("lora_te_") for key in keys[0])
        assert all(key.startswith("lora_unet_down_blocks_1_attentions_0_") for key in keys[1])
        assert sum(part.stat().st_size for part in parts) < studio.lora.stat().st_size
    assert comfy.loras() == ["hina.safetensors"]


def test_block_weights_need_the_folder(comfy: ComfyStandIn, studio: Studio, tmp_path: Path) -> None:
    with pool_on(comfy) as pool:
        error = failing(pool, weighted(studio, "IN04=0.5, *=1"))
    assert error.what.startswith("a server knows no block weights")
    assert error.about == "comfyui"
    with pool_on(comfy, folder=tmp_path) as pool:
        assert (
            failing(pool, weighted(studio, "IN04=0.5, *=1")).what
            == "this folder holds no LoRAs of the program"
        )
    (tmp_path / "elsewhere" / "models" / "loras").mkdir(parents=True)
    with pool_on(comfy, folder=tmp_path / "elsewhere") as pool:
        error = failing(pool, weighted(studio, "IN04=0.5, *=1"))
    assert error.what == "the server does not find the parts of a LoRA that were written for it"
    assert not list((tmp_path / "elsewhere").rglob("*.safetensors"))


ANSWERS = {
    "redirect": (
        (302, {"Location": "http://127.0.0.1:9/"}, b""),
        InputError,
        "sends requests on to another address",
    ),
    "password": ((401, {}, b""), InputError, "the server wants to know who asks"),
    "not JSON": ((200, {}, b"<html>"), InputError, "something that is not JSON"),
    "another program": ((404, {}, b""), InputError, "the server does not know /object_info"),
    "broken off": ((200, {"Content-Length": "100"}, b"{}"), InputError, "there is no answer from ComfyUI"),
    "without nodes": ((200, {}, b"{}"), InputError, "this is not a ComfyUI"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_that_are_none(comfy: ComfyStandIn, studio: Studio, case: str) -> None:
    answer, kind, what = ANSWERS[case]
    comfy.faults.answer.update({f"/object_info/{name}": answer for name in comfy.nodes()})
    with pool_on(comfy) as pool, pytest.raises(kind) as caught:
        drawn(pool, studio.requests(1))
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no picture", "sent no picture that can be read"),
        (b"x" * (2 << 20), "sent more than 1,064,960 bytes"),
    ],
)
def test_pictures_that_are_none(comfy: ComfyStandIn, studio: Studio, body: bytes, reason: str) -> None:
    comfy.faults.answer["/view"] = (200, {}, body)
    with pool_on(comfy) as pool, pytest.raises(MachineError, match="could not be drawn") as caught:
        drawn(pool, studio.requests(1))
    assert reason in caught.value.what


def test_nobody_is_there(studio: Studio) -> None:
    with comfy_pool([Server("comfyui", "127.0.0.1", 9)], Settings()) as pool:
        error = failing(pool, studio.requests(1))
    assert error.what.startswith("there is no answer from ComfyUI")
