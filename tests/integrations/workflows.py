"""The example workflows of the pack, as ComfyUI's page saves them, made of graphs and the nodes' schema.

`PYTHONPATH=src:tests python -m integrations.workflows` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from integrations.stand_in import FIELDS, PACK, Host, in_host

FOLDER = PACK / "example_workflows"
WIDE, GAP = 320, 40
Graph = dict[str, dict[str, Any]]
CORE: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str]]] = {
    "CheckpointLoaderSimple": ({}, {"ckpt_name": "COMBO"}, {"MODEL": "MODEL", "CLIP": "CLIP", "VAE": "VAE"}),
    "CLIPTextEncode": ({"clip": "CLIP"}, {"text": "STRING"}, {"CONDITIONING": "CONDITIONING"}),
    "EmptyLatentImage": ({}, {"width": "INT", "height": "INT", "batch_size": "INT"}, {"LATENT": "LATENT"}),
    "KSampler": (
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"},
        {
            "seed": "INT", "control_after_generate": "COMBO", "steps": "INT", "cfg": "FLOAT",
            "sampler_name": "COMBO", "scheduler": "COMBO", "denoise": "FLOAT",
        },
        {"LATENT": "LATENT"},
    ),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, {}, {"IMAGE": "IMAGE"}),
    "SaveImage": ({"images": "IMAGE"}, {"filename_prefix": "STRING"}, {}),
    "PreviewImage": ({"images": "IMAGE"}, {}, {}),
    "PreviewAny": ({"source": "*"}, {}, {}),
}  # fmt: skip
"""ComfyUI's own nodes: sockets, widgets, outputs, each with its type."""


INS, OUTS = (1, 2, 4, 5, 7, 8), range(3, 12)
SLIDERS = ["BASE", *(f"IN{n:02}" for n in INS), "MID", *(f"OUT{n:02}" for n in OUTS)]


def node(class_type: str, column: int, row: int, **inputs: object) -> dict[str, Any]:
    return {"class_type": class_type, "place": (column, row), "inputs": inputs}


def begin(**fields: object) -> Graph:
    """From a checkpoint through our LoRA node to a picture."""
    usual = {
        "lora": "hina.safetensors", "strength_model": 0.8, "strength_clip": 0.8,
        "preset": "(as written in blocks)", "blocks": "", "elements": "",
    }  # fmt: skip
    return {
        "1": node("CheckpointLoaderSimple", 0, 0, ckpt_name="base.safetensors"),
        "2": node("LatheLora", 1, 0, **(usual | fields), model=["1", 0], clip=["1", 1]),
        "3": node("CLIPTextEncode", 2, 0, text="a girl, smiling", clip=["2", 1]),
        "4": node("CLIPTextEncode", 2, 1, text="", clip=["2", 1]),
        "5": node("EmptyLatentImage", 2, 2, width=512, height=512, batch_size=1),
        "6": node(
            "KSampler", 3, 0, model=["2", 0], seed=1, control_after_generate="fixed", steps=20, cfg=7.0,
            sampler_name="euler", scheduler="normal", positive=["3", 0], negative=["4", 0],
            latent_image=["5", 0], denoise=1.0,
        ),
        "7": node("VAEDecode", 4, 0, samples=["6", 0], vae=["1", 2]),
    }  # fmt: skip


def workflows() -> dict[str, Graph]:
    return {
        "block weights, then save": begin(preset="OUTALL") | {
            "8": node("SaveImage", 4, 1, images=["7", 0], filename_prefix="girl"),
            "9": node(
                "LatheSave", 2, 3, model=["2", 0], clip=["2", 1], dtype="as the base", file="",
                overwrite=False,
            ),
        },
        "block analyzer": begin() | {
            "8": node(
                "LatheBlockAnalyzer", 4, 1, image=["7", 0], lora="", weights="0,1", blocks="", encoders=False,
                seeds=1, threshold=20,
            ),
            "9": node("PreviewImage", 5, 0, images=["8", 0]),
            "10": node("PreviewAny", 5, 1, source=["8", 2]),
        },
        "strength grid": begin() | {
            "8": node(
                "LatheStrengthGrid", 4, 1, image=["7", 0], x="strength = 0..1 [5]", y="seed = 1-3", z="",
                legend=True, most_pictures=100,
            ),
            "9": node("PreviewImage", 5, 0, images=["8", 0]),
        },
        "sliders": begin(blocks=["10", 0]) | {
            "8": node("PreviewImage", 4, 1, images=["7", 0]),
            "10": node(
                "LatheBlocksSD1", 0, 1,
                **dict.fromkeys(SLIDERS, 1.0),
            ),
        },
    }  # fmt: skip


def page_of(graph: Graph, nodes: Mapping[str, Any]) -> dict[str, Any]:
    """A graph as the page keeps it: places, sockets, links and the values of widgets in their order."""
    links: list[list[Any]] = []
    found: dict[str, dict[str, Any]] = {}
    order = {name: number for number, name in enumerate(graph, 1)}
    for name, one in graph.items():
        sockets, widgets, outputs = _shape(one["class_type"], nodes)
        column, row = one["place"]
        found[name] = {
            "id": order[name],
            "type": one["class_type"],
            "pos": [column * (WIDE + GAP), row * 260],
            "size": [WIDE, 60 + 28 * (len(sockets) + len(widgets))],
            "flags": {},
            "order": order[name] - 1,
            "mode": 0,
            "inputs": [{"name": field, "type": kind, "link": None} for field, kind in sockets.items()],
            "outputs": [{"name": field, "type": kind, "links": []} for field, kind in outputs.items()],
            "properties": {"Node name for S&R": one["class_type"]},
            "widgets_values": [
                "" if isinstance(one["inputs"][field], list) else one["inputs"][field] for field in widgets
            ],
        }
    for name, one in graph.items():
        for field, value in one["inputs"].items():
            if not isinstance(value, list):
                continue
            source, slot = value
            inputs = found[name]["inputs"]
            if all(socket["name"] != field for socket in inputs):  # a widget that is connected
                widget = {"name": field, "type": "STRING", "widget": {"name": field}, "link": None}
                inputs.append(widget)
            place = next(index for index, socket in enumerate(inputs) if socket["name"] == field)
            links.append(
                [
                    len(links) + 1,
                    order[source],
                    slot,
                    order[name],
                    place,
                    found[source]["outputs"][slot]["type"],
                ]
            )
            inputs[place]["link"] = len(links)
            found[source]["outputs"][slot]["links"].append(len(links))
    return {
        "last_node_id": len(graph),
        "last_link_id": len(links),
        "nodes": list(found.values()),
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _shape(kind: str, nodes: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    if kind in CORE:
        return CORE[kind]
    schema = nodes[kind].define_schema()
    types = {one.id: one.io_type for one in schema.inputs}
    widgets = {name: type_ for name, type_ in types.items() if type_ in FIELDS}
    sockets = {name: type_ for name, type_ in types.items() if name not in widgets}
    return sockets, widgets, {one.display_name: one.io_type for one in schema.outputs}


def texts(host: Host) -> dict[Path, str]:
    return {
        FOLDER / f"{name}.json": json.dumps(page_of(graph, host.nodes), indent=1, ensure_ascii=False) + "\n"
        for name, graph in workflows().items()
    }


if __name__ == "__main__":
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        host = Host(Path(folder) / "base")
        in_host(host, patch.setitem)
        host.load()
        for path, text in texts(host).items():
            path.write_text(text, "utf-8")
