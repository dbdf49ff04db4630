"""One process for each device: pictures to the bit as those of one, and none lost with a process."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL.Image import Image

import loralathe
from elsewhere.conftest import Studio
from loralathe.errors import InputError, option
from loralathe.progress import CallableSink, Event, Progress
from loralathe.rendering.elsewhere import Opening, Pool, process_pool, read_devices
from loralathe.rendering.elsewhere.processes import DeviceProcess

Drawn = dict[int, tuple[bytes, Mapping[object, object]]]


def kept(image: Image) -> tuple[bytes, Mapping[object, object]]:
    return image.tobytes(), dict(image.info)


def processes(pool: Pool) -> list[DeviceProcess]:
    return [post.worker for post in pool._posts if isinstance(post.worker, DeviceProcess)]


@pytest.mark.long
def test_two_processes_draw_what_one_draws_though_one_is_killed(studio: Studio) -> None:
    wanted = studio.requests(8)
    alone: Drawn = {}
    with Opening("cpu", batch_size=2).renderer() as renderer:
        renderer.render(wanted, lambda index, image: alone.update({index: kept(image)}))
    found: Drawn = {}
    killed: list[int] = []
    said: list[Event] = []
    progress = Progress(CallableSink(said.append))
    with process_pool(["cpu", "cpu"], Opening("cpu", batch_size=2), progress=progress) as pool:

        def receive(index: int, image: Image) -> None:
            assert index not in found
            found[index] = kept(image)
            if not killed:
                victim = processes(pool)[0]._process
                killed.append(victim.pid)
                victim.kill()

        pool.render(wanted, receive)
        pids = [one._process.pid for one in processes(pool)]
    assert found == alone
    assert len(killed) == 1
    assert any("will be drawn again" in event.text for event in said)
    steps = [event.done for event in said if event.task == "rendering"]
    assert max(steps) == steps[-1] == 16
    for pid in (*pids, *killed):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_mistakes_are_told_before_a_process_starts(studio: Studio, tmp_path: Path) -> None:
    pool = process_pool(["cpu", "cpu"], Opening("cpu"))
    with pytest.raises(InputError, match="not a multiple of 8") as caught:
        studio.requests(1, width=60)
    assert caught.value.about == "size"
    with pytest.raises(InputError):
        pool.render(studio.requests(2, checkpoint=str(tmp_path / "none.safetensors")), lambda i, image: None)
    assert not pool._posts


def test_devices_are_read() -> None:
    assert read_devices("cpu, cpu") == ("cpu", "cpu")
    for text, what in {
        "": "no device is named",
        "cpu,meta": "the device 'meta' cannot be used",
        "cpu," * 65: "65 processes are more than 64",
    }.items():
        with pytest.raises(InputError) as caught:
            read_devices(text)
        assert caught.value.what == what


def test_a_device_is_not_named_twice(studio: Studio) -> None:
    with (
        loralathe.open_model(studio.base, device="cpu", devices="cpu,cpu") as model,
        pytest.raises(InputError, match="a device is named twice"),
    ):
        model.render(prompt="girl")


def test_errors_and_events_go_through_the_pipe() -> None:
    error = InputError(f"no {option('vae', 'x')}", where="here", fix="so", about="vae", instead={"a": ["b"]})
    again = pickle.loads(pickle.dumps(error))
    assert again.text(lambda name, value: f"--{name}") == error.text(lambda name, value: f"--{name}")
    assert (again.about, again.instead) == (error.about, error.instead)
    event = Event("message", "", text=loralathe.Message(f"use {option('batch', 1)}"))
    assert pickle.loads(pickle.dumps(event)).text.spelled(lambda name, value: "--b") == "use --b"
