"""Work inside a node: ComfyUI shows how far it is, its Cancel stops it, errors are in its language."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.utils
import torch

from loralathe import CallableSink, Cancel, Cancelled, Event, Progress

from . import host
from .language import refusing, told


@dataclass
class Work:
    """A node's work under way; `said` is what it told."""

    progress: Progress
    said: list[str] = field(default_factory=list)


@contextmanager
def working(node_id: str | None = None) -> Iterator[Work]:
    """Progress that ComfyUI shows and cancels; our errors become Refused."""
    cancel, said = Cancel(), list[str]()
    bars = dict[str, Any]()

    def receive(event: Event) -> None:
        if host.is_cancelled():
            cancel.cancel()
        if event.kind == "message":
            said.append(told(event.text))
            logging.getLogger("loralathe").info(event.text)
        elif event.total:
            bar = bars.setdefault(event.task, comfy.utils.ProgressBar(event.total, node_id=node_id))
            bar.update_absolute(event.done, event.total)

    with refusing():
        try:
            # ComfyUI runs nodes in inference mode, whose tensors worker threads may not write to.
            with torch.inference_mode(False):
                yield Work(Progress(CallableSink(receive), cancel), said)
        except Cancelled:
            host.raise_cancelled()
