"""The queue: one job after the other in a process of its own, with everything that it says kept and told."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loralathe import InputError, MachineError, option
from loralathe.workshop.commands import Request, inputs_of, output_of, read_request
from loralathe.workshop.errors import as_json
from loralathe.workshop.events import Events
from loralathe.workshop.pages import PAGES, page_kind
from loralathe.workshop.places import MODELS, Places
from loralathe.workshop.process import DiedError, Process
from loralathe.workshop.safety import log
from loralathe.workshop.store import CANCELLED, DONE, FAILED, INTERRUPTED, LIVE, RUNNING, WAITING, Job, Store

REST_SECONDS = 5.0


class Jobs:
    def __init__(self, store: Store, process: Process, places: Places, events: Events) -> None:
        self._store, self._process, self._places, self._events = store, process, places, events
        self._wake = asyncio.Event()
        self._running: str | None = None
        self._began: tuple[str, float, int] = ("", 0.0, 0)
        self.paused = False

    def add(self, given: Mapping[str, Any]) -> Job:
        """A request, checked, at the end of the queue."""
        request = read_request(given, self._places)
        self._require_free(request)
        title = str(given.get("title") or "")[:200]
        line = {"posix": request.line("posix"), "nt": request.line("nt")}
        job = self._store.add(request.as_json(), line, inputs_of(request), title)
        self._tell(job["id"])
        self._wake.set()
        return job

    def _require_free(self, request: Request) -> None:
        """InputError where a job that waits or runs makes the same file."""
        output = output_of(request.as_json(), self._places)
        for job in self._store.jobs() if output else ():
            if job["state"] in LIVE and output_of(job["request"], self._places) == output:
                raise InputError(
                    "another job is about to make this", where=option("output"), fix="choose another name"
                )

    async def cancel(self, number: str) -> None:
        """One that waits is cancelled at once, one that runs as soon as it can stop cleanly."""
        job = self._store.job(number)
        if job["state"] == WAITING:
            self._end(number, CANCELLED)
        elif job["state"] == RUNNING:
            await self._process.cancel(number)

    def again(self, number: str) -> Job:
        """The same once more; a study goes on where it stopped."""
        return self.add({**self._store.job(number)["request"], "title": self._store.job(number)["title"]})

    def move(self, number: str, before: str | None) -> None:
        self._store.move(number, before)
        for one in self._store.queue():
            self._tell(one)

    def pause(self, paused: bool) -> None:
        """No further job starts; the one that runs goes on to its end."""
        self.paused = paused
        self._wake.set()
        for one in self._store.queue():
            self._tell(one)

    def delete(self, number: str, *, files: bool) -> None:
        """Forget a job; with files, what it made, too. InputError for one that runs."""
        job = self._store.job(number)
        if job["state"] == RUNNING:
            raise InputError("the job runs", fix="cancel it first")
        if files:
            for output in job["outputs"]:
                made = self._places.locate(output["name"])
                if made.is_dir():
                    shutil.rmtree(made, ignore_errors=True)
                else:
                    made.unlink(missing_ok=True)
            if job["folder"]:
                self._remove_study(self._places.locate(job["folder"]))
        self._store.delete(number)
        self._events.tell("job", {"id": number, "state": "gone"})

    @staticmethod
    def _remove_study(folder: Path) -> None:
        """The folder, unless it holds models or another study, too."""
        inside = list(folder.rglob("*"))
        studies = sum(one.name == "study.json" for one in inside)
        several = (folder / "everywhere.json").is_file()  # a study for each base, all of one job
        if (studies < 2 or several) and not any(one.suffix.lower() in MODELS for one in inside):
            shutil.rmtree(folder, ignore_errors=True)

    async def run(self) -> None:
        """Work off the queue for as long as the server lives."""
        self._store.interrupt()
        with contextlib.suppress(OSError):
            await self._process.start()
        while True:
            job = None if self.paused else self._store.next()
            if job is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._one(job)
            except (OSError, sqlite3.Error) as error:  # such as a full disk: it goes on when there is room
                log.warning("the queue rests: %s", error)
                await asyncio.sleep(REST_SECONDS)

    async def _one(self, job: Job) -> None:
        number = job["id"]
        self._running, self._began = number, ("", 0.0, 0)
        self._store.change(number, state=RUNNING, started=time.time(), error=None)
        self._tell(number)
        try:
            request = read_request(job["request"], self._places)
            message = {
                "id": number,
                "kind": "job",
                "command": request.command,
                "words": request.call_words,
                "options": request.call_options,
            }
            last = await self._process.work(message, lambda event: self._heard(number, event))
        except InputError as error:  # a file may be gone since
            self._end(number, FAILED, error=as_json(error))
        except DiedError as died:
            self._end(number, FAILED, error=as_json(_killed(died)))
        except asyncio.CancelledError:
            self._end(number, INTERRUPTED)
            raise
        else:
            self._finished(number, last)
        self._running = None

    def _heard(self, number: str, event: Mapping[str, Any]) -> None:
        if event["event"] == "log":
            when = self._store.log(number, event["text"])
            self._events.tell("log", {"job": number, "time": when, "text": event["text"]})
        elif event["event"] == "cell":
            name = self._places.name(event["path"])
            if name is not None:
                self._store.cell(number, event["index"], event["total"], name, event["labels"])
                cell = {"index": event["index"], "total": event["total"], "url": f"/files/{name}"}
                self._events.tell("cell", {"job": number, **cell, "labels": event["labels"]})
                self._page(number, event["path"])
        elif event["event"] == "progress":
            self._store.change(number, progress=self._progress(event))
            self._tell(number)

    def _page(self, number: str, picture: str) -> None:
        """The study's folder is known by its first picture; from then on its page can be shown."""
        job = self._store.job(number)
        if job["folder"] is None:
            folder = Path(picture).parent.parent
            if job["command"] == "everywhere":  # the pictures lie in the folder of one base
                folder = folder.parent
            self._store.change(number, folder=self._places.name(folder))
            self._events.tell("page", {"job": number})

    def _progress(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Counts, and the seconds left by the pace since the task began."""
        task, done, total = event["task"], event["done"], event["total"]
        if self._began[0] != task or event["kind"] == "start":
            self._began = (task, time.monotonic(), done)
        spent, made = time.monotonic() - self._began[1], done - self._began[2]
        left = spent / made * (total - done) if total and made > 0 else None
        return {"task": task, "done": done, "total": total, "unit": event["unit"], "seconds_left": left}

    def _finished(self, number: str, last: Mapping[str, Any]) -> None:
        if last["event"] == "cancelled":
            self._end(number, CANCELLED)
        elif last["event"] == "failed":
            self._end(number, FAILED, error=last["error"])
        else:
            outputs = [self._output(path) for path in last.get("outputs", [])]
            folder = last.get("folder") and self._places.name(last["folder"])
            kept = {"folder": folder} if folder else {}
            self._end(
                number, DONE, outputs=[one for one in outputs if one], report=last.get("report"), **kept
            )
            self._events.tell("library", {})

    def _output(self, path: str) -> dict[str, Any] | None:
        name = self._places.name(path)
        if name is None:
            return None
        suffix = Path(path).suffix.lower()
        kinds = {".png": "picture", ".html": "page", ".safetensors": "model", ".card": "model"}
        kind = kinds.get(suffix, "data")
        if Path(path).is_dir():  # a model in the layout of diffusers
            return {"name": name, "url": "", "kind": "model", "size": _size_of(Path(path))}
        size = Path(path).stat().st_size if Path(path).is_file() else 0
        return {"name": name, "url": f"/files/{name}", "kind": kind, "size": size}

    def _end(self, number: str, state: str, **values: Any) -> None:
        self._store.change(number, state=state, ended=time.time(), progress=None, **values)
        self._tell(number)
        if self._store.job(number)["folder"]:
            self._events.tell("page", {"job": number})

    def _tell(self, number: str) -> None:
        self._events.tell("job", self.shown(self._store.job(number)))

    def shown(self, job: Job, *, whole: bool = False) -> dict[str, Any]:
        """A job as the API gives it; whole: with its log and pictures."""
        request = job["request"]
        queue = self._store.queue()
        found = {
            "id": job["id"],
            "command": job["command"],
            "words": request["words"],
            "options": request["options"],
            "title": job["title"],
            "state": job["state"],
            "created": job["created"],
            "started": job["started"],
            "ended": job["ended"],
            "progress": job["progress"],
            "error": job["error"],
            "outputs": job["outputs"],
            "page": job["folder"] is not None and page_kind(job) in PAGES,
            "report": job["report"],
            "command_line": job["line"],
            "folder": job["folder"],
            "paused": self.paused,
            "position": queue.index(job["id"]) + 1 if job["id"] in queue else 0,
        }
        if whole:
            found["log"] = self._store.lines(job["id"])
            found["cells"] = [
                {
                    "index": one["index"],
                    "total": one["total"],
                    "url": f"/files/{one['path']}",
                    "labels": one["labels"],
                }
                for one in self._store.cells(job["id"])
            ]
        return found


def _size_of(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def _killed(died: DiedError) -> MachineError:
    if str(died) == "SIGKILL":
        fix = "most likely memory ran out: use a smaller size, fewer pictures at once, or Low VRAM"
    else:
        fix = "start it again; a study goes on where it stopped"
    return MachineError("the process that computes was ended", where=str(died), fix=fix)
