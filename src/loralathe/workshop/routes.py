"""The addresses of the server: JSON in, JSON out, files, and the one page."""

from __future__ import annotations

import json
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

from loralathe import (
    InputError,
    LatheError,
    MachineError,
    builtin_lists,
    preset_lists,
    read_settings,
    write_preset,
    write_settings,
    write_text,
)
from loralathe.workshop.app import RefusedError, Workshop
from loralathe.workshop.commands import COMMANDS, read_request
from loralathe.workshop.errors import as_json, said
from loralathe.workshop.fields import forms
from loralathe.workshop.history import history
from loralathe.workshop.language import labeller, language_of, sayer
from loralathe.workshop.library import details, thumbnail_of
from loralathe.workshop.pages import page_data, words_of
from loralathe.workshop.places import MODELS
from loralathe.workshop.safety import SANDBOX, Guard, is_loopback, log

PRESETS = "lbwpresets.txt"
_NAME = re.compile(r"[^\\/:*?\"<>|\x00-\x1f.][^\\/:*?\"<>|\x00-\x1f]{0,79}")

Answer = Callable[[Asked], Awaitable[Any]]


class Api:
    """The functions behind the addresses."""

    def __init__(self, workshop: Workshop) -> None:
        self.shop = workshop

    async def session(self, asked: Asked) -> dict[str, Any]:
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
        }

    async def library(self, asked: Asked) -> dict[str, Any]:
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
        return {"label": path.stem, "size": path.stat().st_size, **found}

    async def thumbnail(self, asked: Asked) -> Response:
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

    async def fields(self, asked: Asked) -> dict[str, Any]:
        choices = (await self.shop.choices())["choices"]
        found = forms(labeller(asked), choices)
        return {
            "commands": {
                name: {"words": list(COMMANDS[name].words), "options": one} for name, one in found.items()
            }
        }

    async def axes(self, asked: Asked) -> list[dict[str, Any]]:
        examples = (await self.shop.choices())["axes"]
        return [{"example": one, "name": one.partition("=")[0].strip()} for one in examples]

    async def plan(self, asked: Asked) -> dict[str, Any]:
        request = read_request(await _body(asked), self.shop.places)
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
        request = read_request(await _body(asked), self.shop.places)
        message = {"command": request.command, "words": request.call_words, "options": request.call_options}
        return _translated(dict(await self.shop.ask("job", **message))["report"], asked)

    async def list_of(self, asked: Asked) -> dict[str, Any]:
        body = await _body(asked)
        checkpoint = str(self.shop.places.file(str(body.get("checkpoint", ""))))
        presets = preset_lists(self._presets())
        found = await self.shop.ask("list", words=[str(body.get("list", "")), checkpoint, presets])
        return {"blocks": found["blocks"], "kind": found["kind"]}

    async def jobs(self, asked: Asked) -> Any:
        if asked.method == "POST":
            job = self.shop.jobs.add(await _body(asked))
            return JSONResponse(self._job(job, asked), 201)
        limit = _count(asked.query_params.get("limit"), 50)
        return {
            "jobs": [self._job(one, asked) for one in self.shop.store.jobs(limit)],
            "paused": self.shop.jobs.paused,
        }

    async def job(self, asked: Asked) -> dict[str, Any]:
        number = asked.path_params["id"]
        if asked.method == "DELETE":
            self.shop.jobs.delete(number, files=asked.query_params.get("files") == "true")
            return {}
        return self._job(self.shop.store.job(number), asked, whole=True)

    def _job(self, job: dict[str, Any], asked: Asked, *, whole: bool = False) -> dict[str, Any]:
        return translated_job(self.shop.jobs.shown(job, whole=whole), asked)

    async def act(self, asked: Asked) -> Any:
        number, act = asked.path_params["id"], asked.path_params["act"]
        if act == "cancel":
            await self.shop.jobs.cancel(number)
        elif act == "again":
            return JSONResponse(self._job(self.shop.jobs.again(number), asked), 201)
        elif act == "move":
            before = (await _body(asked)).get("before")
            self.shop.jobs.move(number, str(before) if before else None)
        else:
            raise InputError(f"a job cannot '{act}'", fix="cancel, again or move")
        return self._job(self.shop.store.job(number), asked)

    async def queue(self, asked: Asked) -> dict[str, Any]:
        act = asked.path_params["act"]
        if act not in ("pause", "resume"):
            raise InputError(f"a queue cannot '{act}'", fix="pause or resume")
        self.shop.jobs.pause(act == "pause")
        return {"paused": self.shop.jobs.paused}

    async def page(self, asked: Asked) -> Any:
        job = self.shop.store.job(asked.path_params["id"])
        try:
            return page_data(job, self.shop.places)
        except InputError as error:  # its first picture is not there yet
            return JSONResponse({"error": said(as_json(error), sayer(asked))}, 404)

    async def presets(self, asked: Asked) -> dict[str, Any]:
        builtin = {name: name for name in builtin_lists()}  # a name stands for its list wherever one is read
        return {"lists": preset_lists(self._presets()), "builtin": builtin}

    async def preset(self, asked: Asked) -> dict[str, Any]:
        text = None if asked.method == "DELETE" else str((await _body(asked)).get("list", ""))
        write_preset(self._presets(), asked.path_params["name"], text)
        return await self.presets(asked)

    def _presets(self) -> Path:
        return self.shop.places.out / PRESETS

    async def profiles(self, asked: Asked) -> dict[str, Any]:
        found = {}
        for one in sorted((self.shop.places.out / "profiles").glob("*.toml")):
            try:
                found[one.stem] = dict(read_settings(one).values)
            except LatheError as error:  # somebody wrote it by hand: the others can be used
                log.warning("passed over %s", error)
        return found

    async def profile(self, asked: Asked) -> dict[str, Any]:
        path = self._named("profiles", asked.path_params["name"])
        if asked.method == "DELETE":
            path.unlink(missing_ok=True)
        else:
            settings = (await _body(asked)).get("settings")
            if not isinstance(settings, Mapping):
                raise InputError("'settings' is a JSON object")
            with tempfile.TemporaryDirectory() as own:
                tried = Path(own) / path.name
                write_settings(tried, settings)
                read_settings(tried)
            path.parent.mkdir(exist_ok=True)
            write_settings(path, settings, force=True)
        return await self.profiles(asked)

    def _named(self, folder: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InputError(f"'{name}' cannot be a name", fix="letters, digits, spaces, at most 80")
        return self.shop.places.locate(f"out/{folder}/{name}.toml")

    async def recipe_check(self, asked: Asked) -> dict[str, Any]:
        text = str((await _body(asked)).get("text", ""))
        folder = self.shop.places.locate("out/recipes")
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as own:
            path = Path(own) / "recipe.toml"
            path.write_text(text, encoding="utf-8")
            found = dict(await self.shop.ask("recipe", words=[str(path)]))
        errors = [said(one, sayer(asked)) | _place_in(one, text) for one in found["errors"]]
        return {**{key: found[key] for key in ("variables", "steps", "saves")}, "errors": errors}

    async def recipes(self, asked: Asked) -> dict[str, Any]:
        folder = self.shop.places.out / "recipes"
        return {"recipes": sorted(one.stem for one in folder.glob("*.toml") if not one.name.startswith("."))}

    async def recipe(self, asked: Asked) -> dict[str, Any]:
        path = self._named("recipes", asked.path_params["name"])
        if asked.method == "PUT":
            write_text(path, str((await _body(asked)).get("text", "")), force=True)
        elif asked.method == "DELETE":
            path.unlink(missing_ok=True)
            return {}
        if not path.is_file():
            raise InputError("there is no such recipe", where=path.stem, fix="choose another")
        return {"name": f"out/recipes/{path.name}", "text": path.read_text(encoding="utf-8")}

    async def recorded(self, asked: Asked) -> dict[str, Any]:
        path = self.shop.places.file(asked.query_params.get("name", ""))
        return {"recipe": (await self.shop.ask("recorded", words=[str(path)]))["recipe"]}

    async def history(self, asked: Asked) -> dict[str, Any]:
        return {"nodes": history(self.shop.store, self.shop.library)}

    async def events(self, asked: Asked) -> Response:
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
        if path.suffix.lower() == ".safetensors":
            return FileResponse(path, filename=path.name)
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
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/plain; charset=utf-8",
    ".toml": "text/plain; charset=utf-8",
    ".safetensors": "",
}


