"""`lathe inspect`: what a file is and holds, for people and as a line of JSON."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe import counted, few, points
from loralathe.cli.folders import folder_options
from loralathe.cli.language import Data, say, say_after
from loralathe.cli.options import FilePath, LatheCommand, showing_options
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts, amount, counts, dtype_shares, figures, legend, size

if TYPE_CHECKING:
    from loralathe import AdapterFacts, BlockModules, CheckpointFacts, Inspection, MeasuredNumber, Norm, Part

EPILOG = """\b
Examples:
  lathe inspect hina.safetensors
  lathe inspect *.safetensors --json
  lathe inspect baseA.safetensors --norms --hash
  lathe inspect girl.png
"""
DIALECTS = {
    "kohya": "kohya names",
    "lycoris": "LyCORIS names",
    "xlabs": "XLabs names",
    "comfyui": "ComfyUI names (diffusion_model)",
    "original": "names of the original model",
    "peft": "PEFT names (lora_A, lora_B)",
    "diffusers": "diffusers names (lora.down, lora.up)",
    "dotted": "dotted names",
}
SUMMARY = (
    "modelspec.title", "modelspec.architecture", "modelspec.author", "modelspec.description",
    "ss_output_name", "ss_sd_model_name", "ss_base_model_version", "ss_network_module", "ss_network_dim",
    "ss_network_alpha", "ss_network_args", "ss_num_train_images", "ss_num_epochs", "ss_steps",
    "ss_learning_rate", "ss_clip_skip",
)  # fmt: skip
SHOWN = ("loralathe", "loralathe.measured", "format")
"""Entries of metadata that are shown by themselves: the recipe, and what pictures told."""
LONGEST = 200
NORMS = {
    "norm": "size of all numbers together, the root of the sum of their squares",
    "rms": "size of one number, the root of the mean of their squares",
}
"""Columns of --norms."""
GROUPS = 16
SHARD = re.compile(r"-(\d{5})(?=-of-\d{5}\.)")
"""The number of a shard, in the name of its file."""
"""Lines of key groups that are shown; --json has them all."""


@click.command(
    "inspect",
    cls=LatheCommand,
    section="Look at files",
    short_help="Show what a file is: family, blocks, ranks, metadata, its recipe.",
    epilog=EPILOG,
)
@click.argument("files", nargs=-1, required=True, type=FilePath(), metavar="FILE…")
@click.option("--norms", is_flag=True, help="Size of each block's weights, or of what a LoRA adds to them.")
@click.option("--hash", "hashes", is_flag=True, help="AutoV1, AutoV2, and kohya's hashes of the weights.")
@folder_options()
@showing_options
def inspect_command(
    files: tuple[Path, ...],
    norms: bool,
    hashes: bool,
    as_json: bool,
    quiet: bool,
    threads: int | None,
    **folders: Any,
) -> None:
    """Show what each FILE is and holds, from its header alone: no weights are read unless asked for.

    A picture (PNG) shows its infotext: prompt, seed, sampler and all else that made it.
    """
    import loralathe

    screen = Screen(as_json, quiet)
    for number, given in enumerate(files):
        path = loralathe.find_file(given, **folders)
        if path.suffix.lower() == ".png":
            show_picture(screen, path, first=number == 0)
            continue
        seen = loralathe.inspect(path)
        found_hashes = loralathe.file_hashes(path, progress=screen.progress()) if hashes else None
        found_norms = (
            loralathe.block_norms(path, threads=threads, progress=screen.progress()) if norms else None
        )
        show_inspection(screen, seen, found_norms, found_hashes, first=number == 0)


def show_picture(screen: Screen, path: Path, *, first: bool = True) -> None:
    """What a PNG says about how it was made, as A1111's PNG-info tab shows it."""
    from loralathe import picture_notes

    found = picture_notes(path)
    screen.event(
        "picture", path=path, prompt=found.prompt, negative=found.negative, entries=dict(found.entries)
    )
    rows = [("Prompt", found.prompt), *([("Negative", found.negative)] if found.negative else [])]
    rows += found.entries.items()
    screen.result(*([] if first else [""]), heading(f"{path.name}: a picture"))
    screen.result(Facts((Data(name), Data(text)) for name, text in rows))


def show_inspection(
    screen: Screen,
    seen: Inspection,
    norms: Sequence[Norm] | None,
    hashes: Mapping[str, str] | None,
    *,
    first: bool = True,
) -> None:
    """Show one file; norms and hashes where they were asked for."""
    _event(screen, seen, norms, hashes)
    screen.result(*([] if first else [""]), heading(Data(say_after(seen.path.name, say(seen.what)))))
    rows = _general(seen)
    if seen.checkpoint:
        rows += _checkpoint(seen.checkpoint, seen.layout)
    if seen.adapter:
        rows += _adapter(seen.adapter, seen.family)
    # One block of facts each: long names of tensors or metadata must not push all others aside.
    recipe = [*_recipe(seen.record), *_measured(seen)]
    groups = (rows, _parts(seen), _metadata(seen.metadata), recipe, (hashes or {}).items())
    screen.result(*(Facts(group) for group in groups if group))
    if norms is not None:
        screen.result("", _norm_table(norms, seen.kind), legend(NORMS))


