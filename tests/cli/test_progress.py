"""Bars on a terminal: which are shown, and in what order."""

from __future__ import annotations

from loralathe.progress import BarSink, Progress


def test_a_task_is_shown_below_the_one_around_it() -> None:
    sink = BarSink(delay_s=0)
    progress = Progress(sink)
    with progress.task("pictures", 2, "pictures"), progress.task("rendering", 8, "step") as steps:
        steps.advance()
        assert sink._bars is not None
        assert [task.description for task in sink._bars.tasks] == ["pictures", "rendering"]
    assert sink._bars is None


def test_short_tasks_are_not_shown() -> None:
    sink = BarSink(delay_s=60)
    with Progress(sink).task("pictures", 2) as task:
        task.advance()
        assert sink._bars is None
