"""Pictures by a running A1111 or Forge, over its HTTP API: one request, one answer with the picture."""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Sequence
from contextlib import suppress

from PIL.Image import Image

from loralathe.adapters import ModelFolders
from loralathe.errors import InputError, LatheError, readable
from loralathe.progress import Progress
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.http import Answer, Client, items, mapping, require_ok, text, unreachable
from loralathe.rendering.elsewhere.pool import Pool
from loralathe.rendering.elsewhere.program import Settings, look_at, server_pool, taken_in
from loralathe.rendering.elsewhere.server_loras import ServerLora, ServerLoras
from loralathe.rendering.elsewhere.webui_payload import FORGE_MODULES, Payloads, WebuiLists
from loralathe.rendering.elsewhere.work import Batch, LostError, Report
from loralathe.rendering.infotext import FileHashes
from loralathe.rendering.prepare import Prepared, prepare
from loralathe.rendering.request import ImageRequest

API = "/sdapi/v1"
IN_TURN = 2
"""Pictures that a server is given at once; it draws one after the other."""
LONGEST_PICTURE = 3600.0
"""Seconds that a server may take for one picture, with the loading of its model."""
LOOK_SECONDS = 1.0
"""Between two looks how far a picture is."""
MOST_MISSED = 5
"""Looks in a row without an answer, after which the server counts as gone."""
GOODBYE_SECONDS = 5.0
ROOM = 4 << 20
"""Bytes of an answer beside the picture."""


def webui_pool(servers: Sequence[Server], settings: Settings, progress: Progress | None = None) -> Pool:
    """A renderer that asks these, which are all A1111 or Forge."""
    return server_pool(servers, settings, WebuiProgram, most=IN_TURN, progress=progress)


class WebuiProgram:
    """One A1111 or Forge: what it has, and the payloads that requests are there."""

    def __init__(self, server: Server, settings: Settings, loras: ServerLoras, progress: Progress) -> None:
        self.server = server
        self.hashes = FileHashes(enabled=settings.hashes, in_memory=frozenset(), progress=progress)
        self.folders = ModelFolders(settings.lora_dirs)
        self._encoders = settings.encoders
        self._loras = loras
        self._payloads = Payloads(server)

    def check(self, prepared: Sequence[Prepared]) -> None:
        """Ask the server what it has, and plan every request. Raises InputError for what it cannot draw."""
        for one in prepared:  # parts of LoRAs are written first: the server lists them then
            self._uses(one)
        self._payloads = Payloads(self.server, self._ask_lists(), self._encoders)
        for one in prepared:
            self.payload(one)

    def worker(self) -> WebuiWorker:
        return WebuiWorker(self)

    def payload(self, one: Prepared) -> dict[str, object]:
        """The body of txt2img for a request."""
        return self._payloads.payload(one, self._uses(one))

    def model_name(self, request: ImageRequest) -> str:
        """What the server says that it drew with."""
        return self._payloads.model_name(request)

    def _uses(self, one: Prepared) -> tuple[ServerLora, ...]:
        return self._loras.of(one.uses, look_at(one.request.checkpoint).family, one.request.seed)

    def _ask_lists(self) -> WebuiLists:
        client = Client(self.server)

        def ask(path: str) -> object:
            try:
                return client.json(f"{API}/{path}")
            except LostError as error:
                raise unreachable(self.server, error) from error

        def files(path: str, called: str) -> dict[str, str]:
            found = [mapping(one, "file") for one in items(ask(path), "files")]
            return {
                text(one.get("filename", one.get("path")), "path"): text(one.get(called), "name")
                for one in found
            }

        if self._loras.written:
            with suppress(LostError):
                client.post(f"{API}/refresh-loras", {})
        options = frozenset(mapping(ask("options"), "options"))
        models = [mapping(one, "file") for one in items(ask("sd-models"), "files")]
        embeddings = mapping(ask("embeddings"), "embeddings")
        named = [mapping(embeddings.get(key, {}), "embeddings") for key in ("loaded", "skipped")]
        return WebuiLists(
            {text(one.get("filename"), "path"): text(one.get("title"), "name") for one in models},
            {text(one.get("title"), "name"): text(one.get("model_name"), "name") for one in models},
            files("sd-modules" if FORGE_MODULES in options else "sd-vae", "model_name"),
            files("loras", "name"),
            [name for one in named for name in one],
            _labels(ask("samplers"), "name"),
            _labels(ask("schedulers"), "label"),
            [*_labels(ask("upscalers"), "name"), *_labels(ask("latent-upscale-modes"), "name")],
            options,
        )


def _labels(value: object, key: str) -> list[str]:
    return [text(mapping(one, "entry").get(key), "name") for one in items(value, "list")]


