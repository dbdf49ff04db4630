"""Axes over adapters: strengths, the file, block presets, the value of chosen blocks, element rules.

LoRA Block Weight's four axes are here too: values, block id, original weights, elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from loralathe.errors import InputError
from loralathe.strengths import (
    AdapterUse,
    element_text,
    find_preset,
    match_name,
    parse_elements,
    parse_texts,
    read_block_text,
    same_adapter,
    select_blocks,
)
from loralathe.studies.axes_request import resolve_file
from loralathe.studies.axis import Axis, AxisKind, AxisSpec, Stage, decimal_axis, each
from loralathe.studies.cell_builder import MARKS, CellBuilder, adapter_name, find_adapter

Locate = Callable[[CellBuilder], tuple[int, AdapterUse]]


def _locate(spec: AxisSpec) -> tuple[str, Locate]:
    """The adapter's name, and how to find it in a cell.

    One that the request lacks is added at strength 1 when the folder has it; one that another axis took
    out of a cell is an error there.
    """
    names = [adapter_name(use.file) for use in spec.base.request.adapters]
    target = spec.target
    if target and match_name(target, names) is None:
        file = resolve_file(target, _known(spec), "adapter")
        added = AdapterUse(file)
        _refuse_double(file, spec.base.request.adapters)

        def find_or_add(cell: CellBuilder) -> tuple[int, AdapterUse]:
            for index, use in enumerate(cell.request.adapters):
                if use.file == file:
                    return index, use
            return len(cell.request.adapters), added

        return adapter_name(file), find_or_add
    index = find_adapter(spec.base.request, target)

    def find(cell: CellBuilder) -> tuple[int, AdapterUse]:
        at = find_adapter(cell.request, target)
        return at, cell.request.adapters[at]

    return adapter_name(spec.base.request.adapters[index].file), find


def _known(spec: AxisSpec) -> dict[str, str]:
    """Adapters by name: those of the folder and, first, those of the request."""
    named = {adapter_name(use.file): use.file for use in spec.base.request.adapters}
    return dict(spec.context.loras) | named


def _strength_axis(
    part: str, sides: tuple[str, ...], change: Callable[[AdapterUse, float], AdapterUse]
) -> Callable[[AxisSpec], Axis]:
    def build(spec: AxisSpec) -> Axis:
        name, find = _locate(spec)

        def apply(cell: CellBuilder, strength: float) -> CellBuilder:
            index, use = find(cell)
            return cell.with_adapter(index, change(use, strength))

        # Without a name it is whichever adapter a cell has: an axis `lora` may put others in its place.
        title = f"{name}{part}" if spec.target else part.strip() or "strength"
        sets = frozenset(f"the strength of {name} in the {side}" for side in sides)
        return decimal_axis(title, spec, 0.05, apply, sets)

    return build


def build_lora(spec: AxisSpec) -> Axis:
    """The adapter itself: every value takes its place, strengths and blocks kept; `none` takes it out."""
    texts = [text or "none" for text in parse_texts(spec.text)]
    known = _known(spec)
    files = [None if t.casefold() == "none" else resolve_file(t, known, "adapter") for t in texts]
    alone = not spec.target and not spec.base.request.adapters
    target = "" if alone else adapter_name(_at(spec).file)

    def apply(cell: CellBuilder, file: str | None) -> CellBuilder:
        adapters = cell.request.adapters
        index = len(adapters) if alone else find_adapter(cell.request, target)
        use = AdapterUse("") if alone else adapters[index]
        kept = (*adapters[:index], *adapters[index + 1 :])
        if file is not None:
            _refuse_double(file, kept)
            return cell.with_adapter(index, replace(use, file=file))
        return replace(cell, request=replace(cell.request, adapters=kept))

    values = each(files, lambda file: adapter_name(file) if file else "none", apply)
    several = len(spec.base.request.adapters) > 1
    title = f"in place of {target}" if several else "LoRA"
    return Axis(title, values, 0.35, text=spec.text, sets=frozenset({f"what is in the place of {target}"}))


def _refuse_double(file: str, beside: Iterable[AdapterUse]) -> None:
    """InputError for an adapter that an axis would add to one of the same content."""
    for use in beside:
        if same_adapter(file, use.file):
            raise InputError(
                f"an axis would use {adapter_name(file)} twice",
                where=" and ".join(dict.fromkeys((file, use.file))),
                fix=f"drop {use.file}, or take the value out of the axis",
            )


def _at(spec: AxisSpec) -> AdapterUse:
    return spec.base.request.adapters[find_adapter(spec.base.request, spec.target)]


def build_blocks(spec: AxisSpec) -> Axis:
    """A preset name, a quoted list, or quoted `IN04=0.3` entries for each value."""
    name, find = _locate(spec)
    family, own = spec.context.family, spec.context.presets
    texts = [find_preset(text, family, own) or text for text in parse_texts(spec.text)]
    for text in texts:
        if text.upper() not in MARKS:
            read_block_text(text, family, own)

    def apply(cell: CellBuilder, text: str) -> CellBuilder:
        index, use = find(cell)
        return cell.with_adapter(index, replace(use, blocks=text or None))

    values = each(texts, lambda text: text or "—", apply)
    return Axis(f"{name} blocks", values, 0.05, text=spec.text, sets=_block_weights(name))


def _block_weights(name: str, blocks: Iterable[str] = ("all blocks",)) -> frozenset[str]:
    """What an axis sets that gives these blocks their weights."""
    return frozenset(f"the weight of {block} in {name}" for block in blocks)


def build_block_value(spec: AxisSpec) -> Axis:
    """The weight of chosen blocks; the title's end is the selector: `hina IN04-IN08 = 0, 0.5, 1`."""
    name, find = _locate(spec)
    selector = spec.selector
    family = spec.context.family
    blocks = select_blocks(selector, family)

    def apply(cell: CellBuilder, value: float) -> CellBuilder:
        index, use = find(cell)
        base = read_block_text(use.blocks, family, spec.context.presets)
        chosen = select_blocks(selector, family, base.names)
        return cell.with_adapter(index, replace(use, blocks=base.replaced(chosen, value).text()))

    sets = _block_weights(name, blocks)
    return decimal_axis(f"{name} {selector.upper()}", spec, 0.05, apply, sets, Stage.BLOCK)


