"""One process for each device: each has its own models loaded, and draws a batch at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from loralathe.errors import InputError, few, option, printable
from loralathe.progress import Event, Progress
from loralathe.rendering.elsewhere.messages import (
    Draw,
    Ended,
    Forget,
    Happened,
    Open,
    Opening,
    Picture,
    receive,
    send,
    unpacked,
)
from loralathe.rendering.elsewhere.pool import Place, Pool
from loralathe.rendering.elsewhere.work import Batch, LostError, Report
from loralathe.rendering.families import family_of
from loralathe.rendering.machine import CPU_AT_ONCE, MOST_AT_ONCE, pick_device
from loralathe.rendering.prepare import Prepared
from loralathe.rendering.suitable import check_suits
from loralathe.tensorfiles import confined_to

if TYPE_CHECKING:
    from loralathe.rendering.model_cache import WeightsInMemory

ALL = "all"
MOST_DEVICES = 64
END_SECONDS = 3.0
"""That a process has to end by itself."""
RENDERING = "rendering"
"""The task whose steps a renderer counts."""
LAST_LINES = 5
"""Of what a process printed, that are told when it is lost."""


def read_devices(text: str, *, here: bool = True) -> tuple[str, ...]:
    """'all' (every CUDA GPU), 'cuda:0,cuda:1', 'cpu,cpu' → devices that exist, one kind of them.

    here: False for those of a cluster, 'cuda,cuda' or 'cpu,cpu'; its 'all' is no device yet.
    Raises InputError for names that are no devices, for two kinds, which would not draw alike, and for too
    many.
    """
    names = [one.strip() for one in text.split(",") if one.strip()]
    if [name.lower() for name in names] == [ALL]:
        if not here:
            return ()
        names = _all_gpus()
    if not names:
        raise InputError(
            "no device is named",
            where=option("devices", text),
            fix=f"name them: {option('devices', 'cuda:0,cuda:1')}",
        )
    if len(names) > MOST_DEVICES:
        raise InputError(
            f"{len(names)} processes are more than {MOST_DEVICES}", where=option("devices"), fix="name fewer"
        )
    if not here:
        return _of_a_cluster(names, text)
    found = [pick_device(name) for name in names]
    kinds = list(dict.fromkeys(device.type for device in found))
    if len(kinds) > 1:
        raise InputError(
            f"pictures of {few(kinds)} are not alike to the last bit",
            where=option("devices", text),
            fix="name devices of one kind",
        )
    return tuple(map(str, found))


def _of_a_cluster(names: Sequence[str], text: str) -> tuple[str, ...]:
    """Which of its devices it is, the cluster decides."""
    if len(set(names)) > 1 or names[0] not in ("cpu", "cuda"):
        raise InputError(
            "devices of a cluster are named by their kind alone",
            where=option("devices", text),
            fix=f"{option('devices', 'cuda,cuda')}, or leave it out for all of its GPUs",
        )
    return tuple(names)


def _all_gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise InputError(
            "this machine has no GPU that CUDA knows",
            where=option("devices", ALL),
            fix=f"name the devices, {option('devices', 'cpu,cpu')}, or leave it out",
        )
    return [f"cuda:{number}" for number in range(count)]


def process_pool(
    devices: Sequence[str],
    opening: Opening,
    weights: WeightsInMemory | None = None,
    progress: Progress | None = None,
) -> Pool:
    """A renderer with one process for each device. weights: checkpoints in memory, name → tensors."""
    held = {} if weights is None else weights
    on_cpu = devices[0] == "cpu"
    threads = max(1, (os.cpu_count() or 1) // len(devices)) if on_cpu else None
    places = [
        Place(name, partial(DeviceProcess, replace(opening, device=device), threads))
        for name, device in zip(place_names(devices), devices, strict=True)
    ]
    return Pool(
        places,
        size=batch_sizes(opening.batch_size, len(devices), on_cpu=on_cpu),
        lora_dirs=opening.lora_dirs,
        check=partial(check_local, held),
        weights=held,
        progress=progress,
    )


def batch_sizes(
    wanted: int | None, workers: int, *, on_cpu: bool
) -> Callable[[int], Callable[[Prepared], int]]:
    """How many pictures a batch has, by the number of all: as in one process, and some for every worker."""

    def size(count: int) -> Callable[[Prepared], int]:
        usual = CPU_AT_ONCE if on_cpu else min(MOST_AT_ONCE, -(-count // workers))
        return lambda one: wanted or usual

    return size


def place_names(devices: Sequence[str]) -> list[str]:
    """`cuda:1`; of a device that has several processes, which of them."""
    return [
        f"{device} #{devices[: number + 1].count(device)}" if devices.count(device) > 1 else device
        for number, device in enumerate(devices)
    ]


def check_local(held: WeightsInMemory, prepared: Sequence[Prepared]) -> None:
    """InputError, before it starts, for checkpoints that are none, and for what they cannot draw."""
    names = dict.fromkeys(one.request.checkpoint for one in prepared)
    families = {name: family_of(name) for name in names if name not in held}
    for one in prepared:
        if (family := families.get(one.request.checkpoint)) is not None:
            check_suits(family, one.request)


class DeviceProcess:
    """A process that draws on one device; a worker of a `Pool`."""

    def __init__(self, opening: Opening, threads: int | None = None) -> None:
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.drawer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(threads),
            # Ctrl-C is for the process that began it, which ends this one.
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._reader = threading.Thread(target=self._read_lines, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        self._send(Open(opening, confined_to()))

    def draw(self, batch: Batch, report: Report) -> None:
        places, requests = list(batch.requests), list(batch.requests.values())
        self._send(Draw(requests, {name: str(file) for name, file in batch.held.items()}))
        steps = StepCount(report)
        while True:
            try:
                message = receive(self._out)
            except (EOFError, OSError, ValueError) as error:
                raise LostError(self._how_it_ended()) from error
            if isinstance(message, Picture):
                report.picture(places[message.index], unpacked(message))
            elif isinstance(message, Happened):
                steps.hear(message.event)
            elif isinstance(message, Ended):
                if message.unexpected:
                    raise LostError(printable(message.unexpected))
                if message.error is not None:
                    raise message.error
                return

    def forget(self) -> None:
        with contextlib.suppress(LostError):
            self._send(Forget())

    def stop(self) -> None:
        self.close()

    def close(self) -> None:
        """Its input ends, which ends the process; one that does not end in time is killed."""
        with contextlib.suppress(OSError, ValueError):
            self._in.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_SECONDS)
        for stream in (self._out, self._process.stderr):
            with contextlib.suppress(OSError, ValueError):
                if stream is not None:
                    stream.close()

    def _send(self, message: object) -> None:
        try:
            send(self._in, message)
        except (OSError, ValueError) as error:
            raise LostError(self._how_it_ended()) from error

    def _read_lines(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in stream:
                self._lines.append(line.decode("utf-8", "replace").rstrip())

    def _how_it_ended(self) -> str:
        """'the process was ended by SIGKILL', and the last line that it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._reader.join(END_SECONDS)
        code = self._process.returncode
        how = f"the process ended with the code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = f"the process was ended by {signal.Signals(-code).name}"
        said = printable(self._lines[-1]) if self._lines else ""
        return f"{how} ({said})" if said else how


class StepCount:
    """Events of another renderer's progress: its steps as numbers, all else as it is."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done = 0

    def hear(self, event: Event) -> None:
        if event.task != RENDERING:
            self._report.event(event)
        elif event.kind == "advance":
            self._report.steps(event.done - self._done)
            self._done = event.done


def _environment(threads: int | None) -> dict[str, str]:
    """Ours, with the place of this very package, and as many threads as the process may take."""
    root = str(Path(__file__).resolve().parents[3])
    known = os.environ.get("PYTHONPATH", "")
    found = os.environ | {"PYTHONPATH": os.pathsep.join([root, *([known] if known else [])])}
    if threads is not None:
        found.setdefault("OMP_NUM_THREADS", str(threads))
    return found