class WebuiWorker:
    """Asks for the pictures of a batch, one after the other; a worker of a `Pool`."""

    def __init__(self, program: WebuiProgram) -> None:
        self._program = program
        self._server = program.server
        self._client = Client(program.server)

    def draw(self, batch: Batch, report: Report) -> None:
        trouble: list[str] = []
        for index, request in batch.requests.items():
            one = prepare(index, request, self._program.folders)
            steps = Steps(report, request.all_steps)
            try:
                answer = self._ask(self._program.payload(one), request, steps)
                image = self._picture(answer, one)
            except LostError as error:
                steps.set(0)
                if self._client.over.is_set():
                    raise
                trouble.append(str(error))
            else:
                steps.set(request.all_steps)
                report.picture(index, image)
        if trouble:
            raise LostError(trouble[0])

    def _ask(self, payload: dict[str, object], request: ImageRequest, steps: Steps) -> Answer:
        """The answer, which comes when the picture is finished; meanwhile, how far it is."""
        width, height = request.size
        limit = width * height * 6 + ROOM
        asking = Asking(self._client, payload, limit)
        missed = 0
        while not asking.finished.wait(LOOK_SECONDS):
            if self._client.over.is_set():
                self._interrupt()
                raise LostError("it was stopped")
            try:
                steps.share(_progress(self._client))
                missed = 0
            except LostError as error:
                missed += 1
                if missed >= MOST_MISSED:
                    self._client.abort()
                    raise LostError(f"{self._server.name} does not answer any more") from error
        if self._client.over.is_set():
            self._interrupt()
        return asking.answer()

    def _picture(self, answer: Answer, one: Prepared) -> Image:
        name, request = self._server.name, one.request
        if answer.status in (404, 422):
            raise InputError(
                "the server refuses the request",
                where=f"{name}: {answer.text}",
                fix="update that program, or draw here",
            )
        if answer.status == 500 and b"memory" in answer.body.lower():
            raise LostError(f"{name}: out of memory")
        require_ok(answer, name)
        found = mapping(answer.json(name), "answer")
        _check_info(text(found.get("info"), "info"), one, self._program.model_name(request), self._server)
        images = items(found.get("images"), "images")
        if len(images) != 1:
            raise LostError(f"{name} made {len(images)} pictures instead of one")
        try:
            data = base64.b64decode(text(images[0], "picture"), validate=True)
        except binascii.Error as error:
            raise LostError(f"{name} sent no picture that can be read") from error
        return taken_in(data, request, self._server, self._program.hashes, one)

    def _interrupt(self) -> None:
        with suppress(LostError, LatheError):
            Client(self._server, GOODBYE_SECONDS).post(f"{API}/interrupt", {})

    def forget(self) -> None:
        return

    def stop(self) -> None:
        self._client.over.set()

    def close(self) -> None:
        self._client.abort()


class Asking:
    """A request whose answer takes as long as the picture, in a thread of its own."""

    def __init__(self, client: Client, payload: dict[str, object], limit: int) -> None:
        self.finished = threading.Event()
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(client, payload, limit), daemon=True)
        self._thread.start()

    def _run(self, client: Client, payload: dict[str, object], limit: int) -> None:
        try:
            self._answer = client.post(f"{API}/txt2img", payload, limit=limit, wait=LONGEST_PICTURE)
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
            self._error = error
        self.finished.set()

    def answer(self) -> Answer:
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer


class Steps:
    """Steps of one picture, told as they are done."""

    def __init__(self, report: Report, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0

    def share(self, share: float) -> None:
        """So much of the picture is done, at most all but the last step."""
        self.set(max(self._done, min(int(share * self._total), self._total - 1)))

    def set(self, done: int) -> None:
        if done != self._done:
            self._report.steps(done - self._done)
            self._done = done


def _progress(client: Client) -> float:
    """How much of the picture is done, 0 to 1."""
    answer = client.get(f"{API}/progress", {"skip_current_image": "true"})
    if answer.status != 200:
        return 0.0
    share = mapping(answer.json(client.server.name), "progress").get("progress")
    return float(share) if isinstance(share, (int, float)) and 0 <= share <= 1 else 0.0


def _check_info(info: str, one: Prepared, model: str, server: Server) -> None:
    """LostError unless the picture was made as it was asked for: A1111 replaces what it does not find."""
    try:
        found = mapping(json.loads(info), "info")
    except (ValueError, RecursionError):
        raise LostError(f"{server.name} sent no info of the picture") from None
    for what, said, asked in (
        ("model", found.get("sd_model_name", model), model),
        ("seed", found.get("seed"), one.request.seed),
        ("sampler", found.get("sampler_name", one.sampler), one.sampler),
    ):
        if str(said).casefold() != str(asked).casefold():
            raise LostError(
                f"{server.name} drew with the {what} '{readable(str(said))}' instead of '{asked}'"
            )
