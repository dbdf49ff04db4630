"""Pictures by a running ComfyUI: graphs go into its queue, pictures come out of its history."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import quote

from PIL.Image import Image

from loralathe.adapters import ModelFolders
from loralathe.errors import InputError, LatheError, is_out_of_memory, option, readable
from loralathe.families import Family
from loralathe.families.comfyui import ComfyParts, comfy_parts
from loralathe.progress import Progress
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.comfy_graph import CHOICES, Choices, Graph, LoraNode, graph_of, wanted_of
from loralathe.rendering.elsewhere.http import (
    Answer,
    Client,
    items,
    mapping,
    require_ok,
    text,
    texts,
    unreachable,
)
from loralathe.rendering.elsewhere.names import of_server
from loralathe.rendering.elsewhere.parts import OURS
from loralathe.rendering.elsewhere.pool import Pool
from loralathe.rendering.elsewhere.program import Settings, look_at, server_pool, taken_in
from loralathe.rendering.elsewhere.server_loras import ServerLora, ServerLoras
from loralathe.rendering.elsewhere.work import Batch, LostError, Report
from loralathe.rendering.infotext import FileHashes
from loralathe.rendering.prepare import Prepared, prepare
from loralathe.rendering.request import ImageRequest

SOONEST, LATEST = 0.02, 0.5
"""Seconds between two looks for a picture: often when it was just queued, seldom later."""
MISSED_SECONDS = 3.0
"""A graph that is neither in the queue nor in the history for so long was taken out by somebody."""
GOODBYE_SECONDS = 5.0
"""That the server has to answer when its work is taken back."""
ROOM = 1 << 20
"""Bytes of a PNG beside its pixels: ComfyUI writes the graph into it."""
QUEUED = 4
"""Graphs in its queue at once, so that it need not wait for the next."""


def comfy_pool(servers: Sequence[Server], settings: Settings, progress: Progress | None = None) -> Pool:
    """A renderer that asks these, which are all ComfyUI."""
    return server_pool(servers, settings, ComfyProgram, most=QUEUED, progress=progress)


class ComfyProgram:
    """One ComfyUI: what it offers, and the graphs that requests are there."""

    def __init__(self, server: Server, settings: Settings, loras: ServerLoras, progress: Progress) -> None:
        self.server = server
        self.hashes = FileHashes(enabled=settings.hashes, in_memory=frozenset(), progress=progress)
        self.folders = ModelFolders(settings.lora_dirs)
        self._settings = settings
        self._loras = loras
        self._choices = Choices()

    def check(self, prepared: Sequence[Prepared]) -> None:
        """Ask the server what it has, and plan every request. Raises InputError for what it cannot draw."""
        for one in prepared:  # parts of LoRAs are written first: the server lists them then
            self._uses(one)
        self._choices = self._ask_choices(embeddings=any(one.request.embeddings for one in prepared))
        for one in prepared:
            self.graph(one)

    def worker(self) -> ComfyWorker:
        return ComfyWorker(self)

    def graph(self, one: Prepared) -> Graph:
        """The graph of a request."""
        known = look_at(one.request.checkpoint)
        loras = [LoraNode(self._lora_name(use), use.te, use.unet) for use in self._uses(one)]
        return graph_of(
            wanted_of(
                one,
                known.family,
                _parts(known.family, one.request.checkpoint),
                self._choices,
                where=self.server.name,
                given=self._settings.encoders,
                loras=loras,
                guidance=known.usual.guidance,
            )
        )

    def _uses(self, one: Prepared) -> tuple[ServerLora, ...]:
        return self._loras.of(one.uses, look_at(one.request.checkpoint).family, one.request.seed)

    def _lora_name(self, use: ServerLora) -> str:
        known = self._choices.of("LoraLoader", "lora_name")
        try:
            return of_server(use.file, known, "LoRA", self.server.name, folder="models/loras")
        except InputError as error:
            if OURS not in use.file:
                raise
            raise InputError(
                "the server does not find the parts of a LoRA that were written for it",
                where=use.file,
                fix=f"{option('comfyui', 'DIR')} must be the folder of this very ComfyUI",
                about="comfyui",
            ) from error

    def _ask_choices(self, *, embeddings: bool) -> Choices:
        client, found = Client(self.server), dict[tuple[str, str], list[str]]()
        for node, names in CHOICES.items():
            try:
                info = mapping(client.json(f"/object_info/{node}"), "nodes").get(node)
            except LostError as error:
                raise unreachable(self.server, error) from error
            if info is None:  # an old version lacks the node
                continue
            inputs = mapping(mapping(info, "node").get("input"), "inputs").get("required")
            for name in names:
                found[node, name] = _options(mapping(inputs, "inputs").get(name))
        if not found:
            raise InputError(
                "this is not a ComfyUI", where=self.server.name, fix="check the address", about="on"
            )
        return Choices(found, texts(client.json("/embeddings"), "embeddings") if embeddings else ())


def _parts(family: Family, where: str) -> ComfyParts:
    parts = comfy_parts(family)
    if parts is None:
        raise InputError(f"{family.label} models draw no picture by themselves", where=where)
    return parts


def _options(value: object) -> list[str]:
    """Choices of an input: `[[…], {…}]`, or `["COMBO", {"options": […]}]` in newer versions."""
    first, *more = items(value, "choices")
    if first == "COMBO" and more:
        return [
            one
            for one in items(mapping(more[0], "choices").get("options"), "choices")
            if isinstance(one, str)
        ]
    return texts(first, "choices")


class ComfyWorker:
    """Puts the graphs of a batch into the queue and takes the pictures out; a worker of a `Pool`."""

    def __init__(self, program: ComfyProgram) -> None:
        self._program = program
        self._server = program.server
        self._client = Client(program.server)
        self._name = uuid.uuid4().hex

    def draw(self, batch: Batch, report: Report) -> None:
        waiting: dict[str, int] = {}
        trouble: list[str] = []
        try:
            for index, request in batch.requests.items():
                one = prepare(index, request, self._program.folders)
                waiting[self._queue(self._program.graph(one))] = index
            self._collect(batch, waiting, report, trouble)
        finally:
            if waiting:
                self._withdraw(waiting)
        if trouble:
            raise LostError(trouble[0])

    def _queue(self, graph: Graph) -> str:
        answer = self._client.post("/prompt", {"prompt": graph, "client_id": self._name})
        if answer.status == 400:
            raise _refused(answer, self._server)
        require_ok(answer, self._server.name)
        return text(mapping(answer.json(self._server.name), "answer").get("prompt_id"), "prompt_id")

    def _collect(self, batch: Batch, waiting: dict[str, int], report: Report, trouble: list[str]) -> None:
        """Take the pictures in the order of the queue, until none is waited for."""
        pause, seen = SOONEST, time.monotonic()
        while waiting:
            if self._client.over.wait(pause):
                raise LostError("it was stopped")
            number = next(iter(waiting))
            entry = self._finished(number)
            if entry is None:
                pause = min(pause * 1.5, LATEST)
                if time.monotonic() - seen > MISSED_SECONDS:
                    if number in self._in_queue():
                        seen = time.monotonic()
                    elif self._finished(number) is None:
                        raise LostError("the server has forgotten what it was asked for")
                continue
            pause, seen = SOONEST, time.monotonic()
            index = waiting.pop(number)
            request = batch.requests[index]
            try:
                image = self._picture(entry, request, index)
            except LostError as error:
                trouble.append(str(error))
            else:
                report.steps(request.all_steps)
                report.picture(index, image)
            with suppress(LostError):
                self._client.post("/history", {"delete": [number]})

    def _finished(self, number: str) -> Mapping[str, object] | None:
        """What the history says of a graph; None while it waits or runs."""
        entry = mapping(self._client.json(f"/history/{quote(number, safe='')}"), "history").get(number)
        return None if entry is None else mapping(entry, "history")

    def _in_queue(self) -> set[object]:
        found = mapping(self._client.json("/queue"), "queue")
        lists = (items(found.get(name), "queue") for name in ("queue_running", "queue_pending"))
        return {items(one, "queue")[1] for some in lists for one in some if len(items(one, "queue")) > 1}

    def _picture(self, entry: Mapping[str, object], request: ImageRequest, index: int) -> Image:
        """The only picture of a finished graph. Raises LostError for a graph that failed there."""
        status = mapping(entry.get("status") or {}, "status")
        if status.get("status_str") == "error":
            raise LostError(self._failure(status))
        outputs = mapping(entry.get("outputs"), "outputs")
        found = [
            one
            for node in outputs.values()
            for one in items(mapping(node, "output").get("images", []), "images")
        ]
        if len(found) != 1:
            raise LostError(f"{self._server.name} made {len(found)} pictures instead of one")
        place = mapping(found[0], "picture")
        query = {name: text(place.get(name), "picture") for name in ("filename", "subfolder", "type")}
        width, height = request.size
        answer = self._client.get("/view", query, limit=width * height * 4 + ROOM)
        require_ok(answer, self._server.name)
        one = prepare(index, request, self._program.folders)
        return taken_in(answer.body, request, self._server, self._program.hashes, one)

    def _failure(self, status: Mapping[str, object]) -> str:
        """Why a graph failed there; after lack of memory the server is asked to let go of models."""
        for message in items(status.get("messages", []), "messages"):
            kind, *more = items(message, "messages") or [None]
            if kind == "execution_interrupted":
                return f"{self._server.name}: somebody interrupted it there"
            if kind == "execution_error" and more:
                said = mapping(more[0], "message")
                words = f"{said.get('exception_type', '')}: {said.get('exception_message', '')}".strip(": \n")
                if "OutOfMemory" in words or is_out_of_memory(RuntimeError(words)):
                    with suppress(LostError):
                        self._client.post("/free", {"unload_models": True, "free_memory": True})
                    return f"{self._server.name}: out of memory"
                return f"{self._server.name}: {readable(' '.join(words.split()))}"
        return f"{self._server.name}: the graph failed there"

    def _withdraw(self, waiting: Mapping[str, int]) -> None:
        """Take graphs out of the queue, and interrupt the one of them that runs; others' work goes on."""
        client = Client(self._server, GOODBYE_SECONDS)
        with suppress(LostError, LatheError):
            client.post("/queue", {"delete": list(waiting)})
            running = mapping(client.json("/queue"), "queue").get("queue_running")
            for entry in items(running, "queue"):
                number = next(iter(items(entry, "queue")[1:2]), None)
                if number in waiting:
                    client.post("/interrupt", {"prompt_id": number})

    def forget(self) -> None:
        return

    def stop(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.abort()


def _refused(answer: Answer, server: Server) -> InputError:
    """What ComfyUI says of a graph that it does not take."""
    found = mapping(answer.json(server.name), "answer")
    error = found.get("error")
    said = error if isinstance(error, str) else str(mapping(error, "error").get("message", ""))
    details = []
    nodes = found.get("node_errors")
    for node in nodes.values() if isinstance(nodes, dict) else ():
        kind = mapping(node, "error").get("class_type", "")
        for one in items(mapping(node, "error").get("errors", []), "errors"):
            details.append(f"{kind}: {mapping(one, 'error').get('details', '')}")
    return InputError(
        f"{server.label} refuses the graph: {readable(said)}",
        where=f"{server.name}: {readable('; '.join(details[:3]))}" if details else server.name,
        fix="update that program, or draw here",
    )
