"""The addresses of the server: JSON in, JSON out, files, and the one page."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as Asked
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from loralathe import InputError, LatheError, MachineError
from loralathe.workshop.app import RefusedError, Workshop
from loralathe.workshop.commands import COMMANDS, MOST_WORDS, read_json, read_request
from loralathe.workshop.errors import as_json, said
from loralathe.workshop.fields import forms
from loralathe.workshop.history import history
from loralathe.workshop.kept import Kept, keep_picture
from loralathe.workshop.language import labeller, language_of, sayer, translated_job, translated_report
from loralathe.workshop.library import details, label_of, state_of, thumbnail_of
from loralathe.workshop.openapi import openapi
from loralathe.workshop.pages import page_data, whole_page, words_of
from loralathe.workshop.places import MODELS
from loralathe.workshop.safety import SANDBOX, Guard, is_loopback, log

Answer = Callable[[Asked], Awaitable[Any]]


class Api:
    """The functions behind the addresses."""

    def __init__(self, workshop: Workshop) -> None:
        self.shop = workshop
        self.kept = Kept(workshop)

    async def session(self, asked: Asked) -> dict[str, Any]:
        """Version, language, folders, and what the forms hold at first."""
        shop = self.shop
        places = [{"name": one.name, "kind": one.kind, "folder": str(one.folder)} for one in shop.places]
        return {
            "version": shop.version,
            "boot": shop.boot,
            "language": language_of(asked),
            "system": _system(),
            "places": places,
            "demo": shop.options.demo,
            "start": dict(shop.options.start),
            "frames": list(shop.options.frames),
        }

    async def library(self, asked: Asked) -> dict[str, Any]:
        """Files of a kind, by words and family; with `base`, whether each fits it."""
        query = asked.query_params
        found = self.shop.library.list(
            query.get("kind", "checkpoint"),
            search=query.get("search", ""),
            family=query.get("family", ""),
            base=query.get("base", ""),
            offset=_count(query.get("offset"), 0),
            limit=_count(query.get("limit"), 200),
        )
        say = sayer(asked)
        for one in found["files"]:
            one["reason"] = say(one["reason"]) if one["reason"] else ""
        return found

    async def file(self, asked: Asked) -> dict[str, Any]:
        """One file: what it is, its metadata, parts and record."""
        name = asked.query_params.get("name", "")
        path = self.shop.places.file(name)
        facts = self.shop.library.facts(path)
        picture = f"/api/thumbnail?name={name}" if facts.get("picture") else None
        known = {key: value for key, value in facts.items() if key not in ("is", "picture")}
        return self._details(path, asked) | {
            "name": name,
            "kind": facts.get("is"),
            "thumbnail": picture,
            **known,
        }

    def _details(self, path: Path, asked: Asked) -> dict[str, Any]:
        found, say, label = details(path), sayer(asked), labeller(asked)
        found["rows"] = [[label(key), say(text)] for key, text in found["rows"]]
        found["parts"] = [[label(name), *numbers] for name, *numbers in found["parts"]]
        return {"label": label_of(path), "size": state_of(path)[0], **found}

    async def thumbnail(self, asked: Asked) -> Response:
        """The picture beside a model."""
        path = self.shop.places.file(asked.query_params.get("name", ""))
        picture = thumbnail_of(self.shop.library, path)
        if self.shop.places.name(picture) is None:
            raise InputError("the picture is outside of the folders")
        return FileResponse(picture, headers={"Content-Security-Policy": SANDBOX})

    async def look(self, asked: Asked) -> dict[str, Any]:
        """A file that was dropped: a picture's settings, or what a model is."""
        async with asked.form(max_files=1, max_fields=4) as form:
            given = form.get("file")
            if given is None or isinstance(given, str):
                raise InputError("no file was sent", fix="send it as multipart, in the field 'file'")
            with tempfile.TemporaryDirectory(prefix=".", dir=self.shop.places.out) as folder:
                name = Path(given.filename or "file").name
                suffix = next((one for one in MODELS if name.lower().endswith(one)), "")
                path = Path(folder) / f"file{suffix}"
                path.write_bytes(await given.read())
                try:
                    return await self._looked(path, asked)
                except LatheError as error:
                    raise RefusedError(_renamed(as_json(error), path, name)) from error
                except RefusedError as refused:
                    raise RefusedError(_renamed(refused.error, path, name)) from refused

    async def _looked(self, path: Path, asked: Asked) -> dict[str, Any]:
        with path.open("rb") as file:
            is_picture = file.read(6) == b"\x89PNG\r\n"
        if not is_picture:
            return {"kind": "model", **self._details(path, asked)}
        found = await self.shop.ask("picture", words=[str(path)])
        notes = [sayer(asked)(note) for note in found["notes"]]
        return {
            "kind": "picture",
            "settings": found["settings"],
            "notes": notes,
            "infotext": found["infotext"],
        }

    async def picture(self, asked: Asked) -> dict[str, Any]:
        """A picture that somebody gives, kept under a name by its content."""
        async with asked.form(max_files=1, max_fields=4) as form:
            given = form.get("file")
            if given is None or isinstance(given, str):
                raise InputError("no file was sent", fix="send it as multipart, in the field 'file'")
            return {"name": keep_picture(self.shop.places, given.filename or "", await given.read())}

    async def sweeps(self, asked: Asked) -> list[dict[str, Any]]:
        """What a search over some LoRAs may change: their strengths, text encoders, parts of their blocks."""
        body = read_json(await asked.body())
        checkpoint = str(self.shop.places.file(str(body.get("checkpoint", ""))))
        loras = body.get("loras")
        names = [str(one) for one in loras[:MOST_WORDS]] if isinstance(loras, list) else []
        words = [checkpoint, *(str(self.shop.places.file(one)) for one in names)]
        found = await self.shop.ask("sweeps", words=words)
        return [{"lora": names[one.pop("at")], **one} for one in map(dict, found["sweeps"])]

    async def fields(self, asked: Asked) -> dict[str, Any]:
        """The options of every command as fields of a form."""
        choices = (await self.shop.choices())["choices"]
        found = forms(labeller(asked), choices)
        return {
            "commands": {
                name: {"words": list(COMMANDS[name].words), "options": one} for name, one in found.items()
            }
        }

    async def axes(self, asked: Asked) -> list[dict[str, Any]]:
        """An example of every kind of axis."""
        examples = (await self.shop.choices())["axes"]
        return [{"example": one, "name": one.partition("=")[0].strip()} for one in examples]

    async def plan(self, asked: Asked) -> dict[str, Any]:
        """What a request would do, in words and sizes; nothing is written."""
        request = read_request(read_json(await asked.body()), self.shop.places)
        message = {"command": request.command, "words": request.call_words, "options": request.call_options}
        found = dict(await self.shop.ask("plan", **message))
        say, label = sayer(asked), labeller(asked)
        outputs = [
            {"name": self.shop.places.name(one["path"]), "exists": one["exists"]} for one in found["outputs"]
        ]
        return {
            "command_line": {"posix": request.line("posix"), "nt": request.line("nt")},
            "recipe": found["recipe"],
            "rows": [[label(key), say(text)] for key, text in found["rows"]],
            "notes": [say(note) for note in found["notes"]],
            "outputs": outputs,
            "pictures": found.get("pictures"),
            "seconds": found.get("seconds"),
        }

    async def ask(self, asked: Asked) -> dict[str, Any]:
        """A short question, answered beside the queue: block_weights, compare or verify."""
        request = read_request(read_json(await asked.body()), self.shop.places)
        message = {"command": request.command, "words": request.call_words, "options": request.call_options}
        return translated_report(dict(await self.shop.ask("job", **message))["report"], asked)

    async def list_of(self, asked: Asked) -> dict[str, Any]:
        """A list of block weights, or the name of one, by blocks."""
        body = read_json(await asked.body())
        checkpoint = str(self.shop.places.file(str(body.get("checkpoint", ""))))
        presets = self.kept.lists()
        found = await self.shop.ask("list", words=[str(body.get("list", "")), checkpoint, presets])
        return {"blocks": found["blocks"], "kind": found["kind"]}

    async def jobs(self, asked: Asked) -> Any:
        """The latest jobs; or a request, put into the queue."""
        if asked.method == "POST":
            job = self.shop.jobs.add(read_json(await asked.body()))
            return JSONResponse(self._job(job, asked), 201)
        limit = _count(asked.query_params.get("limit"), 50)
        return {
            "jobs": [self._job(one, asked) for one in self.shop.store.jobs(limit)],
            "paused": self.shop.jobs.paused,
        }

    async def job(self, asked: Asked) -> dict[str, Any]:
        """One job with its log and pictures; or forget it, with `files=true` what it made, too."""
        number = asked.path_params["id"]
        if asked.method == "DELETE":
            self.shop.jobs.delete(number, files=asked.query_params.get("files") == "true")
            return {}
        return self._job(self.shop.store.job(number), asked, whole=True)

    def _job(self, job: dict[str, Any], asked: Asked, *, whole: bool = False) -> dict[str, Any]:
        return translated_job(self.shop.jobs.shown(job, whole=whole), asked)

    async def act(self, asked: Asked) -> Any:
        """Cancel a job, do it again, or move it before another one."""
        number, act = asked.path_params["id"], asked.path_params["act"]
        if act == "cancel":
            await self.shop.jobs.cancel(number)
        elif act == "again":
            return JSONResponse(self._job(self.shop.jobs.again(number), asked), 201)
        elif act == "move":
            before = read_json(await asked.body()).get("before")
            self.shop.jobs.move(number, str(before) if before else None)
        else:
            raise InputError(f"a job cannot '{act}'", fix="cancel, again or move")
        return self._job(self.shop.store.job(number), asked)

    async def queue(self, asked: Asked) -> dict[str, Any]:
        """No further job starts, or they do again."""
        act = asked.path_params["act"]
        if act not in ("pause", "resume"):
            raise InputError(f"a queue cannot '{act}'", fix="pause or resume")
        self.shop.jobs.pause(act == "pause")
        return {"paused": self.shop.jobs.paused}

    async def page(self, asked: Asked) -> Any:
        """The data of a study's page, its pictures as addresses."""
        job = self.shop.store.job(asked.path_params["id"])
        try:
            return page_data(job, self.shop.places)
        except InputError as error:  # its first picture is not there yet
            return JSONResponse({"error": said(as_json(error), sayer(asked))}, 404)

    async def recorded(self, asked: Asked) -> dict[str, Any]:
        """The recipe in a file that loralathe made."""
        path = self.shop.places.file(asked.query_params.get("name", ""))
        return {"recipe": (await self.shop.ask("recorded", words=[str(path)]))["recipe"]}

    async def history(self, asked: Asked) -> dict[str, Any]:
        """What was made from what."""
        return {"nodes": history(self.shop.store, self.shop.library)}

    async def events(self, asked: Asked) -> Response:
        """Server-sent events: hello, job, cell, log, page, library."""

        def translate(event: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
            if event == "job" and "command" in data:
                return translated_job(dict(data), asked)
            return {**data, "text": sayer(asked)(data["text"])} if event == "log" else data

        hello = {"version": self.shop.version, "boot": self.shop.boot}
        return StreamingResponse(self.shop.events.stream(hello, translate), media_type="text/event-stream")

    async def stored(self, asked: Asked) -> Response:
        name = asked.path_params["name"]
        path = self.shop.places.file(name)
        if not name.startswith("out/") or path.suffix.lower() not in _SERVED:
            raise HTTPException(404)
        headers = {"Content-Security-Policy": SANDBOX, "Cache-Control": "no-cache"}
        if not _SERVED[path.suffix.lower()]:
            return FileResponse(path, filename=path.name)
        if path.suffix.lower() == ".html":
            return HTMLResponse(await asyncio.to_thread(whole_page, path), headers=headers)
        return FileResponse(path, headers=headers, media_type=_SERVED[path.suffix.lower()])

    async def shell(self, asked: Asked) -> Response:
        from jinja2 import Environment, PackageLoader

        page = Environment(loader=PackageLoader("loralathe.workshop"), autoescape=True).get_template(
            "shell.html"
        )
        session = await self.session(asked)
        text = page.render(
            language=session["language"], version=self.shop.boot, words=words_of(), session=session
        )
        return HTMLResponse(text)


_SERVED = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".card": "",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/plain; charset=utf-8",
    ".toml": "text/plain; charset=utf-8",
    ".safetensors": "",
}


