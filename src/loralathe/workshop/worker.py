"""The process that computes: it reads requests as JSON lines, and answers with events as JSON lines.

It holds the model of the last pictures, so that the next ones start at once. It is one of two: one works off
the queue, the other answers short questions beside it. Nothing else of the workshop imports torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

import loralathe
from loralathe.workshop import reports
from loralathe.workshop.commands import COMMANDS
from loralathe.workshop.errors import as_json

if TYPE_CHECKING:
    from loralathe import Event, OpenModel

QUIET_SECONDS = 0.25
"""Between two events of progress."""
PICTURES = ("render", "grid", "blocks", "tune")
"""Commands that draw with one model, which stays loaded."""
BATCH = 4
"""Pictures at once after memory ran out, where nobody chose; half as many each time."""


class Speaker:
    """Writes events to the server, one a line, from any thread."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, job: object, event: str, **data: Any) -> None:
        line = json.dumps({"id": job, "event": event, **data}, ensure_ascii=True, default=str)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class JobSink:
    """Events of the library as those of the job that runs; progress is thinned."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.job: object = None
        self._last = 0.0

    def emit(self, event: Event) -> None:
        if event.kind == "message":
            self._speaker.say(self.job, "log", text=plain(event.text))
        elif isinstance(event, loralathe.CellEvent):
            where = {"index": event.index, "total": event.total, "path": event.path}
            self._speaker.say(self.job, "cell", **where, labels=list(event.labels))
        else:
            now = time.monotonic()
            if event.kind == "advance" and now - self._last < QUIET_SECONDS:
                return
            self._last = now
            counts = {"task": event.task, "done": event.done, "total": event.total, "unit": event.unit}
            self._speaker.say(self.job, "progress", kind=event.kind, **counts)


class Models:
    """The model of the last pictures, loaded."""

    def __init__(self, progress: loralathe.Progress) -> None:
        self._key: object = None
        self._model: OpenModel | None = None
        self._progress = progress

    def open(self, checkpoint: str, options: Mapping[str, Any]) -> OpenModel:
        """The one of before, where file and options are the same; else that one is let go first."""
        status = os.stat(checkpoint)
        key = (checkpoint, status.st_mtime_ns, status.st_size, json.dumps(options, sort_keys=True))
        if self._model is None or key != self._key:
            self.close()
            self._model = loralathe.open_model(checkpoint, **options, progress=self._progress)
            self._key = key
        return self._model

    def close(self) -> None:
        if self._model is not None:
            self._model.close()
        self._model = self._key = None


class Worker:
    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._sink = JobSink(speaker)
        self._progress = loralathe.Progress(self._sink)
        self._models = Models(self._progress)

    def work(self, message: Mapping[str, Any], cancel: loralathe.Cancel) -> None:
        """Do one thing, and say how it ended."""
        job = self._sink.job = message["id"]
        self._progress.cancel = cancel
        try:
            self._speaker.say(job, "done", **self._do(message))
        except loralathe.LatheError as error:
            self._speaker.say(job, "failed", error=_placed(as_json(error), message))
        except KeyboardInterrupt:
            self._speaker.say(job, "cancelled")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the queue goes on
            self._speaker.say(job, "failed", error=as_json(self._unexpected(error)))

    def _unexpected(self, error: Exception) -> loralathe.LatheError:
        if loralathe.is_out_of_memory(error):
            self._models.close()
            return loralathe.MachineError(
                "the memory is not enough", fix="use a smaller size, fewer pictures at once, or Low VRAM"
            )
        traceback.print_exc()
        return loralathe.LatheError(f"{type(error).__name__}: {error}", fix=REPORT_IT)

    def _do(self, message: Mapping[str, Any]) -> dict[str, Any]:
        kind, command = message["kind"], message.get("command", "")
        words, options = message.get("words", []), dict(message.get("options", {}))
        if kind in QUESTIONS:
            return QUESTIONS[kind](*words, **options)
        planning = kind == "plan"
        if command in PICTURES:
            return self._pictures(command, words, options, planning=planning)
        if command in ANSWERS:
            if planning:
                return reports.planned()
            found = getattr(loralathe, command)(*words, **options, progress=self._progress)
            return reports.of_answer(found)
        if command in OF_LORAS:
            return self._of_loras(command, words, options, planning=planning)
        if command in OF_CARDS:
            return self._of_cards(command, words, options, planning=planning)
        if command in OF_SEVERAL:
            return self._of_several(command, words, options, planning=planning)
        prepared = getattr(loralathe, command).prepare(*words, **options, progress=self._progress)
        return reports.of_plan(prepared) if planning else reports.of_report(prepared.run())

    def _of_loras(
        self, command: str, words: list[Any], options: dict[str, Any], *, planning: bool
    ) -> dict[str, Any]:
        """What has no plan of its own: files that it would replace are told."""
        if command == "check_lora":
            found = () if planning else loralathe.check_lora(*words, **options)
            return reports.planned() if planning else reports.of_checks(found)
        if planning:
            if command == "convert_lora":
                loralathe.convert_lora(*words, **options, dry_run=True, progress=self._progress)
            return reports.planned(options["output"])
        if command == "transfer":
            return reports.of_transfer(loralathe.transfer(*words, **options, progress=self._progress))
        return reports.of_conversion(loralathe.convert_lora(*words, **options, progress=self._progress))

    def _of_cards(
        self, command: str, words: list[Any], options: dict[str, Any], *, planning: bool
    ) -> dict[str, Any]:
        if command == "check_identity":
            card, *pictures = words
            found = loralathe.read_card(card)
            values = [] if planning else loralathe.check_identity(found, pictures, progress=self._progress)
            return reports.planned() if planning else reports.of_likeness(found, values)
        if planning:
            return reports.planned(options["output"])
        model = options.pop("model")
        made = loralathe.make_card(words, model, **options, progress=self._progress)
        return reports.of_card(made, options["output"])

    def _of_several(
        self, command: str, words: list[Any], options: dict[str, Any], *, planning: bool
    ) -> dict[str, Any]:
        """Searches on several models, and soups: each opens what it needs."""
        progress = self._progress
        if command == "everywhere":
            searches = loralathe.prepare_everywhere(*words, **options, progress=progress)
            if planning:
                return reports.of_everywhere_plan(searches)
            self._models.close()
            files = searches.run().files
            return {"outputs": [str(one) for one in files], "folder": str(searches.folder)}
        if command == "cure":
            cure = loralathe.prepare_cure(*words, **options, progress=progress)
            if planning:
                return reports.of_cure_plan(cure)
            self._models.close()
            return reports.of_cure(cure.run(), cure)
        prepared = loralathe.prepare_soup(*words, **options, progress=progress)
        if planning:
            return reports.of_soup_plan(prepared)
        self._models.close()
        made = prepared.run()
        found = reports.of_report(made.report)
        return found if made.study is None else {**found, "folder": str(prepared.folder)}

    def _pictures(
        self, command: str, words: list[Any], options: dict[str, Any], *, planning: bool
    ) -> dict[str, Any]:
        """Pictures; where memory runs out, again with fewer at once."""
        opening = {name: options.pop(name) for name in list(options) if name in MODEL_OPTIONS}
        while True:
            try:
                return self._opened(command, words, options, opening, planning=planning)
            except Exception as error:
                batch = opening.get("batch")
                if batch == 1 or not loralathe.is_out_of_memory(error):
                    raise
                self._models.close()
                opening["batch"] = BATCH if batch is None else max(1, batch // 2)
                self._progress.message(f"out of memory: going on with {opening['batch']} pictures at once")

    def _opened(
        self,
        command: str,
        words: list[Any],
        options: dict[str, Any],
        opening: dict[str, Any],
        *,
        planning: bool,
    ) -> dict[str, Any]:
        if "recipe" not in options:
            model = self._models.open(words[0], opening)
            return self._with(model, command, words[1:], options, planning=planning)
        rest = dict(options)
        recipe, step, variables = (rest.pop(name, None) for name in ("recipe", "step", "variables"))
        self._models.close()
        with loralathe.open_recipe(recipe, step, variables, **opening, progress=self._progress) as made:
            return self._with(made, command, words, rest, planning=planning)

    def _with(
        self, model: OpenModel, command: str, adapters: list[Any], options: dict[str, Any], *, planning: bool
    ) -> dict[str, Any]:
        if command == "tune":
            search = loralathe.prepare_tune(model, *adapters, **options)
            if planning:
                return reports.of_tune_plan(search)
            return {
                "outputs": [str(one) for one in search.run().files],
                "folder": str(search.options.folder),
            }
        if options.pop("segments", False):
            segments = loralathe.prepare_segments(model, *adapters, **options)
            if planning:
                return reports.of_segments_plan(segments)
            folder = segments.options.blocks.folder
            return {"outputs": [str(one) for one in segments.run().files], "folder": str(folder)}
        prepared = getattr(model, f"prepare_{command}")(*adapters, **options)
        if planning:
            return reports.of_picture_plan(prepared)
        if command == "render":
            return {"outputs": [str(one) for one in prepared.run()]}
        folder = prepared.options.folder
        result = prepared.run()
        if command == "grid":
            return {"outputs": [str(one) for one in result.files], "folder": str(folder)}
        return {
            "outputs": [str(one) for one in sorted(folder.iterdir()) if one.is_file()],
            "folder": str(folder),
        }


def _placed(error: dict[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """An error that names one of the request's files is about the field that holds it."""
    files = [str(word).partition(".safetensors:")[0] for word in message.get("words", [])]
    command = COMMANDS.get(message.get("command", ""))
    at = next((i for i, file in enumerate(files) if file and error["where"].startswith(file)), None)
    if command is None or at is None or error["field"] is not None:
        return error
    recipe = bool(message.get("options", {}).get("recipe"))
    return {**error, "field": command.field(at, recipe=recipe)}


