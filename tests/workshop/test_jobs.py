"""The queue: its order, its ends, and what is left when somebody pulls the plug."""

from __future__ import annotations

import os
import shlex
import signal
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from loralathe.cli import lathe
from workshop.kit import QUICK, Workshop, request

BASE, LORA = "checkpoints/baseA.safetensors", "loras/hina.safetensors"
LONG = {**QUICK, "steps": 4, "size": "64x64", "batch": 1}


def libraries(pid: int) -> str:
    """What a process has loaded."""
    return Path(f"/proc/{pid}/maps").read_text()


def partial_files(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if ".tmp" in one.name or ".part" in one.name]


def study(shop: Workshop, name: str, cells: int, **options: object) -> dict[str, object]:
    return shop.add("grid", [BASE, LORA], **{**LONG, "x": f"seed = 1-{cells}", "output": name, **options})


@pytest.mark.long
def test_a_grid_is_made_and_told(shop: Workshop) -> None:
    number = shop.add("grid", [BASE, LORA], **QUICK, x="hina = 0, 1", output="first")["id"]
    job = shop.wait(number)
    assert job["state"] == "done", job["error"]
    assert [cell["total"] for cell in job["cells"]] == [2, 2]
    assert {one["kind"] for one in job["outputs"]} >= {"page", "picture"}
    for one in [*job["cells"], *job["outputs"]]:
        assert shop.ask("GET", one["url"]).status == 200
    page = shop.get(f"jobs/{number}/page")
    assert page["kind"] == "grid"
    served = shop.ask("GET", "/files/out/first/grid.html").body.decode()  # it may ask the server for nothing
    assert served.count("data:image/png;base64,") == 2
    assert "cells/" not in served.partition('id="data">')[2].partition("</script>")[0]
    assert any(node["job"] == number for node in shop.get("history")["nodes"])


@pytest.mark.long
def test_blocks_by_segments_have_their_own_page(shop: Workshop) -> None:
    options = {**QUICK, "segments": True, "range": "0,1", "most_seeds": 2, "blocks": "MID, OUT03"}
    asked = request("blocks", [BASE, LORA], **options, output="parts")
    plan = shop.ask("POST", "/api/plan", asked).json
    assert [name for name, _ in plan["rows"]][:2] == ["segment 1", "segment 2"]
    number = shop.add("blocks", [BASE, LORA], **options, output="parts")["id"]
    job = shop.wait(number)
    assert job["state"] == "done", job["error"]
    assert {one["name"] for one in job["outputs"]} >= {"out/parts/segments.html", "out/parts/segments.csv"}
    page = shop.get(f"jobs/{number}/page")
    assert page["kind"] == "segments"
    assert {one["name"] for one in page["data"]["segments"]} == {"MID", "OUT03"}
    assert page["data"]["segments"][0]["pictures"][0].startswith("/files/out/parts/cells/")


@pytest.mark.long  # the picture is the first test's, and so is the process that has torch
def test_the_server_itself_loads_no_torch(shop: Workshop) -> None:
    shop.get("library?kind=checkpoint")
    shop.get(f"file?name={LORA}")
    data = (shop.out / "first" / "grid.png").read_bytes()
    body = (
        b'--X\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        + data
        + b"\r\n--X--\r\n"
    )
    shop.ask("POST", "/api/look", body, {"Content-Type": "multipart/form-data; boundary=X"})
    assert "libtorch" not in libraries(shop.process.pid)
    assert any("libtorch" in libraries(one) for one in shop.processes())


def test_a_failed_job_says_why_and_the_queue_goes_on(shop: Workshop) -> None:
    bad = shop.add("grid", [BASE, LORA], **QUICK, x="hina = cat", output="bad")["id"]
    good = shop.add("compare", [BASE, BASE])["id"]
    job = shop.wait(bad)
    assert job["state"] == "failed"
    assert "cat" in job["error"]["what"] + job["error"]["where"]
    assert job["error"]["fix"]
    assert shop.wait(good)["state"] == "done"


def test_errors_come_in_the_persons_language(shop: Workshop) -> None:
    chinese = {"Cookie": "lathe-language=zh-TW"}
    answer = shop.ask("POST", "/api/plan", request("grid", [BASE], **QUICK, sampler="?"), chinese)
    assert any("\u4e00" <= letter <= "\u9fff" for letter in answer.error["what"])


def test_the_queue_keeps_its_order_and_can_be_paused_and_changed(shop: Workshop) -> None:
    shop.ask("POST", "/api/queue/pause")
    names = [shop.add("compare", [BASE, BASE], rank=number)["id"] for number in (1, 2, 3)]
    assert [shop.job(one)["position"] for one in names] == [1, 2, 3]
    shop.ask("POST", f"/api/jobs/{names[2]}/move", {"before": names[0]})
    assert [shop.job(one)["position"] for one in names] == [2, 3, 1]
    shop.ask("POST", f"/api/jobs/{names[0]}/move", {"before": None})
    assert [shop.job(one)["position"] for one in names] == [3, 2, 1]
    shop.ask("POST", f"/api/jobs/{names[1]}/cancel")
    assert [shop.job(one)["state"] for one in names] == ["waiting", "cancelled", "waiting"]
    assert shop.get("jobs")["paused"]
    shop.ask("POST", "/api/queue/resume")
    ended = [shop.wait(one)["ended"] for one in (names[2], names[0])]
    assert ended == sorted(ended)


