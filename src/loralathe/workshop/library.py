"""The files of the folders: what they are, read from their headers once and kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loralathe import InputError, LatheError, card_facts, family_by_id, fixed, inspect, model_files
from loralathe.workshop.errors import as_json
from loralathe.workshop.events import Events
from loralathe.workshop.places import MODELS, OTHERS, Place, Places
from loralathe.workshop.store import Store

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
THUMBNAILS = [f"{middle}{ending}" for middle in (".preview", "") for ending in PICTURES]
"""What A1111, Forge and model managers call the picture beside a model."""
KINDS = {".onnx": "face", ".card": "card"}
"""What a file is by its ending alone."""
MOST_TAGS = 30
TELL_SECONDS = 1.0
FRESH_SECONDS = 2.0
"""A file that changed so lately may still be copied: it is read when it has come to rest."""

Facts = dict[str, Any]
State = tuple[int, int]
"""Bytes of a model, and when it changed last, in nanoseconds: what is known of it counts while these stay."""
LEADS_OUT: Facts = {"state": "broken", "reason": "a link that leads out of the folders", "picture": None}


class Library:
    def __init__(self, store: Store, places: Places, events: Events) -> None:
        self._store, self._places, self._events = store, places, events
        self._known: dict[str, tuple[int, int, Facts]] = store.all_facts()
        self._wanted: dict[str, tuple[Path, int, int]] = {}
        self._wake = asyncio.Event()

    def scan(self, kinds: Iterable[str]) -> list[Facts]:
        """All model files of these kinds now, in order of name; unread ones are put up for reading."""
        wanted = set(kinds)
        found = []
        for place in self._places:
            if place.kind in wanted or place.kind == "out" or "card" in wanted:  # cards lie anywhere
                found += [one for one in self._in(place) if self._belongs(one, place, wanted)]
        return sorted(found, key=lambda one: (one["label"].casefold(), one["name"]))

    def _in(self, place: Place) -> Iterable[Facts]:
        others = {one.folder for one in self._places if one != place}
        for name, entry in _models(place.folder, others):
            path = Path(entry.path)
            try:
                state = state_of(path)
            except OSError:  # deleted since the folder was read
                continue
            links = (one for one in (path, *_files(path)) if one.is_symlink())
            leads_out = any(self._places.name(one) is None for one in links)
            yield self._entry(f"{place.name}/{name}", path, state, place, LEADS_OUT if leads_out else None)

    def _entry(
        self,
        name: str,
        path: Path,
        state: State,
        place: Place,
        refused: Facts | None,
    ) -> Facts:
        known = self._known.get(str(path)) if refused is None else (*state, refused)
        same = known is not None and known[:2] == state
        if not same:
            self._wanted[str(path)] = (path, *state)
            self._wake.set()
        facts: Facts = known[2] if known is not None and same else {"state": "reading"}
        return {
            "kind": KINDS.get(path.suffix.lower(), None if place.kind == "out" else place.kind),
            "family": None,
            "family_label": "",
            "rank": None,
            "kinds": [],
            "triggers": [],
            "tags": [],
            "resolution": None,
            "made": False,
            "thumbnail": facts.get("picture") and f"/api/thumbnail?name={name}",
            "fits": None,
            "reason": "",
            **{key: value for key, value in facts.items() if key != "picture"},
            "name": name,
            "label": label_of(path),
            "size": state[0],
            "modified": state[1] / 1e9,
        }

    def _belongs(self, one: Facts, place: Place, kinds: set[str]) -> bool:
        """Files of results, and files that lie in the wrong folder, go by what they are."""
        kind = one.get("is") or one["kind"]
        if kind not in kinds or place.kind in ("out", kind):
            return kind in kinds
        return not any(other.kind == kind and other.folder == place.folder for other in self._places)

    def list(self, kind: str, *, search: str, family: str, base: str, offset: int, limit: int) -> Facts:
        """A part of the files of a kind, as the API gives it."""
        files = self.scan([kind])
        families = {one["family"]: one["family_label"] for one in files if one["family"]}
        wanted = search.casefold().split()
        found = [
            one
            for one in files
            if (not family or one["family"] == family) and all(word in _searched(one) for word in wanted)
        ]
        shown = found[offset : offset + limit]
        if base:
            of = self.facts(self._places.file(base)).get("family")
            shown = [one | _fit(one, of, base) for one in shown]
        reading = sum(one["state"] == "reading" for one in files)
        return {"files": shown, "total": len(found), "reading": reading, "families": sorted(families.items())}

    def facts(self, path: Path) -> Facts:
        """What a file is, read now if it is not known."""
        state = state_of(path)
        known = self._known.get(str(path))
        if known is None or known[:2] != state:
            known = (*state, read_facts(path))
            self._keep(str(path), known)
        return known[2]

    def _keep(self, path: str, known: tuple[int, int, Facts]) -> None:
        self._known[path] = known
        if time.time() - known[1] / 1e9 > FRESH_SECONDS:
            with contextlib.suppress(sqlite3.Error):  # a full disk: it is read again next time
                self._store.keep_facts(path, *known)

    async def run(self) -> None:
        """Read what is put up for reading, in a thread, and tell pages now and then."""
        told = 0.0
        while True:
            if not self._wanted:
                self._wake.clear()
                self._events.tell("library", {})
                await self._wake.wait()
            key = next(iter(self._wanted))
            path, size, mtime = self._wanted.pop(key)
            facts = await asyncio.to_thread(read_facts, path)
            self._keep(key, (size, mtime, facts))
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                self._events.tell("library", {})


def state_of(path: Path) -> State:
    """Of a file, or of all that a model in a folder is read from. OSError where it is gone."""
    status = path.stat()
    if not path.is_dir():
        return status.st_size, status.st_mtime_ns
    every = [file.stat() for file in _files(path)]
    changed = max([status.st_mtime_ns, *(one.st_mtime_ns for one in every)])
    return sum(one.st_size for one in every), changed


def label_of(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _files(path: Path) -> tuple[Path, ...]:
    """Of a model in a folder."""
    try:
        return model_files(path) if path.is_dir() else ()
    except InputError:  # it lacks shards, as reading it tells
        return ()


def _is_model(folder: Path) -> bool:
    try:
        return bool(model_files(folder))
    except InputError:  # one that lacks shards is shown with what it lacks
        return True


def _models(folder: Path, others: set[Path]) -> Iterable[tuple[str, os.DirEntry[str]]]:
    """Models below a folder by their paths in it, without those of other places.

    Links that lead to folders are not followed.
    """
    waiting = [("", folder)]
    while waiting:
        prefix, place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:  # a folder that may not be read holds nothing that can be used
            continue
        for entry in entries:
            if entry.name.startswith(".") or not _is_text(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if Path(entry.path) in others:
                    continue
                if _is_model(Path(entry.path)):
                    yield prefix + entry.name, entry
                    continue
                waiting.append((f"{prefix}{entry.name}/", Path(entry.path)))
            elif entry.name.lower().endswith((*MODELS, *OTHERS)) and entry.is_file():
                yield prefix + entry.name, entry


def _is_text(name: str) -> bool:
    """Whether it can be told: a name in the bytes of another system's language cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _searched(one: Facts) -> str:
    words = " ".join([one["name"], *one["triggers"], *(tag for tag, _ in one["tags"])])
    return words.casefold()


