"""LoRAs for other programs: written in another dialect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.api.arguments import (
    MEMORY,
    File,
    Folders,
    PathLike,
    RunKeywords,
    as_output,
    beside,
    require_kinds,
    run_options,
)
from loralathe.api.prepared import Prepared
from loralathe.api.recipes import bake_recipe
from loralathe.api.search import Search, search_of
from loralathe.api.writing import LoraWriting, Written
from loralathe.errors import InputError, counted, did_you_mean, few, option
from loralathe.language import stem
from loralathe.tensorfiles import in_memory

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from loralathe.adapters import Adapter, Finding
    from loralathe.engine import Report
    from loralathe.families import Family
    from loralathe.progress import Progress

__all__ = [
    "ConvertedLora", "LoadingCheck", "check_lora", "checked_programs", "convert_lora", "written_dialects",
]  # fmt: skip


@dataclass(frozen=True)
class ConvertedLora:
    """A LoRA in another dialect.

    path:      None in memory;  tensors: of it then
    source:    the dialect it had
    modules:   how many it holds, by kind;  dtypes: numbers by type
    left_out:  embeddings that the programs of the dialect would stumble over
    baking:    what making a plain LoRA of it lost; None where nothing was made
    """

    path: Path | None
    dialect: str
    source: str
    modules: Mapping[str, int]
    dtypes: Mapping[str, int]
    left_out: tuple[str, ...] = ()
    baking: Report | None = None
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def filled(self, written: Written) -> ConvertedLora:
        """The same with what was written."""
        return replace(self, path=written.path, dtypes=written.dtypes, tensors=written.tensors)


@dataclass(frozen=True)
class LoadingCheck:
    """What another program makes of a LoRA.

    modules:  of the file;  used: those that it applies as they are meant
    refused:  why it loads nothing, None where it loads
    findings: modules that it leaves out or misreads, by reason
    to:       the dialect that mends it, None where nothing does, or needs to;  bake: with the base
    """

    path: Path
    program: str
    label: str
    modules: int
    used: int
    refused: str | None
    findings: tuple[Finding, ...]
    to: str | None
    bake: bool

    @property
    def ok(self) -> bool:
        return self.refused is None and not self.findings


def checked_programs() -> tuple[str, ...]:
    """The programs that `check_lora` knows."""
    from loralathe.adapters import PROGRAMS

    return tuple(PROGRAMS)


def check_lora(
    lora: File, programs: str | Iterable[str] = (), *, lora_dir: Folders = ()
) -> tuple[LoadingCheck, ...]:
    """How many modules other programs would use, which they would leave out or misread, and what mends it.

    programs: comfyui, forge, diffusers, kohya; none: all of them. Only the header and the alphas are read.
    """
    from loralathe.adapters import PROGRAMS, check_loading, open_adapter

    asked = [programs] if isinstance(programs, str) else list(programs) or list(PROGRAMS)
    for name in asked:
        if name not in PROGRAMS:
            fix = did_you_mean(name, PROGRAMS) or "use one of " + ", ".join(PROGRAMS)
            raise InputError(f"no program is called '{name}' here", fix=fix)
    path = Search(lora_dir).lora(lora, "lora")
    require_kinds((), [path])
    with open_adapter(path, with_weights=True) as adapter:
        found = [check_loading(adapter, PROGRAMS[name]) for name in asked]
    return tuple(
        LoadingCheck(
            path, one.program.id, one.program.label, one.modules, one.used, one.refused, one.findings,
            one.program.to if not one.ok and one.mended > one.used else None, one.needs_base,
        )
        for one in found
    )  # fmt: skip


def written_dialects() -> tuple[str, ...]:
    """The dialects that LoRAs are converted to."""
    from loralathe.adapters import WRITTEN

    return tuple(WRITTEN)


def convert_lora(
    lora: File,
    to: str,
    *,
    bake: File | None = None,
    rank: int | None = None,
    family: str | None = None,
    dtype: str | None = None,
    output: PathLike | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    **keywords: Unpack[RunKeywords],
) -> ConvertedLora:
    """The same LoRA under the names of another program: kohya, comfyui, original, peft, diffusers.

    The change is the same number by number: nothing is decomposed, and factors keep their type. Where a
    dialect has no alpha, alpha / rank goes into the factors, in a type that holds the product exactly.

    bake: the base; kinds that the dialect cannot say, or that depend on the base, become a plain LoRA of
    `rank` (the adapter's largest), and `baking` says what that loses.  rank: alone, the same of LoHa or LoKr,
    which need no base.
    family: whose names it has, where several families fit: sd35m, flux, …; its base tells, too.
    dtype: round the factors to fp16, bf16 or fp32.
    output: a file; None for a name beside the LoRA, MEMORY for `tensors`. For peft also a folder: it gets
    adapter_model.safetensors and adapter_config.json, in a folder for each network where it changes several.
    dry_run: write nothing.

    The file's metadata says what it was made from, so that `verify` can check it.
    Raises InputError for modules that the dialect cannot say.
    """
    from loralathe.adapters import WRITTEN, detect_adapter, open_adapter, require_one_family, require_said
    from loralathe.families import family_by_id

    if to not in WRITTEN:
        fix = did_you_mean(to, WRITTEN) or "use one of " + ", ".join(WRITTEN)
        raise InputError(f"no dialect is called '{to}'", where=option("to", to), fix=fix)
    search = search_of(keywords)
    path = search.lora(lora, "lora")
    require_kinds((), [path])
    options = run_options(None, keywords, progress)
    target = as_output(output) or beside(path, f"{stem(path)}-{to}")
    writing = LoraWriting(to, target, dtype, options, progress)
    writing.check([path])
    base = None if bake is None else search.checkpoint(bake, "A")
    wanted = _family_of(base) if family is None else family_by_id(family)
    with open_adapter(path, wanted, with_weights=True) as adapter:
        require_known_modules(adapter, allow=options.allow_unmatched)
        if wanted is None:
            header = adapter.file.header
            require_one_family(header, detect_adapter(header, str(path)), str(path))
        source = detect_adapter(adapter.file.header, str(path), adapter.family).dialect
        found = writing.rewriting(adapter)
        made = ConvertedLora(None, to, source, _kinds(adapter), {}, found.left_out)
        depends = bake is not None and adapter.changing_kind is not None
        if not (depends or (found.unsaid and (bake is not None or rank is not None))):
            require_said(found)
            if dry_run:
                return made
            return made.filled(writing.write(adapter, found.metadata(), {"lora": path}))
        rank = rank or max(module.rank for module in adapter.modules.values())
        recipe = bake_recipe(path, base, rank, MEMORY, dtype or "fp16")
        prepared = Prepared(recipe, options, progress)
        if dry_run:
            prepared.plan()
            return made
        baking = prepared.run()
        metadata = found.metadata()
    tensors = in_memory(next(iter(baking.tensors.values())), stem(path))
    inputs = {"lora": path} | ({} if base is None else {"base": base})
    with open_adapter(tensors, adapter.family) as plain:
        require_said(writing.rewriting(plain))
        made = replace(made, modules=_kinds(plain), baking=baking)
        return made.filled(writing.write(plain, metadata, inputs, rank))


def _family_of(base: Path | None) -> Family | None:
    from loralathe.families import detect_checkpoint, in_original_layout
    from loralathe.tensorfiles import open_tensorfile

    if base is None:
        return None
    with open_tensorfile(base) as file:
        return detect_checkpoint(in_original_layout(file).header, str(base)).family


def require_known_modules(adapter: Adapter, *, allow: bool) -> None:
    """Raises InputError for modules that the adapter's family does not have, unless they are left out."""
    if adapter.unmatched and not allow:
        raise InputError(
            f"{counted(len(adapter.unmatched), 'part')} of the LoRA "
            f"{'has' if len(adapter.unmatched) == 1 else 'have'} no place in {adapter.family.label}",
            where=f"{adapter.file.path}: {few(list(adapter.unmatched))}",
            fix=f"{option('allow_unmatched', True)} leaves them out",
        )


def _kinds(adapter: Adapter) -> dict[str, int]:
    from loralathe.adapters import label_of_kind

    return dict(Counter(label_of_kind(module.kind) for module in adapter.modules.values()))
