"""Work inside a node: ComfyUI shows how far it is, its Cancel stops it, errors are in its language."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.utils
import torch

import loralathe
from loralathe import CallableSink, Cancel, Cancelled, Event, LatheError, Progress

from . import host


class Refused(Exception):  # noqa: N818
    """What a person must mend, in words for them: the text that ComfyUI shows."""


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

    try:
        # ComfyUI runs nodes in inference mode, whose tensors worker threads may not write to.
        with torch.inference_mode(False):
            yield Work(Progress(CallableSink(receive), cancel), said)
    except Cancelled:
        host.raise_cancelled()
    except LatheError as error:
        raise Refused(_text(error)) from error


def told(text: str) -> str:
    """A text of ours in ComfyUI's language."""
    spoken = host.language()
    return loralathe.read_catalogue(spoken).say(text) if spoken in loralathe.LANGUAGES[1:] else text


def _text(error: LatheError) -> str:
    """What, where and fix, one a line."""
    parts = {"": error.what, "  where: ": error.where, "  fix:   ": error.fix}
    lines = [told(label) + told(text.spelled(host.spelled)) for label, text in parts.items() if text]
    return "\n".join(map(loralathe.inset, lines))
