"""A real ComfyUI or Forge for tests, with a whole SD 1.5 of random numbers: they know models by widths."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors

START_SECONDS = 900
LIST = "BASE=1, IN04=0.25, OUT05=0.5, *=0"
USE = f"hina:te=0.5:unet=0.8:{LIST}"
PICTURE = {
    "prompt": "a (girl:1.2), smiling", "negative": "bad", "seed": 1, "steps": 2, "cfg": 7.0, "size": "64x64",
    "sampler": "Euler",
}  # fmt: skip


def write_models(checkpoints: Path, loras: Path) -> Path:
    """`base` and `hina` in the program's folders; the checkpoint."""
    for folder in (checkpoints, loras):
        folder.mkdir(parents=True)
    model = tiny_checkpoint("sd1", seed=1, width_divisor=1, std=0.02, dtype="F16")
    base = write_safetensors(checkpoints / "base.safetensors", model)
    del model
    lora = tiny_lora("sd1", rank=4, alpha=2.0, seed=2, width_divisor=1, std=0.05)
    write_safetensors(loras / "hina.safetensors", lora)
    return base


@contextmanager
def running(
    words: Callable[[int], Sequence[str]], folder: str, ready: str, variables: dict[str, str]
) -> Iterator[int]:
    """The port of a program that is begun in its folder, once it answers `ready`; it ends in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    begun = subprocess.Popen(words(port), cwd=folder, env=surroundings, stderr=subprocess.DEVNULL)
    until = time.monotonic() + START_SECONDS
    try:
        while not _answers(f"http://127.0.0.1:{port}{ready}"):
            assert begun.poll() is None, "the program ended"
            assert time.monotonic() < until, "the program does not begin"
            time.sleep(1)
        yield port
    finally:
        begun.terminate()
        try:
            begun.wait(60)
        except subprocess.TimeoutExpired:
            begun.kill()
            begun.wait()


def _answers(url: str) -> bool:
    """Any answer of the program's own counts, but that it does not know the path."""
    try:
        urllib.request.urlopen(url).close()
    except urllib.error.HTTPError as error:
        return error.code != 404
    except OSError:
        return False
    return True


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def differ(one: Path, other: Path, what: str) -> tuple[int, float]:
    """(largest, mean) difference of two pictures, of 255, printed."""
    difference = np.abs(pixels(one) - pixels(other))
    print(f"{what}: {difference.max()} at most, {difference.mean():.2f} on average")
    return int(difference.max()), float(difference.mean())
