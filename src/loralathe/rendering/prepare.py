"""Requests, read: adapters looked up by name, tags taken out, prompts planned. All before the first step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loralathe.adapters import close_files
from loralathe.errors import InputError, option
from loralathe.rendering.prompts import Issue, PromptPlan, lift_tags, plan_prompt
from loralathe.rendering.request import ImageRequest
from loralathe.rendering.samplers import canonical_names
from loralathe.strengths import AdapterUse, require_counted_once
from loralathe.tensorfiles import MODEL_SUFFIXES, name_key, read_header, stored_path


@dataclass(frozen=True)
class Prepared:
    """A request and everything its words mean. Files of `uses` are paths."""

    index: int
    request: ImageRequest
    uses: tuple[AdapterUse, ...]
    plan: PromptPlan
    negative: PromptPlan
    sampler: str
    schedule: str
    issues: tuple[Issue, ...]

    @property
    def guided(self) -> bool:
        """Whether a negative prompt takes part: CFG 1 without AND needs none and costs half."""
        return self.request.cfg != 1.0 or len(self.plan.parts) > 1

    def texts(self) -> tuple[str, ...]:
        """What is encoded, in all steps."""
        return (*self.plan.distinct_texts(), *self.negative.distinct_texts())

    def like(self) -> tuple[object, ...]:
        """Requests with equal values here can share a batch."""
        r = self.request
        return (r.width, r.height, r.steps, self.sampler, self.schedule, self.guided)


def prepare(index: int, request: ImageRequest, folders: AdapterFolders) -> Prepared:
    """Read one request. Raises InputError for unknown samplers, schedules and adapters."""
    sampler, schedule = canonical_names(request.sampler, request.schedule)
    tagged = lift_tags(request.prompt)
    named, given = (
        tuple(replace(use, file=str(folders.find(use.file))) for use in uses)
        for uses in (tagged.adapters, request.adapters)
    )
    require_counted_once(given, named)
    plan = plan_prompt(tagged.prompt, request.steps)
    negative = plan_prompt(request.negative, request.steps, composable=False)
    issues = (*tagged.issues, *plan.issues, *negative.issues)
    return Prepared(index, request, (*named, *given), plan, negative, sampler, schedule, issues)


def in_order_of_work(
    prepared: Sequence[Prepared],
) -> list[tuple[tuple[str, str | None], list[list[Prepared]]]]:
    """[((checkpoint, VAE), [images that can share batches, …]), …]: every model is opened once."""
    by_model: dict[tuple[str, str | None], dict[tuple[object, ...], list[Prepared]]] = {}
    for one in sorted(prepared, key=lambda p: (_first_use(prepared, p), p.index)):
        groups = by_model.setdefault((one.request.checkpoint, one.request.vae), {})
        groups.setdefault(one.like(), []).append(one)
    return [(model, list(groups.values())) for model, groups in by_model.items()]


def _first_use(prepared: Sequence[Prepared], one: Prepared) -> int:
    """Where the checkpoint of `one` first occurs: its VAEs then follow one another."""
    return next(i for i, p in enumerate(prepared) if p.request.checkpoint == one.request.checkpoint)


class AdapterFolders:
    """Looks names up: a path that exists, a file's stem, a path inside a folder, a trainer's own name.

    Names are compared exactly first, then without case. Folders are read when a name is asked for that is
    not known yet, so a file that was just saved is found.
    """

    def __init__(self, folders: Iterable[str | os.PathLike[str]] = ()) -> None:
        self._folders = tuple(Path(folder) for folder in folders)
        self._files: dict[str, list[Path]] = {}

    def find(self, name: str) -> Path:
        """The file that `name` means. InputError, with close names, when there is none or several."""
        direct = stored_path(Path(name))
        if direct.suffix.lower() in MODEL_SUFFIXES and direct.is_file():
            return direct
        found = self._matching(name)
        if not found:
            self._read_folders()
            found = self._matching(name) or self._by_trainers_name(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"several adapters are called '{name}'",
                where=", ".join(str(path) for path in found),
                fix="name it with its folder, as in 'folder/name'",
            )
        raise self._not_found(name)

    def _matching(self, name: str) -> list[Path]:
        wanted = name_key(_without_suffix(name).replace("\\", "/"))
        exact = self._files.get(wanted, [])
        if exact:
            return exact
        folded = wanted.casefold()
        return list(dict.fromkeys(p for k, ps in self._files.items() if k.casefold() == folded for p in ps))

    def _read_folders(self) -> None:
        self._files = {}
        for folder in self._folders:
            if not folder.is_dir():
                raise InputError(
                    f"the adapter folder '{folder}' does not exist", fix=f"correct {option('lora_dir')}"
                )
            for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in MODEL_SUFFIXES):
                inside = path.relative_to(folder).with_suffix("").as_posix()
                for name in dict.fromkeys([name_key(path.stem), name_key(inside)]):
                    self._files.setdefault(name, []).append(path)

    def _by_trainers_name(self, name: str) -> list[Path]:
        """Files whose metadata calls them `name` (`ss_output_name`, which A1111 inserts in prompts)."""
        found = []
        for path in dict.fromkeys(p for paths in self._files.values() for p in paths):
            try:
                noted = read_header(path).metadata.get("ss_output_name")
            except InputError:  # a damaged file nearby does not matter unless it is used
                continue
            if noted is not None and name_key(noted) == name_key(name):
                found.append(path)
        return found

    def _not_found(self, name: str) -> InputError:
        near = close_files(name, {known: files[0] for known, files in self._files.items()})
        if near:
            fix = "did you mean " + " or ".join(f"'{match}'" for match in near) + "?"
        elif self._folders:
            fix = f"give a path, or another {option('lora_dir')}"
        else:
            fix = f"give a path, or name the folder of your adapters with {option('lora_dir')}"
        where = ", ".join(str(folder) for folder in self._folders) or None
        return InputError(f"no adapter is called '{name}'", where=where, fix=fix)


def _without_suffix(name: str) -> str:
    return name[: -len(Path(name).suffix)] if Path(name).suffix in MODEL_SUFFIXES else name
