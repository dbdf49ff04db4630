"""A cell being made: the request as far as the axes have filled it in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath

from loralathe.errors import InputError
from loralathe.rendering.prompts import lift_tags
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import (
    AdapterUse,
    BlockText,
    match_name,
    name_hint,
    read_block_text,
    require_counted_once,
    resolve,
    seeded_tokens,
    select_blocks,
    spelled_out,
)
from loralathe.studies.context import Context

MARKS = ("XYZ", "ZYX")


@dataclass(frozen=True, slots=True)
class BlockChoice:
    """LoRA Block Weight's axes, which mean something together: base lists, a value, the blocks it is for."""

    target: str = ""
    originals: tuple[str, ...] = ()
    value: float | None = None
    blocks: str | None = None


@dataclass(frozen=True, slots=True)
class CellBuilder:
    """An unfinished cell. `variables` are those of a recipe, in order of name."""

    request: ImageRequest
    variables: tuple[tuple[str, float], ...] = ()
    choice: BlockChoice = BlockChoice()

    def with_adapter(self, index: int, adapter: AdapterUse) -> CellBuilder:
        adapters = self.request.adapters
        changed = (*adapters[:index], adapter, *adapters[index + 1 :])
        return replace(self, request=replace(self.request, adapters=changed))


def adapter_name(file: str) -> str:
    """The name that people call an adapter by: its file's stem."""
    return PurePath(file.replace("\\", "/")).stem


def find_adapter(request: ImageRequest, name: str) -> int:
    """Index of the adapter called `name`; "" means the only one there is.

    Raises InputError when it is not there, and when several could be meant.
    """
    names = [adapter_name(use.file) for use in request.adapters]
    if not name:
        if len(names) == 1:
            return 0
        if not names:
            raise InputError(
                "which adapter is meant?",
                where="this request has no adapter",
                fix="give one after the checkpoint; an axis 'lora = hina, mio' puts others in its place",
            )
        fix = "name it: 'hina strength = 0, 0.5, 1'"
        raise InputError("which adapter is meant?", where=", ".join(names), fix=fix)
    if (known := match_name(name, names)) is not None:
        files = [use.file for use in request.adapters if adapter_name(use.file) == known]
        if len(files) > 1:
            raise InputError(
                f"two adapters are called '{known}': an axis would change only one of them",
                where=" and ".join(files),
                fix="drop one of them, or give one file another name",
            )
        return names.index(known)
    where = f"the adapters of this cell are {', '.join(names)}" if names else "this cell has no adapter"
    raise InputError(f"there is no adapter '{name}' here", where=where, fix=name_hint(name, names) or None)


def pull_tags(cell: CellBuilder, context: Context) -> CellBuilder:
    """Turn `<lora:…>` tags of the prompt into adapters; they come after those the request already has.

    A tag that cannot be read is left out, as the renderer leaves it out; the study reports it once.
    """
    lifted = lift_tags(cell.request.prompt)
    given, tagged = (
        tuple(_resolved(use, context) for use in uses) for uses in (cell.request.adapters, lifted.adapters)
    )
    require_counted_once(given, tagged)
    return replace(cell, request=replace(cell.request, prompt=lifted.prompt, adapters=(*given, *tagged)))


def _resolved(use: AdapterUse, context: Context) -> AdapterUse:
    """A name becomes the file it stands for, so that a cell's key follows the file's content."""
    name = match_name(use.file, context.loras)
    return use if name is None else replace(use, file=context.loras[name])


def settle_blocks(cell: CellBuilder, context: Context) -> CellBuilder:
    """Apply the block choice to its adapters; marks XYZ and ZYX that nothing fills weigh every block 1."""
    choice = cell.choice
    if choice.value is not None and choice.blocks is None:
        raise InputError(
            "the axis 'values' needs to know for which blocks", fix="add an axis 'block id = IN04, IN05'"
        )
    if choice.blocks is not None and choice.value is None:
        raise InputError("the axis 'block id' needs a value to set", fix="add an axis 'values = 0, 0.5, 1'")
    chosen = choice != BlockChoice()
    marked = [i for i, use in enumerate(cell.request.adapters) if (use.blocks or "").upper() in MARKS]
    targets = marked
    if chosen and (choice.target or not marked):
        targets = [find_adapter(cell.request, choice.target)]
    for index in dict.fromkeys((*marked, *targets)):
        use = cell.request.adapters[index]
        text = _settled(use.blocks, choice if index in targets else BlockChoice(), context)
        cell = cell.with_adapter(index, replace(use, blocks=text))
    adapters = tuple(spell_out(use, context) for use in cell.request.adapters)
    return replace(cell, request=replace(cell.request, adapters=adapters))


def spell_out(use: AdapterUse, context: Context) -> AdapterUse:
    """The person's own presets as their texts: a cell's key then follows what they say, not their names.

    Raises InputError for block weights and element rules that the family cannot have.
    """
    rules = match_name(use.elements or "", context.element_presets)
    elements = use.elements if rules is None else context.element_presets[rules]
    if (elements or "").upper() in MARKS:  # a place for rules that no axis fills
        elements = None
    spelled = replace(use, blocks=spelled_out(use.blocks, context.family, context.presets), elements=elements)
    resolve(
        spelled,
        context.family,
        block_presets=context.presets,  # of which close names are suggested
        element_presets=context.element_presets,
        tokens=seeded_tokens(0, use.x),
    )
    return spelled


def _settled(blocks: str | None, choice: BlockChoice, context: Context) -> str | None:
    mark = (blocks or "").upper()
    base = read_block_text(None if mark in MARKS else blocks, context.family, context.presets)
    if choice.originals:
        base = _sum_of(choice.originals, context)
    if choice.value is not None and choice.blocks is not None:
        base = base.replaced(select_blocks(choice.blocks, context.family, base.names), choice.value)
    return (base.complement() if mark == "ZYX" else base).text()


def _sum_of(originals: tuple[str, ...], context: Context) -> BlockText:
    """One list, or the sum of two; where both are non-zero the first wins (as in LoRA Block Weight)."""
    total = read_block_text(originals[0], context.family, context.presets)
    for text in originals[1:]:
        other = dict(read_block_text(text, context.family, context.presets).values)
        if total.names is None or set(other) != set(total.names):
            raise InputError(
                "two axes of original weights need lists of the same length", where=" / ".join(originals)
            )
        values = tuple((name, other[name] if value == "0" else value) for name, value in total.values)
        total = replace(total, values=values)
    return total