def _fit(one: Facts, family: str | None, base: str) -> Facts:
    if one["state"] != "ready" or family is None or one["family"] is None:
        return {"fits": None, "reason": ""}
    if one["family"] == family:
        return {"fits": True, "reason": ""}
    label = family_by_id(family).label
    return {"fits": False, "reason": f"made for {one['family_label']}; {Path(base).stem} is {label}"}


def read_facts(path: Path) -> Facts:
    """What the library shows of a file; a broken one says why."""
    if path.suffix.lower() == ".onnx":
        return {"state": "ready", "is": "face", "picture": None}
    try:
        if path.suffix.lower() == ".card":
            card = card_facts(path)
            words = [card.trigger] if card.trigger else []
            facts = {"is": "card", "triggers": words, "threshold": card.threshold}
            return {"state": "ready", "picture": None, **facts}
        found = inspect(path)
    except LatheError as error:
        return {"state": "broken", "reason": as_json(error)["what"], "picture": None}
    except OSError as error:
        return {"state": "broken", "reason": str(error.strerror), "picture": None}
    adapter = found.adapter
    ranks = [rank for rank in adapter.ranks if rank] if adapter else []
    kinds = {"checkpoint": "checkpoint", "adapter": "lora"}
    return {
        "state": "ready",
        "is": kinds.get(found.kind) or _other_kind(found.what),
        "family": found.family,
        "family_label": family_by_id(found.family).label if found.family else "",
        "what": found.what,
        "rank": max(ranks) if ranks else None,
        "kinds": sorted(adapter.kinds) if adapter else [],
        "triggers": _triggers(found.metadata),
        "tags": _tags(found.metadata),
        "resolution": found.metadata.get("modelspec.resolution"),
        "made": found.record is not None,
        "picture": _thumbnail(path),
    }


