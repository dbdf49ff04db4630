"""No request reads or writes outside of the folders: by any field, any address, any link."""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from workshop.kit import QUICK, Workshop, request

BASE, LORA = "checkpoints/baseA.safetensors", "loras/hina.safetensors"
OUTSIDE = [
    "/etc/hostname",
    "out//etc/hostname",
    "../secret",
    "out/../models/hina.safetensors",
    "loras/../../outside/secret.safetensors",
    "loras/./hina.safetensors",
    "out/..",
    "out",
    "out/",
    "loras/hina.safetensors\0",
    "loras/a\\..\\b",
    "C:/Windows/win.ini",
    "loras/nul",
    "file:///etc/hostname",
    "~/secret",
    "loras/" + "a" * 300,
    "loras/" + "字" * 130,
]
FIELDS = [
    request("grid", [BASE, "?"], **QUICK),
    request("grid", ["?"], **QUICK),
    request("grid", [], recipe="?", **QUICK),
    request("grid", [BASE], vae="?", **QUICK),
    request("grid", [BASE], presets="?", **QUICK),
    request("grid", [BASE], element_presets="?", **QUICK),
    request("grid", [BASE], styles="?", **QUICK),
    request("grid", [BASE], photo=["?"], **QUICK),
    request("grid", [BASE], scorers=["identity=?"], **QUICK),
    request("blocks", [BASE, "?:0.7"], **QUICK),
    request("merge", ["?", LORA]),
    request("merge", [BASE, LORA], vae="?"),
    request("combine", ["?", LORA]),
    request("extract", [BASE, "?"]),
    request("resize", ["?"], rank=4),
    request("add_difference", [BASE, BASE, "?", 1]),
    request("convert", ["?"], dtype="fp16"),
    request("run", ["?"]),
    request("compare", [BASE, "?"]),
    request("compare", [BASE, BASE], base="?"),
    request("verify", ["?"]),
    request("block_weights", [BASE, "?"]),
]


def with_name(value: object, name: str) -> object:
    """The same with the name for its question mark."""
    if isinstance(value, dict):
        return {key: with_name(one, name) for key, one in value.items()}
    if isinstance(value, list):
        return [with_name(one, name) for one in value]
    return value.replace("?", name) if isinstance(value, str) else value


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: name[:24])
def test_no_field_names_a_file_outside(shop: Workshop, name: str) -> None:
    for field in FIELDS:
        for address in ("plan", "jobs"):
            answer = shop.ask("POST", f"/api/{address}", with_name(field, name))
            assert answer.status == 422, (field, answer.body)
            assert answer.error["fix"]


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: name[:24])
def test_no_result_goes_outside(shop: Workshop, name: str) -> None:
    assert shop.ask("POST", "/api/queue/pause").json == {"paused": True}
    for command, words in (("grid", [BASE]), ("merge", [BASE, LORA]), ("render", [BASE])):
        options = QUICK if command != "merge" else {}
        answer = shop.ask("POST", "/api/jobs", request(command, [*words], output=name, **options))
        assert answer.status == 422 or answer.json["state"] == "waiting"
        if answer.status == 201:  # a name that is an ordinary one inside `out`
            assert shop.ask("POST", f"/api/jobs/{answer.json['id']}/cancel").status == 200
            assert name.startswith(("loras/", "~/")) or name == "out"
    assert shop.ask("POST", "/api/queue/resume").json == {"paused": False}


@pytest.mark.parametrize(
    "name", ["profiles/x", "recipes/x", "workshop.sqlite", "lbwpresets.txt", "Recipes/x", "out/profiles"]
)
def test_no_result_goes_where_the_workshop_keeps_its_own(shop: Workshop, name: str) -> None:
    answer = shop.ask("POST", "/api/jobs", request("grid", [BASE], output=name, **QUICK))
    assert "taken" in answer.error["what"]


@pytest.mark.parametrize("address", ["file", "thumbnail", "recorded", "library"])
@pytest.mark.parametrize("name", OUTSIDE[:8], ids=lambda name: name[:24])
def test_no_query_reads_outside(shop: Workshop, address: str, name: str) -> None:
    field = "base" if address == "library" else "name"
    assert shop.ask("GET", f"/api/{address}?kind=lora&{field}={quote(name)}").error


@pytest.mark.parametrize(
    "path",
    [
        "/files/out/../models/hina.safetensors",
        "/files/out/%2e%2e/models/hina.safetensors",
        "/files//etc/hostname",
        "/files/out/workshop.sqlite",
        "/files/loras/hina.safetensors",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/study/../../cli/app.py",
        "/api/recipes/..%2f..%2fx",
        "/api/recipes/%2e%2e",
        "/api/jobs/..%2fx",
        "/api/nothing",
    ],
)
def test_no_address_reads_outside(shop: Workshop, path: str) -> None:
    answer = shop.ask("GET", path)
    assert answer.status in (404, 405, 422)
    assert answer.error


@pytest.mark.parametrize("name", ["..", ".x", "a/b", "a\\b", "a\nb", "a\0b", "x" * 81, "nul", "字" * 80])
def test_recipes_and_profiles_have_names_and_no_paths(shop: Workshop, name: str) -> None:
    for kind, body in (("recipes", {"text": "x"}), ("profiles", {"settings": {"steps": 3}})):
        answer = shop.ask("PUT", f"/api/{kind}/{quote(name, safe='')}", body)
        if answer.status == 200:
            assert (shop.out / kind / f"{name}.toml").is_file()
            assert shop.ask("DELETE", f"/api/{kind}/{quote(name, safe='')}").status == 200
        assert answer.status == 200 if name == "字" * 80 else answer.error