def _event(
    screen: Screen, seen: Inspection, norms: Sequence[Norm] | None, hashes: Mapping[str, str] | None
) -> None:
    if screen.as_json:
        found = [{"rms": norm.rms, "block": norm.block, "items": norm.items, "elements": norm.elements,
                  "norm": norm.norm, "broken": norm.broken} for norm in norms or ()]  # fmt: skip
        extra = ({"norms": found} if norms is not None else {}) | ({"hashes": hashes} if hashes else {})
        screen.event("inspection", file=seen, **extra)


def _general(seen: Inspection) -> list[tuple[str, str]]:
    rows = [("note", seen.note)] if seen.note else []
    rows.append(
        (
            "size",
            f"{size(seen.size)}, {counted(seen.tensors, 'tensor')}, {amount(seen.parameters)} parameters, "
            + (dtype_shares(seen.dtypes) or "nothing"),
        )
    )
    if seen.files:
        rows.append(("files", few([Data(name) for name in _together(seen.files)], 8)))
    if seen.format == "pickle":
        beside = f"; not read: {few(seen.left_out, 6)}" if seen.left_out else ""
        rows.append(("format", f"pickle of torch.save, read as data{beside}"))
    elif seen.left_out:
        rows.append(("not read", few(seen.left_out, 6)))
    if seen.format == "gguf":
        rows.append(("format", "GGUF"))
    if seen.scales:
        rows.append(("scales", f"{counted(seen.scales, 'tensor')} more, read with the quantised weights"))
    if seen.unused:
        rows.append(
            ("not needed", f"{counted(len(seen.unused), 'scale')} for activations: {few(seen.unused)}")
        )
    return rows


def _together(files: Sequence[str]) -> list[str]:
    """Names of files, all shards of one network as one: `unet/model-00001…00011-of-00011.safetensors`."""
    shards: dict[str, list[str]] = {}
    for name in files:
        match = SHARD.search(name)
        shards.setdefault(SHARD.sub("", name), []).append(match[1] if match else "")
    return [_with_numbers(name, held) for name, held in shards.items()]


def _with_numbers(name: str, numbers: Sequence[str]) -> str:
    """The name of a file without the number of its shard, with the first and the last of them."""
    if numbers == [""]:
        return name
    shown = numbers[0] if len(numbers) == 1 else f"{numbers[0]}…{numbers[-1]}"
    start, of, end = name.rpartition("-of-")
    return f"{start}-{shown}{of}{end}"


def _checkpoint(found: CheckpointFacts, layout: str | None) -> list[tuple[str, str]]:
    from loralathe import shorthand

    source = found.prediction_source
    rows = [
        ("layout", f"{layout}, {found.in_channels} input channels"),
        ("predicts", f"{found.prediction} ({source})" if found.prediction else source),
        ("blocks", f"{len(found.long_blocks)} in all: {shorthand(found.long_blocks)}"),
        ("", f"{len(found.short_blocks)} with attention: {shorthand(found.short_blocks)}"),
    ]
    if found.kept_by_rule:
        rules = [f"{rule} ({count})" for rule, count in found.kept_by_rule.items()]
        rows.append(("kept as is", " · ".join(rules)))
    return rows


def _adapter(found: AdapterFacts, family_id: str | None) -> list[tuple[str, str]]:
    from loralathe import component_name, family_by_id, label_of_kind

    kinds = Counter[str]()
    for kind, count in found.kinds.items():
        kinds[label_of_kind(kind)] += count
    rows = [("modules", counts((count, kind) for kind, count in kinds.items()))]
    if family_id is not None:
        family = family_by_id(family_id)
        rows.insert(0, ("layout", DIALECTS.get(found.dialect, found.dialect)))
        parts = [(count, component_name(name, family)) for name, count in found.components.items()]
        rows.append(("", counts(parts)))
    rows.append(("rank", _histogram(found.ranks)))
    rows.append(("alpha", _histogram(found.alphas)))
    if found.coverage:
        rows += _coverage(found.coverage)
        rows += [("not in", " ".join(found.missing))] if found.missing else []
    if found.embeddings:
        rows.append(("bundled", f"embedding, a word for prompts: {few(found.embeddings)}"))
    if found.unmatched:
        rows.append(("unmatched", f"{counted(len(found.unmatched), 'module')}: {few(found.unmatched)}"))
    return rows