def _model_options() -> frozenset[str]:
    from dataclasses import fields

    return frozenset(one.name for one in fields(loralathe.ModelOptions))


MODEL_OPTIONS = _model_options()
REPORT_IT = "this is a fault of ours: tell us what you did, with the lines of the server's window"
OF_LORAS = ("check_lora", "convert_lora", "transfer")
OF_CARDS = ("make_card", "check_identity")
OF_SEVERAL = ("everywhere", "soup", "cure")
ANSWERS = ("compare", "verify", "block_weights")
QUESTIONS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "choices": reports.choices,
    "recipe": reports.of_recipe,
    "list": reports.of_list,
    "picture": reports.of_picture,
    "recorded": reports.recorded,
    "sweeps": reports.sweeps,
}


def plain(text: str) -> str:
    """The text as the workshop shows it: options by their names."""
    return loralathe.Message(text).spelled(lambda name, value: name if value is None else f"{name} = {value}")


def main() -> None:
    """Read messages until the server is gone; a `cancel` reaches the job that runs."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is for the server's window
    waiting: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
    tokens: dict[object, loralathe.Cancel] = {}

    def listen() -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if message["kind"] == "cancel":
                if token := tokens.get(message["id"]):
                    token.cancel()
            else:
                tokens[message["id"]] = loralathe.Cancel()
                waiting.put(message)
        for token in list(tokens.values()):
            token.cancel()
        waiting.put(None)

    threading.Thread(target=listen, daemon=True).start()
    worker = Worker(Speaker(stream))
    folders = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as own:
        tempfile.tempdir = own
        loralathe.confine(folders["reading"], [*folders["writing"], own])
        work_off(worker, waiting, tokens)


def work_off(
    worker: Worker,
    waiting: queue.Queue[Mapping[str, Any] | None],
    tokens: dict[object, loralathe.Cancel],
) -> None:
    """Do what comes, one after the other, until there is nothing more to come."""
    while (message := waiting.get()) is not None:
        worker.work(message, tokens[message["id"]])
        tokens.pop(message["id"], None)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