@pytest.mark.parametrize("name", ["a:b", "a\nb", " "])
def test_names_of_block_lists_stay_in_their_line(shop: Workshop, name: str) -> None:
    assert shop.ask("PUT", f"/api/presets/{quote(name, safe='')}", {"list": "1,0"}).status >= 400
    assert shop.ask("PUT", "/api/presets/mine", {"list": "1,0\nother:1"}).error
    assert shop.get("presets")["lists"] == {}


def test_links_pipes_and_devices_are_no_files(shop: Workshop, outside: Path) -> None:
    made = {
        "link.safetensors": lambda path: path.symlink_to(outside / "secret.safetensors"),
        "folder": lambda path: path.symlink_to(outside),
        "zero.safetensors": lambda path: path.symlink_to("/dev/zero"),
        "pipe.safetensors": os.mkfifo,
        "pipe.pt": os.mkfifo,
    }
    for place in (shop.models, shop.out):
        for name, make in made.items():
            make(place / name)
    (shop.out / "profiles").mkdir(exist_ok=True)
    (shop.out / "recipes").mkdir(exist_ok=True)
    for folder in ("profiles", "recipes"):
        (shop.out / folder / "linked.toml").symlink_to("/etc/hostname")
        os.mkfifo(shop.out / folder / "pipe.toml")
    (shop.out / "grid.html").symlink_to("/etc/hostname")
    try:
        for place in ("loras", "out"):
            for name in ("link", "link.safetensors", "folder/secret.safetensors", "zero", "pipe", "pipe.pt"):
                answer = shop.ask("POST", "/api/jobs", request("grid", [BASE, f"{place}/{name}"], **QUICK))
                assert answer.error["where"] == f"{place}/{name}"
        assert shop.ask("GET", "/files/out/grid.html").error
        assert shop.ask("GET", "/api/recipes/linked").error
        assert shop.ask("GET", "/api/recipes/pipe").error
        assert shop.get("profiles") == {}
        assert shop.ask("POST", "/api/jobs", request("merge", [BASE, LORA], output="folder/x")).error
        files = {one["name"]: one for one in shop.get("library?kind=lora")["files"]}
        assert files["loras/link.safetensors"]["state"] == "broken"
        assert "leads out" in files["loras/link.safetensors"]["reason"]
        assert not [name for name in files if "folder/" in name or "pipe" in name or "zero" in name]
    finally:
        for place in (shop.models, shop.out):
            for name in made:
                (place / name).unlink()
        for folder in ("profiles", "recipes"):
            for name in ("linked.toml", "pipe.toml"):
                (shop.out / folder / name).unlink()
        (shop.out / "grid.html").unlink()


def test_a_name_in_no_language_hides_no_other_file(shop: Workshop) -> None:
    path = os.fsencode(shop.models) + b"/\xff\xfe.safetensors"
    Path(os.fsdecode(path)).write_bytes(b"x")
    try:
        time.sleep(0.1)
        names = [one["name"] for one in shop.get("library?kind=lora")["files"]]
        assert "loras/hina.safetensors" in names
    finally:
        os.remove(path)


@pytest.mark.parametrize(
    "axis", ["checkpoint = {}", "lora = {}", "vae = {}", "hina = 0", "prompt = cat, <lora:{}:1>"]
)
@pytest.mark.long
def test_axes_and_tags_reach_nothing_outside(shop: Workshop, outside: Path, axis: str) -> None:
    """What only the library reads is refused by the process that computes, which is confined."""
    secret = outside / "secret.safetensors"
    for name in (str(secret), os.path.relpath(secret, shop.out)):
        tagged = (
            {"x": axis.format(name)}
            if "{}" in axis
            else {"prompt": f"<lora:{name.removesuffix('.safetensors')}:1>"}
        )
        job = shop.wait(shop.add("grid", [BASE], **{**QUICK, **tagged, "output": "outside"})["id"])
        assert job["state"] == "failed"
        assert "outside" in job["error"]["what"] or "no " in job["error"]["what"], job["error"]


@pytest.mark.parametrize(
    ("reads", "writes"),
    [("/etc/hostname", "x"), ("{outside}", "x"), ("{base}", "{written}"), ("{base}", "../../x")],
)
def test_recipes_reach_nothing_outside(shop: Workshop, outside: Path, reads: str, writes: str) -> None:
    names = {
        "outside": outside / "secret.safetensors",
        "base": shop.models / "baseA.safetensors",
        "written": outside / "written.safetensors",
    }
    text = f"[inputs]\nA = '{reads}'\n[steps]\nX = '2*A'\n[save]\nX = '{writes}'\n".format(**names)
    if not writes.endswith("safetensors"):
        text = text.replace(f"'{writes}'", f"'{writes}.safetensors'")
    assert shop.ask("PUT", "/api/recipes/evil", {"text": text}).status == 200
    job = shop.wait(shop.add("run", ["out/recipes/evil.toml"])["id"])
    assert job["state"] == "failed"
    assert not (outside / "written.safetensors").exists()
    assert not (shop.folder / "x.safetensors").exists()