def application(workshop: Workshop) -> Starlette:
    """The whole server."""
    api = Api(workshop)
    table = _table(api)
    routes = [Route("/api/" + path, answering(one), methods=methods) for path, one, methods in table]
    routes.append(Route("/api/openapi.json", lambda asked: JSONResponse(openapi(table)), methods=["GET"]))
    with (
        as_file(files("loralathe.studies.page")) as study,
        as_file(files("loralathe.workshop") / "static") as static,
    ):
        routes += [
            Route("/static/study.css", answering(lambda asked: _study_style(study)), methods=["GET"]),
        ]
        mounts = [
            Mount("/static/study", StaticFiles(directory=study)),
            Mount("/static", StaticFiles(directory=static)),
        ]
    pages = [Route("/", answering(api.shell)), Route("/files/{name:path}", answering(api.stored))]
    hosts = (
        {workshop.options.host, "localhost", "127.0.0.1", "[::1]"}
        if is_loopback(workshop.options.host)
        else None
    )
    guard = Middleware(Guard, hosts=hosts, token=workshop.token, frames=workshop.options.frames)
    return Starlette(
        routes=[*routes, *pages, *mounts],
        middleware=[guard],
        lifespan=lambda app: workshop.running(),
        exception_handlers={HTTPException: _not_found},
    )


