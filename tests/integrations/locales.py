"""The Chinese of our nodes as ComfyUI reads it, from their schema and the catalogue.

`PYTHONPATH=src:tests python -m integrations.locales` writes the file of the pack.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import loralathe
from integrations.stand_in import PACK, Host, Schema, in_host

FILE = PACK / "locales/zh-TW/nodeDefs.json"


def definitions(nodes: list[Any]) -> dict[str, Any]:
    """Node → its names and tips; what has no Chinese (MODEL, IN04) keeps its name."""
    catalogue = loralathe.read_catalogue("zh-TW")

    def said(**texts: str | None) -> dict[str, str]:
        found = {key: catalogue.label(text) for key, text in texts.items() if text}
        return {key: text for key, text in found.items() if text != texts[key]}

    def of(schema: Schema) -> dict[str, Any]:
        inputs = {
            one.id: said(name=one.id, tooltip=getattr(one, "options", {}).get("tooltip"))
            for one in schema.inputs
        }
        outputs = {
            str(index): said(name=one.display_name, tooltip=one.tooltip)
            for index, one in enumerate(schema.outputs)
        }
        parts = {"inputs": inputs, "outputs": outputs}
        filled = {key: {name: one for name, one in part.items() if one} for key, part in parts.items()}
        return {
            **said(display_name=schema.display_name, description=schema.description),
            **{key: part for key, part in filled.items() if part},
        }

    return {schema.node_id: of(schema) for schema in (node.define_schema() for node in nodes)}


def text_of(nodes: list[Any]) -> str:
    return json.dumps(definitions(nodes), ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        host = Host(Path(folder) / "base")
        in_host(host, patch.setitem)
        FILE.write_text(text_of(host.load()), "utf-8")
