"""Who may ask, and what may be sent: everything else is refused in words, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from loralathe import block_list
from loralathe.workshop.commands import plain_value
from loralathe.workshop.fields import OPTIONS
from loralathe.workshop.safety import COOKIE, LARGEST_BODY, LARGEST_UPLOAD, Guard
from workshop.kit import QUICK, Workshop, request

BASE, LORA = "checkpoints/baseA.safetensors", "loras/hina.safetensors"
MARKUP = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=X"}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7870", "127.0.0.1.evil.example", "[::1].evil", "", "127.0.0.1@evil"],
)
def test_a_forged_host_is_refused(shop: Workshop, host: str) -> None:
    for path in ("/", "/api/session", "/static/app.js", "/files/out/x.png"):
        assert shop.ask("GET", path, headers={"Host": host}).status == 421
    assert "refused GET /api/session" in shop.log.read_text()


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://[::1", "{host}"]
)
def test_another_sites_page_is_refused(shop: Workshop, origin: str) -> None:
    answer = shop.ask("GET", "/api/session", headers={"Origin": origin.format(host=shop.host)})
    assert answer.status == 403
    assert "another site" in answer.error["what"]


def test_other_sites_may_link_to_the_page_and_to_nothing_else(shop: Workshop) -> None:
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert shop.ask("GET", "/", headers=cross).status == 200
    assert shop.ask("GET", "/api/session", headers=cross).status == 403
    assert shop.ask("GET", "/api/session", headers={"Origin": f"http://{shop.host}"}).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/jobs"),
        ("POST", "/api/plan"),
        ("POST", "/api/look"),
        ("POST", "/api/queue/pause"),
        ("PUT", "/api/recipes/x"),
        ("DELETE", "/api/jobs/x?files=true"),
    ],
)
def test_a_form_of_another_site_cannot_change_anything(shop: Workshop, method: str, path: str) -> None:
    answer = shop.ask(method, path, {}, {"X-Lathe": None, "Content-Type": "text/plain"})
    assert answer.status == 403
    assert "X-Lathe" in answer.error["what"]


class TestToken:
    """Another address than this machine's own: nobody gets in without the token."""

    guard = Guard(PlainTextResponse("in"), hosts=None, token="secret")

    def status(self, path: str, **headers: str) -> tuple[int, dict[str, str]]:
        said: list[Message] = []

        async def send(message: Message) -> None:
            said.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        path, _, query = path.partition("?")
        given = [(name.encode(), value.encode()) for name, value in {"host": "here:1", **headers}.items()]
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": given,
        }
        asyncio.run(self.guard(scope, receive, send))
        return said[0]["status"], {name.decode(): value.decode() for name, value in said[0]["headers"]}

    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            ("/", {}),
            ("/api/session", {}),
            ("/?token=wrong", {}),
            ("/?token=", {}),
            ("/api/session?token=secret", {}),
            ("/", {"cookie": f"{COOKIE}=wrong"}),
            ("/", {"cookie": f"{COOKIE}=;;;\xff"}),
            ("/", {"authorization": "Bearer "}),
            ("/", {"authorization": "Basic secre"}),
        ],
    )
    def test_without_it_nobody_gets_in(self, path: str, headers: dict[str, str]) -> None:
        assert self.status(path, **headers)[0] == 401

    def test_the_address_that_was_printed_sets_a_cookie_which_is_the_key(self) -> None:
        status, headers = self.status("/?token=secret")
        assert (status, headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=strict"} <= set(headers["set-cookie"].split("; "))
        assert self.status("/", cookie=headers["set-cookie"].split(";")[0])[0] == 200
        assert self.status("/api/session", authorization="Bearer secret")[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"grid"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"command": "grid", "words": ["a"], "options": {"cfg": NaN}}',
        b'{"command": "grid", "words": ["a"], "options": {"cfg": 1e999}}',
        b'{"command": "grid", "words": ["a"], "options": {"prompt": "\\ud800"}}',
        b'{"command": "grid", "title": "\\udfff"}',
        b'{"text": "\\ud800", "list": "\\ud800", "settings": {"prompt": "\\ud800"}}',
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_json_is_told_so(shop: Workshop, body: bytes) -> None:
    """NaN, infinity and halves of characters, too: no answer could hold them."""
    for method, path in (
        ("POST", "plan"),
        ("POST", "jobs"),
        ("POST", "ask"),
        ("POST", "list"),
        ("POST", "recipe"),
        ("PUT", "recipes/x"),
        ("PUT", "profiles/x"),
        ("PUT", "presets/x"),
    ):
        answer = shop.ask(method, f"/api/{path}", body)
        assert answer.status == 422
        assert "JSON" in answer.error["what"]


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({}, None, "no command"),
        ({"command": ["grid"]}, None, "no command"),
        ({"command": "g" * 3_000_000}, None, "no command"),
        ({"command": "gird"}, None, "'grid'"),
        ({"command": "__class__"}, None, "no command"),
        ({"command": "grid", "words": "x"}, None, "'words'"),
        ({"command": "grid", "words": [BASE] * 65}, None, "'words'"),
        ({"command": "grid", "words": []}, None, "words"),
        ({"command": "grid", "words": [], "options": {"recipe": ""}}, None, "words"),
        ({"command": "grid", "words": [1]}, "checkpoint", "name"),
        ({"command": "grid", "words": [BASE, {"a": 1}]}, "adapters", "name"),
        ({"command": "grid", "words": [""]}, "checkpoint", "chosen"),
        ({"command": "compare", "words": [BASE]}, None, "words"),
        ({"command": "add_difference", "words": [BASE, BASE, BASE, "1"]}, "multiplier", "number"),
        ({"command": "add_difference", "words": [BASE, BASE, BASE, True]}, "multiplier", "number"),
        ({"command": "grid", "words": [BASE], "options": []}, None, "'options'"),
        (request("grid", [BASE], promt="x"), "promt", "'prompt'"),
        (request("grid", [BASE], progress=1), "progress", "no option"),
        (request("grid", [BASE], lora_dir=["/etc"]), "lora_dir", "no option"),
        (request("merge", [BASE], options={}), "options", "no option"),
        (request("grid", [BASE], **{"o" * 3_000_000: 1}), "o" * 80, "no option"),
        (request("grid", [BASE], steps="4"), "steps", "whole number"),
        (request("grid", [BASE], steps=4.5), "steps", "whole number"),
        (request("grid", [BASE], steps=True), "steps", "whole number"),
        (request("grid", [BASE], cfg=[7]), "cfg", "number"),
        (request("grid", [BASE], hashes="yes"), "hashes", "true"),
        (request("grid", [BASE], prompt={"a": 1}), "prompt", "text"),
        (request("grid", [BASE], prompt="x" * 20_001), "prompt", "20000"),
        (request("grid", [BASE], prompt="a\0b"), "prompt", "text"),
        (request("grid", [BASE], lists=["a"]), "lists", "object"),
        (request("grid", [BASE], redo="1,1"), "redo", "list"),
        (request("grid", [BASE], output=7), "output", "text"),
        (request("grid", [BASE], steps=1), "prompt", "what the picture shows"),
        (request("merge", [BASE, LORA], output="../x"), "output", "another name"),
        (request("merge", [BASE, LORA], output="a//b"), "output", "another name"),
        (request("merge", [BASE, LORA], output="a:b"), "output", "another name"),
        (request("merge", [BASE, LORA], output="workshop.sqlite"), "output", "another name"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else None,
)
def test_requests_that_are_none_are_told_what_is_wrong(
    shop: Workshop, given: object, field: str | None, said: str
) -> None:
    for address in ("plan", "jobs"):
        error = shop.ask("POST", f"/api/{address}", given).error
        assert error["field"] == field
        assert said in error["what"] + error["fix"], error


LORA = "loras/hina.safetensors"


@pytest.mark.parametrize(
    ("command", "words", "options", "field"),
    [
        ("grid", [BASE, LORA], {"x": "hina strength = cat"}, "x"),
        ("grid", [BASE, LORA], {"y": "checkpoint = nope"}, "y"),
        ("grid", [BASE, LORA], {"size": "7x9"}, "size"),
        ("grid", [BASE, LORA], {"steps": 0}, "steps"),
        ("grid", [BASE, LORA], {"sampler": "nope"}, "sampler"),
        ("grid", [BASE, LORA + ":lbw=1,2"], {}, "adapters"),
        ("grid", [BASE, "loras/gone.safetensors"], {}, "adapters"),
        ("grid", [LORA], {}, "checkpoint"),
        ("blocks", [BASE, LORA], {"range": "1"}, "range"),
        ("blocks", [BASE, LORA], {"blocks": "NOPE"}, "blocks"),
        ("merge", [BASE, "checkpoints/baseB.safetensors"], {}, "adapters"),
        ("merge", [BASE, LORA], {"dtype": "fp7"}, "dtype"),
        ("merge", [BASE, LORA], {"discard": "("}, "discard"),
        ("merge", [BASE, LORA], {"memory": "cat"}, "memory"),
        ("merge", [BASE, LORA], {"output": "a:b"}, "output"),
        ("extract", [BASE, LORA], {}, "base"),
        ("extract", [BASE, BASE], {"rank": 0}, "rank"),
        ("extract", [BASE, BASE], {"size": "cat"}, "size"),
        ("add_difference", [BASE, BASE, LORA, 1], {}, "tertiary"),
    ],
)
def test_an_error_names_the_field_that_holds_it(
    shop: Workshop, command: str, words: list[object], options: dict[str, object], field: str
) -> None:
    settings = QUICK if command in ("grid", "blocks") else {}
    assert (
        shop.ask("POST", "/api/plan", request(command, words, **{**settings, **options})).error["field"]
        == field
    )


def test_weights_by_name_are_completed_to_a_list() -> None:
    whole = [name for name, _ in block_list("ALL", "sdxl")]
    assert block_list("OUT05=0.2,IN04=0.5", "sdxl") == [
        (name, {"OUT05": 0.2, "IN04": 0.5}.get(name, 1.0)) for name in whole
    ]
    assert dict(block_list("*=0.3,MID=1", "sdxl")) == {name: 1.0 if name == "MID" else 0.3 for name in whole}
    assert [name for name, _ in block_list("TE2=0", "sdxl")] == ["TE2", *whole]
    assert len(block_list("1,0,0,0,0,0,0,0,0,0,0,0.5", "sdxl")) == 12


def test_the_library_speaks_for_values_that_only_it_knows(shop: Workshop) -> None:
    for options in (
        {"sampler": "Eulr"},
        {"x": "seed"},
        {"size": "big"},
        {"steps": 10**30},
        {"device": "/etc"},
    ):
        answer = shop.ask("POST", "/api/plan", request("grid", [BASE], **{**QUICK, **options}))
        if answer.status != 200:  # a device is looked for when it is needed
            assert "fault of ours" not in answer.error["fix"], options


def upload(name: bytes, data: bytes, field: str = "file") -> bytes:
    head = f'--X\r\nContent-Disposition: form-data; name="{field}"; filename="'.encode()
    return head + name + b'"\r\n\r\n' + data + b"\r\n--X--\r\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (b"a.png", b"\x89PNG\r\n\x1a\n garbage"),
        (b"a.png", b"\x89PNG"),
        (b"a.safetensors", b"garbage" * 10),
        (b"a.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
        (b"a.ckpt", pickle.dumps(print)),
        (b"../../a.pt", b"PK\x03\x04 garbage"),
        (b"a.\x00b", b"x"),
        (b"a.\xff\xfe", b"x"),
        (b"/etc/passwd", b"x"),
        (b"a.svg", b"<svg onload=alert(1)>"),
        (b"", b""),
    ],
)
def test_uploads_that_are_nothing_are_told_so_by_their_own_name(
    shop: Workshop, name: bytes, data: bytes
) -> None:
    answer = shop.ask("POST", "/api/look", upload(name, data), MULTIPART)
    assert answer.status == 422
    assert "/tmp" not in answer.error["where"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", MULTIPART),
        (b"--X", MULTIPART),
        (b"garbage", MULTIPART),
        (b"{}", {"Content-Type": "application/json"}),
        (b"x", {"Content-Type": "multipart/form-data"}),
        (upload(b"a", b"x", field="other"), MULTIPART),
        (upload(b"a." + b"q" * 100_000, b"x"), MULTIPART),
        (upload(b"a", b"x")[:-10] * 5, MULTIPART),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else "",
)
def test_malformed_uploads_are_refused_in_words(
    shop: Workshop, body: bytes, headers: dict[str, str | None]
) -> None:
    answer = shop.ask("POST", "/api/look", body, headers)
    assert answer.status in (400, 422)
    assert "address" not in answer.error["what"]