def _table(api: Api) -> list[tuple[str, Answer, list[str]]]:
    get, post = ["GET"], ["POST"]
    return [
        ("session", api.session, get),
        ("library", api.library, get),
        ("file", api.file, get),
        ("thumbnail", api.thumbnail, get),
        ("look", api.look, post),
        ("pictures", api.picture, post),
        ("sweeps", api.sweeps, post),
        ("fields", api.fields, get),
        ("axes", api.axes, get),
        ("plan", api.plan, post),
        ("ask", api.ask, post),
        ("list", api.list_of, post),
        ("jobs", api.jobs, ["GET", "POST"]),
        ("jobs/{id}", api.job, ["GET", "DELETE"]),
        ("jobs/{id}/page", api.page, get),
        ("jobs/{id}/{act}", api.act, post),
        ("queue/{act}", api.queue, post),
        ("presets", api.kept.presets, get),
        ("presets/{name}", api.kept.preset, ["PUT", "DELETE"]),
        ("profiles", api.kept.profiles, get),
        ("profiles/{name}", api.kept.profile, ["PUT", "DELETE"]),
        ("recipe", api.kept.recipe_check, post),
        ("recipes", api.kept.recipes, get),
        ("recipes/{name}", api.kept.recipe, ["GET", "PUT", "DELETE"]),
        ("recorded", api.recorded, get),
        ("history", api.history, get),
        ("events", api.events, get),
    ]