def _histogram(found: Mapping[int | None, int] | Mapping[float | None, int]) -> str:
    """`8`, or `8 (264), 4 (722)`: values with the number of modules, commonest first."""
    if set(found) <= {None}:
        return "none"
    names = [("none" if value is None else f"{value:g}", count) for value, count in found.items()]
    if len(names) == 1:
        return names[0][0]
    shown = ", ".join(f"{name} ({count})" for name, count in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _coverage(coverage: Sequence[BlockModules]) -> list[tuple[str, str]]:
    """Blocks with equal numbers of modules stand together: `102 each in IN07 IN08 MID`."""
    from loralathe import shorthand

    groups: dict[int, list[str]] = {}
    for entry in coverage:
        groups.setdefault(entry.modules, []).append(entry.block)
    width = len(str(max(groups)))
    lines = [
        f"{count:>{width}} {'each ' if len(blocks) > 1 else ''}in {shorthand(tuple(blocks))}"
        for count, blocks in sorted(groups.items(), reverse=True)
    ]
    return [("coverage" if number == 0 else "", line) for number, line in enumerate(lines)]


def _parts(seen: Inspection) -> list[tuple[str, str]]:
    if seen.kind == "adapter" and seen.family is not None:
        return []
    rows = [(part.name, _part(part)) for part in seen.parts[:GROUPS]]
    rest = len(seen.parts) - GROUPS
    return rows + ([("…", f"{rest} more groups")] if rest > 0 else [])


def _part(part: Part) -> str:
    tensors = counted(part.tensors, "tensor")
    if not part.parameters:
        return f"{tensors} without numbers, a mark"
    return f"{amount(part.parameters)} parameters, {tensors}, {dtype_shares(part.dtypes)}"


def _metadata(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    shown: list[tuple[str, str]] = [
        (Data(key), Data(_short(metadata[key]))) for key in SUMMARY if metadata.get(key)
    ]
    rest = [key for key in metadata if key not in (*SUMMARY, *SHOWN)]
    if rest:
        more = "1 more entry" if len(rest) == 1 else f"{len(rest)} more entries"
        shown.append(("metadata", f"{more}: {few(sorted(rest))} (--json shows all)"))
    return shown


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _recipe(record: Mapping[str, object] | None) -> list[tuple[str, str]]:
    """The recipe that made the file, as one would type it."""
    if record is None:
        return []
    steps = {name: str(text) for name, text in _table(record, "steps").items()}
    lines = [f"{name} = {steps[name]}" for name in _in_order(steps)]
    for name, source in _table(record, "inputs").items():
        known = source if isinstance(source, dict) else {}
        digest = known.get("sha256")
        lines.append(
            f"{name} = {known.get('file', '?')}" + (f"  (sha256 {str(digest)[:10]}…)" if digest else "")
        )
    for table in ("variables", "blocks"):
        lines += [f"{name} = {_plain(value)}" for name, value in _table(record, table).items()]
    version = f"made by loralathe {record.get('version', '?')} as {record.get('save', '?')}"
    return [("recipe", version), *(("", Data(line)) for line in lines)]


def _measured(seen: Inspection) -> list[tuple[str, str]]:
    """What pictures told of the file, in points of 100 with their 95 % intervals, and on which pictures."""
    found = seen.measured
    if found is None:
        return []
    if not seen.measured_here:
        return [("measured", "numbers of another recipe or of other files: they say nothing of this one")]
    rows: list[tuple[str, str]] = [("measured", Data(", ".join(map(_number, found.numbers))))]
    first, last = found.seeds
    pictures = max(number.pictures for number in found.numbers)
    rows.append(("", f"{counted(pictures, 'picture')}, seeds {first} to {last}, by lathe {found.by}"))
    if found.card:
        rows.append(("", f"card {found.card}  (sha256 {found.card_sha256[:10]}…)"))
    if found.base and found.strength is not None:
        rows.append(("", f"drawn on {found.base} at strength {found.strength:g}"))
    return rows


def _number(number: MeasuredNumber) -> str:
    """`likeness 98.0 [96.7, 99.3]`."""
    shown = f"{number.name} {points(number.mean)}"
    if number.low is None or number.high is None:
        return shown
    return f"{shown} [{points(number.low)}, {points(number.high)}]"


def _in_order(steps: Mapping[str, str]) -> list[str]:
    """Steps after those that they use; the record itself is sorted by name."""
    used = {name: set(re.findall(r"[^\W\d]\w*", text)) & steps.keys() for name, text in steps.items()}
    order: list[str] = []
    while len(order) < len(steps):
        ready = [name for name in steps if name not in order and used[name] <= {*order, name}]
        if not ready:  # circular: nothing that loralathe wrote
            return list(steps)
        order += ready
    return order


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(record: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _norm_table(norms: Sequence[Norm], kind: str) -> Columns:
    what = "modules" if kind == "adapter" else "tensors"
    broken = any(norm.broken for norm in norms)
    columns = ["block", what, "parameters", "norm", "rms", *(["NaN/Inf"] if broken else [])]
    rows = [
        [norm.block, str(norm.items), amount(norm.elements), figures(norm.norm, 4), figures(norm.rms),
         *([str(norm.broken or "–")] if broken else [])]
        for norm in norms
    ]  # fmt: skip
    return Columns(columns, rows[:-1], rows[-1])
