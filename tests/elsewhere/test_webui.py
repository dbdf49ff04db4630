"""`--on a1111://…`: payloads that A1111 and Forge take, every picture there or named, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL.Image import Image

from elsewhere.asking import drawn, failing, pool_on, quickly
from elsewhere.conftest import Studio
from elsewhere.webui_stand_in import WebuiStandIn
from loralathe.errors import MachineError
from loralathe.progress import CallableSink, Cancel, Cancelled, Event, Progress
from loralathe.rendering import Hires
from loralathe.rendering.elsewhere import webui
from loralathe.rendering.infotext import infotext
from loralathe.strengths import AdapterUse

__all__ = ["quickly"]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webui, "LOOK_SECONDS", 0.05)


@pytest.fixture
def loras(tmp_path: Path, studio: Studio) -> Path:
    folder = tmp_path / "webui" / "models" / "Lora"
    folder.mkdir(parents=True)
    (folder / "hina.safetensors").symlink_to(studio.lora)
    return folder


@pytest.fixture
def a1111(loras: Path) -> WebuiStandIn:
    return WebuiStandIn("baseA.safetensors", "other.safetensors", folder=loras)


def test_a_request_is_a_payload(a1111: WebuiStandIn, studio: Studio) -> None:
    a1111.modules, a1111.embeddings = ["fine.safetensors"], ["badhand"]
    (one,) = studio.requests(
        1, seed=11, prompt="a (girl:1.2)", clip_skip=2, vae="fine.safetensors", sampler="DPM++ 2M",
        schedule="Karras", embeddings=("embeddings/badhand.pt",), hires=Hires(1.5, "Latent", 3, 0.5),
        adapters=(AdapterUse(str(studio.lora), te=0.5, unet=0.75),),
    )  # fmt: skip
    with pool_on(a1111) as pool:
        found = drawn(pool, [one])
    (payload,) = a1111.payloads
    assert payload == {
        "prompt": "a (girl:1.2) <lora:hina:0.5:0.75>",
        "negative_prompt": "bad",
        "seed": 11,
        "steps": 2,
        "cfg_scale": 3.0,
        "width": 64,
        "height": 64,
        "sampler_name": "DPM++ 2M",
        "scheduler": "Karras",
        "batch_size": 1,
        "n_iter": 1,
        "send_images": True,
        "save_images": False,
        "override_settings": {
            "sd_model_checkpoint": "baseA.safetensors [0123456789]",
            "CLIP_stop_at_last_layers": 2,
            "randn_source": "CPU",
            "samples_format": "png",
            "sd_vae": "fine",
        },
        "enable_hr": True,
        "hr_scale": 1.5,
        "hr_upscaler": "Latent",
        "hr_second_pass_steps": 3,
        "denoising_strength": 0.5,
    }
    assert found[0].size == (96, 96)
    assert found[0].info == {"parameters": infotext(one, made_with="A1111")}


def test_forge_takes_its_own_settings(loras: Path, studio: Studio) -> None:
    forge = WebuiStandIn("baseA.safetensors", folder=loras, forge=True)
    forge.modules = ["fine.safetensors", "t5.safetensors"]
    with pool_on(forge, encoders=("t5.safetensors",)) as pool:
        drawn(pool, studio.requests(1, vae="fine.safetensors"))
    (payload,) = forge.payloads
    assert payload["override_settings"]["forge_additional_modules"] == ["fine", "t5"]
    assert "sd_vae" not in payload["override_settings"]
    assert payload["hr_additional_modules"] == ["Use same choices"]
    assert payload["hr_cfg"] == payload["cfg_scale"] == 3.0


def test_every_cell_arrives_in_its_place(a1111: WebuiStandIn, studio: Studio) -> None:
    wanted, events = studio.requests(5), list[Event]()
    a1111.faults.seconds = 0.12
    with pool_on(a1111, progress=Progress(CallableSink(events.append))) as pool:
        found = drawn(pool, wanted)
    assert sorted(found) == list(range(5))
    for index, image in found.items():
        assert image.info["parameters"] == infotext(wanted[index], made_with="A1111")
    assert [payload["seed"] for payload in a1111.payloads] == list(range(5))
    steps = [event.done for event in events if event.kind == "advance"]
    assert steps == sorted(steps)
    assert steps[-1] == 10
    assert a1111.count("/sdapi/v1/progress") >= 5


Spoil = Callable[[WebuiStandIn], None]
FAULTS: dict[str, Spoil] = {
    "a full queue": lambda stand_in: setattr(stand_in.faults, "busy", 2),
    "a dropped connection": lambda stand_in: stand_in.faults.dropped.update({"/sdapi/v1/txt2img": 2}),
    "no word of progress": lambda stand_in: stand_in.faults.dropped.update({"/sdapi/v1/progress": 3}),
    "too little memory": lambda stand_in: stand_in.faults.memory.update({3: 1}),
    "a slow server": lambda stand_in: setattr(stand_in.faults, "seconds", 0.2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_cell_is_lost(a1111: WebuiStandIn, studio: Studio, fault: str) -> None:
    with pool_on(a1111) as pool:
        pool.render(studio.requests(1), lambda index, image: None)
        FAULTS[fault](a1111)
        found = drawn(pool, studio.requests(5))
    assert sorted(found) == list(range(5))


def test_a_cell_that_never_fits_is_named(a1111: WebuiStandIn, studio: Studio) -> None:
    a1111.faults.memory[3] = 99
    found: dict[int, Image] = {}
    with pool_on(a1111) as pool, pytest.raises(MachineError) as caught:
        pool.render(studio.requests(6), found.__setitem__)
    assert sorted(found) == [0, 1, 2, 4, 5]
    assert caught.value.what.endswith("out of memory")
    assert caught.value.where == "seed 3 hina:0.75 'a girl'"


def test_pictures_of_another_model_are_not_taken(a1111: WebuiStandIn, studio: Studio) -> None:
    """A1111 draws with the model that it has where it does not find another."""
    a1111.draws_with = "other.safetensors [0123456789]"
    found: dict[int, Image] = {}
    with pool_on(a1111) as pool, pytest.raises(MachineError) as caught:
        pool.render(studio.requests(2), found.__setitem__)
    assert not found
    assert "drew with the model 'other' instead of 'baseA'" in caught.value.what


def test_cancelling_interrupts(a1111: WebuiStandIn, studio: Studio) -> None:
    a1111.faults.seconds = 30
    cancel = Cancel()
    with pool_on(a1111, progress=Progress(cancel=cancel)) as pool:
        a1111.when(lambda: a1111.busy_with, cancel.cancel)
        with pytest.raises(Cancelled):
            drawn(pool, studio.requests(6))
    assert a1111.interrupts == 1


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"embeddings": ("badhand.pt",)}, "the server has no embedding 'badhand'"),
        ({"guidance": 3.5}, "A1111 takes no distilled guidance"),
        ({"sampler": "PLMS"}, "the server has no sampler 'PLMS'"),
        ({"schedule": "KL Optimal"}, "the server has no schedule 'KL Optimal'"),
        ({"vae": "mine.safetensors"}, "the server has no VAE 'mine.safetensors'"),
        ({"hires": Hires(2, "Nearest")}, "the server has no upscaler 'Nearest'"),
    ],
)
def test_what_cannot_be_said_there_is_told_first(
    a1111: WebuiStandIn, studio: Studio, changes: dict[str, Any], what: str
) -> None:
    with pool_on(a1111) as pool:
        assert what in failing(pool, [*studio.requests(1), *studio.requests(1, **changes)]).what
    assert not a1111.payloads


def test_a_lora_is_taken_once(a1111: WebuiStandIn, studio: Studio) -> None:
    twice = (AdapterUse(str(studio.lora), 0.5, 0.5), AdapterUse(str(studio.lora), 0.25, 0.25))
    with pool_on(a1111) as pool:
        assert failing(pool, studio.requests(1, adapters=twice)).what == "A1111 takes a LoRA once"


def test_block_weights_are_small_files_for_a_while(
    a1111: WebuiStandIn, studio: Studio, loras: Path, tmp_path: Path
) -> None:
    (one,) = studio.requests(1)
    use = AdapterUse(str(studio.lora), te=0.5, unet=0.8, blocks="BASE=0.5, IN04=0.25, *=0")
    with pool_on(a1111, folder=tmp_path / "webui") as pool:
        drawn(pool, [replace(one, adapters=(use,))])
        parts = sorted(path.stem for path in loras.iterdir() if path.stem != "hina")
        (payload,) = a1111.payloads
        tags = payload["prompt"].removeprefix("a girl <lora:").removesuffix(">").split("><lora:")
    assert len(parts) == 2
    assert sorted(tag.split(":")[0] for tag in tags) == parts
    assert {tag.partition(":")[2] for tag in tags} == {"0.25:0.4", "0.125:0.2"}
    assert [path.name for path in loras.iterdir()] == ["hina.safetensors"]


def test_nobody_else_answers(a1111: WebuiStandIn, studio: Studio) -> None:
    a1111.faults.answer["/sdapi/v1/options"] = (404, {}, b'{"detail":"Not Found"}')
    with pool_on(a1111) as pool:
        error = failing(pool, studio.requests(1))
    assert error.what == "the server does not know /sdapi/v1/options"
    assert error.fix == "check the address, and that the program is new enough and began with its API"