def application(workshop: Workshop) -> Starlette:
    """The whole server."""
    api = Api(workshop)
    routes = [Route("/api/" + path, answering(one), methods=methods) for path, one, methods in _table(api)]
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
    guard = Middleware(Guard, hosts=hosts, token=workshop.token)
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
        ("presets", api.presets, get),
        ("presets/{name}", api.preset, ["PUT", "DELETE"]),
        ("profiles", api.profiles, get),
        ("profiles/{name}", api.profile, ["PUT", "DELETE"]),
        ("recipe", api.recipe_check, post),
        ("recipes", api.recipes, get),
        ("recipes/{name}", api.recipe, ["GET", "PUT", "DELETE"]),
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


async def _body(asked: Asked) -> dict[str, Any]:
    """What was sent: JSON without NaN, infinity and halves of characters, which no answer could hold."""
    body = await asked.body()
    try:
        found = json.loads(body)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError("the request is not JSON", fix='send {"command": "grid", …}') from error
    if not isinstance(found, dict):
        raise InputError("the request is not a JSON object", fix='send {"command": "grid", …}')
    return found


def _renamed(error: dict[str, Any], path: Path, name: str) -> dict[str, Any]:
    """The same error of a file that somebody sent, by its own name."""
    return {**error, "where": error["where"].replace(str(path), name)}


def _count(text: str | None, default: int) -> int:
    return min(int(text), 100_000) if text and re.fullmatch("[0-9]{1,6}", text) else default


def _system() -> str:
    return "nt" if os.name == "nt" else "posix"


def translated_job(job: dict[str, Any], asked: Asked) -> dict[str, Any]:
    say, label = sayer(asked), labeller(asked)
    if job.get("error"):
        job["error"] = said(job["error"], say)
    if job.get("progress"):
        names = ("task", "unit")
        job["progress"] = job["progress"] | {name: label(job["progress"][name]) for name in names}
    if job.get("report"):
        job["report"] = _translated(job["report"], asked)
    if job.get("log"):
        job["log"] = [{**line, "text": say(line["text"])} for line in job["log"]]
    return job


def _translated(report: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    say, label = sayer(asked), labeller(asked)
    rows = [[label(key), say(text)] for key, text in report["rows"]]
    return {**report, "rows": rows, "sentences": [say(text) for text in report["sentences"]]}


def _place_in(error: Mapping[str, Any], text: str) -> dict[str, int | None]:
    """Line and column of a recipe's mistake, by the words of its place."""
    where = f"{error['what']} {error['where']}"
    if found := re.search(r"line (\d+)(?:,? column (\d+))?", where):
        return {"line": int(found[1]), "column": int(found[2] or 1)}
    if found := re.search(r"step '(\w+)'(?:, character (\d+))?", where):
        for number, line in enumerate(text.splitlines(), 1):
            if begin := re.match(rf'\s*"?{re.escape(found[1])}"?\s*=\s*["\']?', line):
                return {"line": number, "column": begin.end() + int(found[2] or 1)}
    return {"line": None, "column": None}
