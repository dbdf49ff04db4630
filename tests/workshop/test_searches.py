"""Searches, soups and pictures of people by the API: what is asked, what is told, and that it goes on."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from workshop.kit import QUICK, Workshop, request

pytest.importorskip("optuna")

BASE, OTHER, LORA = "checkpoints/baseA.safetensors", "checkpoints/baseB.safetensors", "loras/hina.safetensors"
SEARCH = {**QUICK, "goal": ["diversity"], "check_seeds": 2, "most_seeds": 4}


def send(shop: Workshop, data: bytes, name: str) -> object:
    body = f'--X\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    kind = {"Content-Type": "multipart/form-data; boundary=X"}
    return shop.ask("POST", "/api/pictures", body + data + b"\r\n--X--\r\n", kind)


def test_pictures_of_a_person_are_kept_by_their_content(shop: Workshop) -> None:
    written = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(written, "PNG")
    answers = [send(shop, written.getvalue(), "../my photo.png") for _ in range(2)]
    names = {answer.json["name"] for answer in answers}  # type: ignore[attr-defined]
    (name,) = names
    assert name.startswith("out/pictures/my-photo-")
    served = shop.ask("GET", f"/files/{name}")
    assert served.body == written.getvalue()
    refused = send(shop, b"<svg onload=alert(1)>", "photo.png")
    assert refused.error["what"] == "this is no picture"  # type: ignore[attr-defined]
    listed = shop.ask("POST", "/api/plan", request("make_card", [name], output="hina"))
    assert listed.error["field"] == "model"


def test_what_a_search_may_change_is_asked_of_the_files(shop: Workshop) -> None:
    found = shop.ask("POST", "/api/sweeps", {"checkpoint": BASE, "loras": [LORA]}).json
    assert [one["part"] for one in found] == ["strength", "te", "blocks", "blocks", "blocks"]
    assert {one["lora"] for one in found} == {LORA}
    assert shop.ask("POST", "/api/sweeps", {"checkpoint": BASE, "loras": [BASE]}).error["what"]


def test_plans_say_what_a_search_takes(shop: Workshop) -> None:
    sweep = ["hina strength = 0.5, 1"]
    one = shop.ask("POST", "/api/plan", request("tune", [BASE, LORA], **SEARCH, sweep=sweep)).json
    assert one["pictures"] == 200
    assert ["candidates", "2"] in one["rows"]
    many = request("everywhere", [LORA], **SEARCH, bases=[BASE, OTHER], budget="40 pictures")
    both = shop.ask("POST", "/api/plan", many).json
    assert both["pictures"] == 80
    assert [name for name, _ in both["rows"]] == ["baseA", "baseB"]
    assert "--bases" in both["command_line"]["posix"]
    soup = shop.ask("POST", "/api/plan", request("soup", [LORA, "loras/sailor"], weights=[1, 3])).json
    assert soup["rows"] == [["hina", "0.25"], ["sailor", "0.75"]]
    assert "--weights" in soup["command_line"]["posix"]
    told = shop.ask("POST", "/api/plan", request("soup", [LORA, "loras/sailor"], weights=["x"]))
    assert told.error["field"] == "weights"


def test_where_pictures_are_made_is_an_option_of_every_picture(shop: Workshop) -> None:
    asked = request("grid", [BASE, LORA], **QUICK, on="comfyui://127.0.0.1:1", x="hina = 0, 1")
    plan = shop.ask("POST", "/api/plan", asked)
    assert plan.status == 200, plan.body
    assert "--on comfyui://127.0.0.1:1" in plan.json["command_line"]["posix"]
    wrong = shop.ask("POST", "/api/plan", request("grid", [BASE], **QUICK, on="file:///etc/passwd"))
    assert wrong.error["field"] == "on"


@pytest.mark.long
def test_a_search_is_shown_while_it_runs_and_goes_on_after_a_cancel(shop: Workshop) -> None:
    options = {**SEARCH, "sweep": ["hina strength = 0.3..1.2 (+0.1)"], "budget": "24 pictures"}
    first = shop.add("tune", [BASE, LORA], **options, output="searched")["id"]
    shop.wait(first, "running", cells=4)
    shop.ask("POST", f"/api/jobs/{first}/cancel")
    assert shop.wait(first)["state"] == "cancelled"
    page = shop.get(f"jobs/{first}/page")
    assert page["kind"] == "tune"
    again = shop.ask("POST", f"/api/jobs/{first}/again").json["id"]
    assert shop.wait(again)["state"] == "done"
    data = shop.get(f"jobs/{again}/page")["data"]
    assert data["commands"]["adapters"][0].startswith("hina.safetensors")
    assert data["candidates"][0]["pictures"][0].startswith("/files/out/searched/cells/")
    assert data["stage"] == ""