def build_elements(spec: AxisSpec) -> Axis:
    """One element rule `blocks:elements:value` for each value, after the rules the adapter already has."""
    name, find = _locate(spec)
    texts = parse_texts(spec.text)
    for text in filter(None, texts):
        parse_elements(text, spec.context.family, spec.context.element_presets)

    def apply(cell: CellBuilder, text: str) -> CellBuilder:
        index, use = find(cell)
        kept = None if (use.elements or "").upper() in MARKS else use.elements
        added = element_text(text, spec.context.family, spec.context.element_presets) if text else ""
        rules = ",".join(rule for rule in (kept, added) if rule)
        return cell.with_adapter(index, replace(use, elements=rules or None))

    values = each(texts, lambda text: text or "—", apply)
    sets = frozenset({f"the element rules of {name}"})
    return Axis(f"{name} elements", values, 0.05, text=spec.text, sets=sets, adds=True)


def build_values(spec: AxisSpec) -> Axis:
    def apply(cell: CellBuilder, value: float) -> CellBuilder:
        target = spec.target or cell.choice.target
        return replace(cell, choice=replace(cell.choice, target=target, value=value))

    return decimal_axis("values", spec, 0.05, apply, frozenset({"the values for a block id"}))


def build_block_id(spec: AxisSpec) -> Axis:
    texts = [text for text in parse_texts(spec.text) if text]
    blocks = {block for text in texts for block in select_blocks(text, spec.context.family)}

    def apply(cell: CellBuilder, blocks: str) -> CellBuilder:
        target = spec.target or cell.choice.target
        return replace(cell, choice=replace(cell.choice, target=target, blocks=blocks))

    sets = _block_weights(_chosen(spec), blocks) | {"the block id"}
    return Axis("Block ID", each(texts, str, apply), 0.05, text=spec.text, sets=sets)


def build_originals(spec: AxisSpec) -> Axis:
    texts = [text for text in parse_texts(spec.text) if text]
    for text in texts:
        read_block_text(text, spec.context.family, spec.context.presets)

    def apply(cell: CellBuilder, text: str) -> CellBuilder:
        target = spec.target or cell.choice.target
        originals = (*cell.choice.originals, text)
        return replace(cell, choice=replace(cell.choice, target=target, originals=originals))

    values, sets = each(texts, str, apply), _block_weights(_chosen(spec))
    return Axis("Original Weights", values, 0.05, text=spec.text, sets=sets, adds=True)


def _chosen(spec: AxisSpec) -> str:
    """The name of the adapter that LoRA Block Weight's axes are for: named, marked, or the only one."""
    uses = spec.base.request.adapters
    marked = [use for use in uses if (use.blocks or "").upper() in MARKS] or uses
    return spec.target or (adapter_name(marked[0].file) if len(marked) == 1 else "")


ADAPTER_KINDS: tuple[AxisKind, ...] = (
    AxisKind(
        ("strength", "weight"),
        _strength_axis("", ("text encoders", "U-Net"), lambda use, s: replace(use, te=s, unet=s)),
        targeted=True,
        example="hina strength = 0, 0.3, 0.5",
    ),
    AxisKind(
        ("te",),
        _strength_axis(" te", ("text encoders",), lambda use, s: replace(use, te=s)),
        targeted=True,
        example="hina te = 0, 1",
    ),
    AxisKind(
        ("unet",),
        _strength_axis(" unet", ("U-Net",), lambda use, s: replace(use, unet=s)),
        targeted=True,
        example="hina unet = 0..1 [5]",
    ),
    AxisKind(("lora", "adapter"), build_lora, targeted=True, example="lora = hina, mio, none"),
    AxisKind(
        ("blocks", "preset", "block preset"), build_blocks, targeted=True, example="hina blocks = ALL, OUTD"
    ),
    AxisKind(
        ("elements", "element"), build_elements, targeted=True, example="hina elements = 'IN05-OUT05:attn:0'"
    ),
    AxisKind(("values", "value"), build_values, targeted=True, example="values = 0, 0.5, 1"),
    AxisKind(
        ("block id", "blockid"), build_block_id, targeted=True, example="block id = IN04, IN05-IN08, NOT BASE"
    ),
    AxisKind(("original weights",), build_originals, targeted=True, example="original weights = ALL, OUTALL"),
)