def answering(answer: Answer) -> Callable[[Asked], Awaitable[Response]]:
    """The function as an endpoint: its errors as JSON, in the person's language."""

    async def endpoint(asked: Asked) -> Response:
        try:
            found = await answer(asked)
        except RefusedError as refused:
            return JSONResponse({"error": said(refused.error, sayer(asked))}, 422)
        except LatheError as error:
            return JSONResponse({"error": said(as_json(error), sayer(asked))}, 422)
        except OSError as error:
            log.warning("%s %s: %s", asked.method, asked.url.path, error)
            told = as_json(MachineError(f"the system refused: {error.strerror or error}"))
            return JSONResponse({"error": said(told, sayer(asked))}, 500)
        return found if isinstance(found, Response) else JSONResponse(found)

    return endpoint


async def _not_found(asked: Asked, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = error.status_code in (404, 405)
    text = "there is nothing at this address" if known else "what was sent cannot be read"
    what = {"what": sayer(asked)(text), "where": "" if known else error.detail, "fix": "", "field": None}
    return JSONResponse({"error": what}, error.status_code)


async def _study_style(folder: Path) -> Response:
    return FileResponse(folder / "style.css", media_type="text/css")


def _renamed(error: dict[str, Any], path: Path, name: str) -> dict[str, Any]:
    """The same error of a file that somebody sent, by its own name."""
    return {**error, "where": error["where"].replace(str(path), name)}


def _count(text: str | None, default: int) -> int:
    return min(int(text), 100_000) if text and re.fullmatch("[0-9]{1,6}", text) else default


def _system() -> str:
    return "nt" if os.name == "nt" else "posix"
