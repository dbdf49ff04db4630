"""What was made from what: jobs, and the files that they read and made, as a tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from loralathe.workshop.library import Library
from loralathe.workshop.store import DONE, Job, Store

MOST = 1000


def history(store: Store, library: Library) -> list[dict[str, Any]]:
    """Nodes, the oldest first; `parents` are nodes, too: the files that went in.

    A file that several jobs made belongs to the last of them. Files that nobody made here are roots.
    """
    made = [job for job in reversed(store.jobs(MOST)) if job["state"] == DONE]
    maker = {one["name"]: job["id"] for job in made for one in job["outputs"] if one["kind"] == "model"}
    models = {one["name"]: one for one in library.scan(["checkpoint", "lora"])}
    nodes: dict[str, dict[str, Any]] = {}
    for job in made:
        parents = [_parent(name, maker, models, nodes, job["id"]) for name in job["inputs"] or []]
        nodes[job["id"]] = _of_job(job, list(dict.fromkeys(parents)))
    for name, one in models.items():
        if name not in maker and name not in nodes and one["made"]:
            nodes[name] = _of_file(name, one)
    return list(nodes.values())


def _parent(
    name: str,
    maker: Mapping[str, str],
    models: Mapping[str, dict[str, Any]],
    nodes: dict[str, dict[str, Any]],
    own: str,
) -> str:
    if name in maker and maker[name] != own:
        return maker[name]
    nodes.setdefault(name, _of_file(name, models.get(name, {})))
    return name


def _of_file(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "job": None,
        "name": name,
        "kind": "file",
        "command": None,
        "title": PurePosixPath(name).stem,
        "time": one.get("modified"),
        "thumbnail": one.get("thumbnail"),
        "outputs": [],
        "parents": [],
        "made": bool(one.get("made")),
        "gone": not one and not name.endswith(".toml"),
    }


def _of_job(job: Job, parents: list[str]) -> dict[str, Any]:
    models = [one for one in job["outputs"] if one["kind"] == "model"]
    pictures = [one for one in job["outputs"] if one["kind"] == "picture"]
    name = models[0]["name"] if models else job["folder"]
    shown = job["title"] or (PurePosixPath(name).stem if name else job["command"])
    return {
        "id": job["id"],
        "job": job["id"],
        "name": name,
        "kind": "file" if models else "study",
        "command": job["command"],
        "title": shown,
        "time": job["ended"],
        "thumbnail": pictures[0]["url"] if pictures else None,
        "outputs": job["outputs"],
        "parents": parents,
        "made": True,
        "gone": False,
    }
