"""A small stand-in of A1111 for its extensions: script callbacks, options, paths, gradio's Blocks and HTML.

Written from how A1111, Forge and Forge Neo load extensions: `scripts/*.py` by their paths, callbacks by kind.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from loralathe.integrations import install

EXTENSION = Path(__file__).resolve().parents[2] / "src/loralathe/integrations/webui"
KINDS = ("ui_tabs", "app_started", "script_unloaded")


class Blocks:
    """A part of the page, with what was put into it."""

    open: list[Blocks] = []  # noqa: RUF012

    def __init__(self, analytics_enabled: bool) -> None:
        self.html: list[str] = []

    def __enter__(self) -> Blocks:
        Blocks.open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        Blocks.open.pop()


def _put(text: str) -> None:
    """HTML where the page is being made."""
    Blocks.open[-1].html.append(text)


class JSONResponse:
    def __init__(self, content: Any, status_code: int = 200) -> None:
        self.content, self.status_code = content, status_code


class Webui:
    """One with the folders of `base`, and its extensions' callbacks."""

    def __init__(self, base: Path, **options: object) -> None:
        self.base = base
        self.callbacks: dict[str, list[Callable[..., Any]]] = {kind: [] for kind in KINDS}
        self.routes: dict[str, Callable[..., Any]] = {}
        for name in ("models/Stable-diffusion", "models/Lora", "models/VAE", "embeddings", "extensions"):
            (base / name).mkdir(parents=True, exist_ok=True)
        paths = {"models_path": base / "models", "data_path": base, "extensions_dir": base / "extensions"}
        texts = {name: str(path) for name, path in paths.items()}
        self.modules = {
            "modules.paths_internal": SimpleNamespace(**texts, extensions_builtin_dir=str(base / "builtin")),
            "modules.shared": SimpleNamespace(
                cmd_opts=SimpleNamespace(embeddings_dir=str(base / "embeddings"), **options)
            ),
            "modules.script_callbacks": SimpleNamespace(
                **{f"on_{kind}": self.callbacks[kind].append for kind in KINDS}
            ),
            "gradio": SimpleNamespace(Blocks=Blocks, HTML=_put),
            "fastapi": SimpleNamespace(Request=object),
            "fastapi.responses": SimpleNamespace(JSONResponse=JSONResponse),
        }

    def load(self, setitem: Callable[[Any, str, Any], None]) -> Any:
        """Install the extension, and run its scripts as the program does when it starts; then its server."""
        package = ModuleType("modules")
        for name, contents in self.modules.items():
            module = ModuleType(name)
            module.__dict__.update(contents.__dict__)
            setitem(sys.modules, name, module)
            if name.startswith("modules."):
                setattr(package, name.partition(".")[2], module)
        setitem(sys.modules, "modules", package)
        (self.base / "modules").mkdir(exist_ok=True)
        (self.base / "modules/script_callbacks.py").touch()
        extension = install("webui", self.base).folder
        (script,) = (extension / "scripts").glob("*.py")
        spec = importlib.util.spec_from_file_location(script.name, script)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        for helper in extension.glob("*.py"):
            sys.modules.pop(helper.stem, None)
        sys.path.insert(0, str(extension))
        try:
            spec.loader.exec_module(loaded)
        finally:
            sys.path.remove(str(extension))
        app = SimpleNamespace(add_api_route=self._add)
        for one in self.callbacks["app_started"]:
            one(None, app)
        return loaded

    def _add(self, path: str, answer: Callable[..., Any], methods: list[str]) -> None:
        assert methods in (["POST"], ["GET", "PUT", "DELETE"])
        self.routes[path] = answer

    def tabs(self) -> list[tuple[Any, str, str]]:
        return [tab for one in self.callbacks["ui_tabs"] for tab in one()]

    def ask(
        self, path: str, headers: dict[str, str], port: int, client: str = "127.0.0.1"
    ) -> tuple[int, Any]:
        """(status, content) of a POST to a route of the extension."""
        url = SimpleNamespace(scheme="http", port=port)
        asked = SimpleNamespace(headers=headers, client=SimpleNamespace(host=client), url=url)
        answer = self.routes[path](asked)
        return (answer.status_code, answer.content) if isinstance(answer, JSONResponse) else (200, answer)

    def close(self) -> None:
        for one in self.callbacks["script_unloaded"]:
            one()
