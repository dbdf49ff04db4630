"""Work stops where it reports when its token says so, and leaves nothing half-done."""

from __future__ import annotations

from pathlib import Path

import pytest

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.progress import CallableSink, Cancel, Cancelled, Event, Progress


def test_work_stops_at_its_next_report() -> None:
    progress = Progress(cancel=Cancel())
    with progress.task("a", 2) as task:
        task.advance()
        progress.cancel.cancel()
        with pytest.raises(Cancelled):
            task.advance()
    assert task.done == 1
    with pytest.raises(Cancelled), progress.task("b"):
        pytest.fail("a cancelled run begins nothing")


@pytest.mark.parametrize("kind", ["start", "advance"])
def test_a_cancelled_merge_writes_nothing(tmp_path: Path, kind: str) -> None:
    write_safetensors(tmp_path / "a.safetensors", tiny_checkpoint("sd1", seed=1, width_divisor=32))
    write_safetensors(
        tmp_path / "lora.safetensors", tiny_lora("sd1", rank=4, alpha=2, seed=5, width_divisor=32)
    )
    cancel, events = Cancel(), list[Event]()

    def receive(event: Event) -> None:
        events.append(event)
        if event.kind == kind:
            cancel.cancel()

    progress = Progress(CallableSink(receive), cancel)
    with pytest.raises(Cancelled):
        loralathe.merge(tmp_path / "a.safetensors", tmp_path / "lora.safetensors", progress=progress)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "lora.safetensors"]
    assert events[0].task == "computing"