@pytest.mark.parametrize(("path", "largest"), [("/api/plan", LARGEST_BODY), ("/api/look", LARGEST_UPLOAD)])
def test_more_than_may_be_sent_is_not_read(shop: Workshop, path: str, largest: int) -> None:
    answer = shop.ask("POST", path, b"", {"Content-Length": str(largest + 1)})
    assert answer.status == 413
    assert f"{largest >> 20} MB" in answer.error["what"]


def test_more_than_was_announced_is_not_read(shop: Workshop) -> None:
    """Without a length, in pieces: reading ends where the limit is."""

    def pieces() -> Iterator[bytes]:
        yield from [b" " * (1 << 20)] * ((LARGEST_BODY >> 20) + 1)

    answer = shop.ask("POST", "/api/plan", pieces())
    assert answer.status == 413


def test_pages_allow_no_code_but_ours(shop: Workshop) -> None:
    answer = shop.ask("GET", "/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    text = answer.body.decode()
    assert "<style" not in text
    assert " style=" not in text


def test_markup_in_names_and_texts_stays_text(shop: Workshop) -> None:
    """It comes back as it was, in JSON, which no browser takes for a page."""
    title = MARKUP[:60]
    shop.ask("POST", "/api/queue/pause")
    answer = shop.ask(
        "POST",
        "/api/jobs",
        {**request("grid", [BASE], **{**QUICK, "prompt": MARKUP, "output": "markup"}), "title": title},
    )
    number = answer.json["id"]
    for path in (
        "/api/jobs",
        f"/api/jobs/{number}",
        "/api/history",
        f"/api/file?name=out/{quote(MARKUP[:20])}",
    ):
        got = shop.ask("GET", path)
        assert got.headers["content-type"] == "application/json"
        assert got.headers["x-content-type-options"] == "nosniff"
    job = shop.job(number)
    assert (job["title"], job["options"]["prompt"]) == (title, MARKUP)
    shop.ask("POST", f"/api/jobs/{number}/cancel")
    shop.ask("POST", "/api/queue/resume")


def test_files_of_the_results_have_no_origin(shop: Workshop) -> None:
    (shop.out / "evil.html").write_text("<script>parent.document</script>")
    answer = shop.ask("GET", "/files/out/evil.html")
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    (shop.out / "evil.svg").write_text("<svg/>")
    assert shop.ask("GET", "/files/out/evil.svg").status == 404


def test_data_in_the_page_cannot_end_its_script(tmp_path: Path) -> None:
    from loralathe.workshop import Options
    from loralathe.workshop.app import Workshop as Served
    from loralathe.workshop.routes import application

    folder = tmp_path / "<script>" / "b"
    folder.mkdir(parents=True)
    options = Options(tmp_path, checkpoints=[folder], start={"settings": {"prompt": MARKUP}})
    served = Served(options)
    body = asyncio.run(body_of(application(served)))
    served.store.close()
    assert body.count(b"<script") == 4
    assert b"onerror=alert(1)>" not in body
    session = body.split(b'id="session">')[1].split(b"</script>")[0]
    assert json.loads(session)["start"]["settings"]["prompt"] == MARKUP


async def body_of(app: object) -> bytes:
    """What `/` holds."""
    said: list[Message] = []

    async def send(message: Message) -> None:
        said.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await app(scope, receive, send)  # type: ignore[operator]
    return b"".join(message.get("body", b"") for message in said)


def test_an_account_of_what_was_refused_is_in_the_log(shop: Workshop) -> None:
    log = shop.log.read_text()
    assert "another site" in log
    assert "Traceback" not in log


def test_a_profile_holds_settings_and_files_by_their_names(shop: Workshop) -> None:
    given = {"prompt": "", "steps": 7, "low_vram": False, "missing_blocks": "0", "vae": BASE}
    found = shop.ask("PUT", "/api/profiles/mine", {"settings": given})
    assert found.status == 200
    assert shop.get("profiles")["mine"] == {"steps": 7, "low_vram": False, "missing_blocks": 0, "vae": BASE}
    refused = shop.ask("PUT", "/api/profiles/mine", {"settings": {"stepz": 7}})
    assert (refused.status, refused.error["fix"]) == (422, "did you mean 'steps' or 'style'?")
    assert shop.ask("PUT", "/api/profiles/mine", {"settings": {"vae": "vaes/../x"}}).status == 422
    assert shop.ask("DELETE", "/api/profiles/mine").status == 200


def test_a_choice_of_numbers_is_a_number(shop: Workshop) -> None:
    asked = {
        "command": "merge",
        "words": [BASE, "loras/hina.safetensors"],
        "options": {"missing_blocks": "1"},
    }
    assert "--missing-blocks 1" in shop.ask("POST", "/api/plan", asked).json["command_line"]["posix"]
    assert plain_value(OPTIONS["merge"]["missing_blocks"], "missing_blocks", "1") == 1


@pytest.mark.long
def test_the_api_describes_itself(shop: Workshop) -> None:
    """Every address is there with a sentence, and all that the document refers to."""
    found = shop.get("openapi.json")
    text = json.dumps(found)
    names = set(found["components"]["schemas"])
    assert {one.rpartition("/")[2] for one in re.findall(r"#/components/schemas/\w+", text)} <= names
    for path, methods in found["paths"].items():
        for method in set(methods) - {"parameters"}:
            assert methods[method]["summary"], path
    assert {"/api/jobs", "/api/jobs/{id}/{act}", "/api/recipes/{name}", "/api/events"} <= set(found["paths"])
    assert found["components"]["schemas"]["merge"]["properties"]["options"]["properties"][
        "missing_blocks"
    ] == {
        "description": "Weight of blocks that a list lacks",
        "enum": [0, 1],
    }