def _other_kind(what: str) -> str | None:
    return "vae" if "vae" in what.casefold() else None


def _triggers(metadata: Mapping[str, str]) -> list[str]:
    text = metadata.get("modelspec.trigger_phrase") or metadata.get("ss_trigger_words") or ""
    return [word.strip()[:80] for word in text.split(",") if word.strip()][:10]


def _tags(metadata: Mapping[str, str]) -> list[tuple[str, int]]:
    """kohya's tags of the training pictures, commonest first."""
    try:
        folders = json.loads(metadata.get("ss_tag_frequency", "{}"))
        counts: dict[str, int] = {}
        for tags in folders.values():
            for tag, count in tags.items():
                counts[str(tag).strip()[:80]] = counts.get(str(tag).strip()[:80], 0) + int(count)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return []  # whatever somebody's trainer wrote there
    return sorted(counts.items(), key=lambda pair: -pair[1])[:MOST_TAGS]


def _thumbnail(path: Path) -> str | None:
    for ending in THUMBNAILS:
        beside = path.with_name(path.stem + ending)
        if beside.is_file():
            return str(beside)
    return None


def thumbnail_of(library: Library, path: Path) -> Path:
    """The picture beside a model; InputError where there is none."""
    found = library.facts(path).get("picture")
    if not found or not os.path.isfile(found):
        raise InputError("there is no picture beside this file", where=path.name)
    return Path(found)


def details(path: Path) -> Facts:
    """All that is known of a file: rows for people, metadata, the recipe that made it."""
    if path.suffix.lower() == ".card":
        return _of_card(path)
    found = inspect(path)
    rows = [("what", found.what), ("tensors", f"{found.tensors:,}"), ("parameters", f"{found.parameters:,}")]
    rows += [("dtype", ", ".join(found.dtypes))]
    if found.adapter:
        rows.append(("dialect", found.adapter.dialect))
        rows.append(("ranks", ", ".join(f"{rank} × {count}" for rank, count in found.adapter.ranks.items())))
        rows.append(
            ("alphas", ", ".join(f"{alpha} × {count}" for alpha, count in found.adapter.alphas.items()))
        )
    if found.note:
        rows.append(("note", found.note))
    parts = [[one.name, one.tensors, one.parameters, one.nbytes] for one in found.parts]
    return {
        "what": found.what,
        "rows": rows,
        "metadata": dict(found.metadata),
        "record": found.record,
        "parts": parts,
    }


def _of_card(path: Path) -> Facts:
    card = card_facts(path)
    rows = [
        ("what", "identity card"),
        ("trigger", card.trigger or "none"),
        ("pictures", ", ".join(card.references)),
        ("model", card.model.name),
        ("detector", card.detector.name if card.detector else "none"),
        ("threshold", fixed(card.threshold, 3)),
    ]
    return {"what": "identity card", "rows": rows, "metadata": {}, "record": None, "parts": []}
