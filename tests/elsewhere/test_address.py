"""What a person writes after --on, and what servers call files and samplers."""

from __future__ import annotations

import pytest

from loralathe.errors import InputError
from loralathe.families import FAMILIES
from loralathe.families.comfyui import COMFY
from loralathe.rendering.elsewhere.address import Server, read_places
from loralathe.rendering.elsewhere.comfy_graph import comfy_text
from loralathe.rendering.elsewhere.names import (
    COMFY_SAMPLERS,
    COMFY_SCHEDULES,
    COMFY_UPSCALERS,
    comfy_schedule,
    of_server,
)
from loralathe.rendering.hires import UPSCALERS
from loralathe.rendering.prompts import plan_prompt
from loralathe.rendering.samplers import SAMPLERS, SCHEDULES


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("comfyui://127.0.0.1:8188", [Server("comfyui", "127.0.0.1", 8188)]),
        ("comfyui://gpu-1.lan", [Server("comfyui", "gpu-1.lan", 8188)]),
        ("a1111://localhost", [Server("a1111", "localhost", 7860)]),
        ("comfyui+https://x.example.org/", [Server("comfyui", "x.example.org", 443, secure=True)]),
        ("comfyui://[::1]:9", [Server("comfyui", "::1", 9)]),
        ("a1111://a, a1111://b:1", [Server("a1111", "a", 7860), Server("a1111", "b", 1)]),
    ],
)
def test_addresses(text: str, places: list[Server]) -> None:
    assert list(read_places(text)) == places


@pytest.mark.parametrize(
    "text",
    [
        "", "comfyui", "comfyui://", "http://127.0.0.1:8188", "comfyui://user:word@host", "comfyui://host/path",
        "comfyui://host?x=1", "comfyui://host:", "comfyui://host:0", "comfyui://host:65536",
        "comfyui://ho st", "comfyui://host\r\nX: y", "comfyui://-host", "file:///etc/passwd", "comfyui://a, a1111://b",
        "comfyui://a, comfyui://a", "comfyui://" + "a" * 300, ",".join(f"comfyui://h{n}" for n in range(65)),
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InputError):
        read_places(text)


def test_names_are_found_by_the_longest_end_of_the_path() -> None:
    known = ["sdxl/hina.safetensors", "sd15\\hina.safetensors", "mio.safetensors", "stems/aya"]

    def named(file: str) -> str:
        return of_server(file, known, "LoRA", "there", folder="models/loras")

    assert named("/me/models/loras/sdxl/hina.safetensors") == "sdxl/hina.safetensors"
    assert named("C:\\models\\sd15\\hina.safetensors") == "sd15\\hina.safetensors"
    assert named("/elsewhere/Mio.safetensors") == "mio.safetensors"
    assert named("aya.safetensors") == "stems/aya"
    with pytest.raises(InputError) as caught:
        named("/me/hina.safetensors")
    assert caught.value.what == "the server has several files called 'hina.safetensors'"
    with pytest.raises(InputError) as caught:
        named("mia.safetensors")
    assert caught.value.fix == "it has 'mio.safetensors'"


def test_tables_name_samplers_and_families_that_there_are() -> None:
    assert SAMPLERS.keys() - COMFY_SAMPLERS.keys() == {"PLMS"}
    assert SCHEDULES.keys() - COMFY_SCHEDULES.keys() == {"Polyexponential", "Align Your Steps"}
    assert COMFY_UPSCALERS.keys() < UPSCALERS.keys()
    known = {family.id for family in FAMILIES} - {"toy"}  # which another test adds
    assert known - COMFY.keys() == {"sdxl-refiner"}
    names = list(COMFY_SCHEDULES.values())
    assert comfy_schedule("Automatic", "DPM++ 2M", names, flow=False) == "karras"
    assert comfy_schedule("Automatic", "Euler", names, flow=False) == "normal"
    assert comfy_schedule("Automatic", "Euler", names, flow=True) == "simple"


@pytest.mark.parametrize(
    ("prompt", "plain", "text"),
    [
        ("a girl", False, "a girl"),
        ("(a:1.3) b", False, "(a:1.3) b"),
        ("((a)) [b]", False, "(a:1.21) (b:0.909091)"),
        ("\\(a\\)", False, "\\(a\\)"),
        ("(x \\(y\\):0.5)", False, "(x \\(y\\):0.5)"),
        ("f(x) (a:1.3)", True, "f\\(x\\) \\(a:1.3\\)"),
    ],
)
def test_prompts_are_said_as_comfyui_reads_them(prompt: str, plain: bool, text: str) -> None:
    assert comfy_text(plan_prompt(prompt, 4), plain=plain) == text