def test_one_output_is_made_by_one_job_at_a_time(shop: Workshop) -> None:
    shop.ask("POST", "/api/queue/pause")
    first = study(shop, "twice", 1)["id"]
    second = shop.ask("POST", "/api/jobs", request("grid", [BASE], **QUICK, output="out/twice"))
    assert second.error["field"] == "output"
    shop.ask("POST", f"/api/jobs/{first}/cancel")
    shop.ask("POST", "/api/queue/resume")


def test_a_file_that_goes_while_its_job_waits_fails_that_job_alone(shop: Workshop) -> None:
    copy = shop.models / "gone.safetensors"
    copy.write_bytes((shop.models / "hina.safetensors").read_bytes())
    shop.ask("POST", "/api/queue/pause")
    first = shop.add("grid", [BASE, "loras/gone"], **QUICK, output="gone")["id"]
    copy.unlink()
    second = shop.add("grid", [BASE], **QUICK, output="stays")["id"]
    shop.ask("POST", "/api/queue/resume")
    assert "no such file" in shop.wait(first)["error"]["what"]
    assert shop.wait(second)["state"] == "done"


def test_a_cancelled_merge_leaves_no_file(shop: Workshop) -> None:
    study_first = study(shop, "before", 6)["id"]
    merge = shop.add("merge", [BASE, LORA], output="cancelled")["id"]
    assert shop.ask("POST", f"/api/jobs/{merge}/cancel").status == 200
    assert shop.wait(merge)["state"] == "cancelled"
    shop.wait(study_first, "running", "done", cells=1)
    assert shop.ask("POST", f"/api/jobs/{study_first}/cancel").status == 200
    assert shop.wait(study_first)["state"] in ("cancelled", "done")
    assert not (shop.out / "cancelled.safetensors").exists()
    assert partial_files(shop.out) == []


@pytest.mark.long
def test_a_killed_worker_fails_its_job_in_words_and_the_queue_goes_on(shop: Workshop) -> None:
    number = study(shop, "killed", 40)["id"]
    after = shop.add("compare", [BASE, BASE])["id"]
    shop.wait(str(number), "running", cells=1)
    for one in shop.processes():
        os.kill(one, signal.SIGKILL)
    job = shop.wait(str(number))
    assert job["state"] == "failed"
    assert job["error"]["where"] == "SIGKILL"
    assert "memory" in job["error"]["fix"]
    assert shop.wait(after)["state"] == "done"
    assert shop.ask("POST", "/api/plan", request("compare", [BASE, BASE])).status == 200


@pytest.mark.slow  # make test-browser has the same through a page
def test_after_a_kill_the_job_is_interrupted_and_again_loses_no_cell(shop: Workshop) -> None:
    number = str(study(shop, "plug", 20)["id"])
    waiting = shop.add("compare", [BASE, BASE])["id"]
    shop.wait(number, "running", cells=3)
    workers = shop.processes()
    shop.kill()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{one}").exists() for one in workers):  # they end by themselves
        assert time.monotonic() < until
        time.sleep(0.1)
    made = {path: path.stat().st_mtime_ns for path in (shop.out / "plug" / "cells").glob("*.png")}
    assert len(made) >= 3
    shop.start()
    job = shop.job(number)
    assert job["state"] == "interrupted"
    assert len(job["cells"]) >= 3
    assert shop.wait(waiting)["state"] == "done"
    again = shop.ask("POST", f"/api/jobs/{number}/again").json["id"]
    job = shop.wait(again)
    assert job["state"] == "done", job["error"]
    assert len(job["cells"]) == 20
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.long
def test_deleting_a_job_takes_its_files_and_no_others(shop: Workshop) -> None:
    number = shop.wait(shop.add("grid", [BASE], **QUICK, output="shared")["id"])["id"]
    merged = shop.wait(shop.add("merge", [BASE, LORA], output="shared/model")["id"])
    assert merged["state"] == "done", merged["error"]
    assert shop.ask("DELETE", f"/api/jobs/{number}?files=true").status == 200
    assert (shop.out / "shared" / "model.safetensors").exists()
    assert not (shop.out / "shared" / "grid.html").exists()
    assert shop.ask("DELETE", f"/api/jobs/{merged['id']}?files=true").status == 200
    assert not (shop.out / "shared" / "model.safetensors").exists()
    assert shop.ask("GET", f"/api/jobs/{number}").error


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("command", "words", "options"),
    [
        ("merge", [BASE, f"{LORA}:0.7:OUTALL"], {"dtype": "fp16", "metadata": {"a": 'it\'s "so" $HOME'}}),
        ("extract", [BASE, "checkpoints/baseB.safetensors"], {"rank": 4}),
        (
            "render",
            [BASE, LORA],
            {**QUICK, "prompt": 'hina, `ls` "quoted" $HOME <lora:sailor:0.5> it\'s\n2nd line'},
        ),
    ],
)
@pytest.mark.long
def test_the_command_that_is_shown_makes_the_same_file(
    shop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    words: list[object],
    options: dict[str, object],
) -> None:
    job = shop.wait(shop.add(command, words, **options, output=f"same-{command}")["id"])
    assert job["state"] == "done", job["error"]
    path = shop.out / f"same-{command}{'.png' if command == 'render' else '.safetensors'}"
    if not path.exists():
        path = next(shop.out.glob(f"same-{command}*"))
    data = path.read_bytes()
    path.unlink()
    line = job["command_line"]["posix"]
    assert line.startswith("lathe ")
    monkeypatch.chdir(shop.folder)
    ran = CliRunner().invoke(lathe, shlex.split(line)[1:])
    assert ran.exit_code == 0, ran.output
    assert path.read_bytes() == data
