"""Run what a command prepared: show the recipe, then the plan (--dry-run) or the report.

The report tells what was written, what became of every tensor, and what an extraction kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from loralathe import BUCKETS, Message, as_flag, counted, few, fixed, unused_names
from loralathe.cli.language import Data
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts, counts, dtype_name, percent, signed_percent, size
from loralathe.cli.text import duration as seconds_text

if TYPE_CHECKING:
    from loralathe import (
        AdapterCoverage,
        AdapterOutput,
        BlockEnergy,
        ExtractionReport,
        ExtractOptions,
        InputUse,
        Planned,
        Prepared,
        Remark,
        Report,
        RoundingReport,
        WeightsOutput,
        WeightsReport,
    )

REASONS = {
    "joined": "side by side, without loss",
    "budget": "cut to fit the budget",
    "rule": "at the rank that their mode gives",
    "requested": "at the rank asked for",
    "shape": "at the full rank of their size",
    "noise": "cut where only rounding is left",
    "zero": "without any change",
    "exhausted": "at all the rank they have",
    "small": "below the smallest difference asked for",
    "convolution": "convolutions, not asked for",
    "text encoder": "in text encoders that are switched off",
}
"""Why modules have the ranks that they have."""
NEARLY_ALL = 0.99
"""The block that holds least of what is added is named where it holds less than this."""
SHARES = {
    "kept %": "is in the LoRA",
    "cut off %": "lies beyond its rank",
    "rounding %": "is no more than the rounding of the files",
    "left out %": "lies in layers that the LoRA does not have",
}
"""Columns of an extraction, and what each share of a block's change says."""


def show_and_run(prepared: Prepared, screen: Screen, dry_run: bool, *, in_formulas: bool = False) -> None:
    """Show the recipe once nothing speaks against it, and the report; or with --dry-run the plan.

    in_formulas: options such as rank=64 stand in the person's formulas, not on the command line.
    """
    if dry_run:
        planned = prepared.plan()
        show_recipe(screen, prepared)
        show_plan(screen, planned, prepared.options.force)
    else:
        report = prepared.run(lambda: show_recipe(screen, prepared))
        show_report(screen, report, in_formulas=in_formulas)


def show_recipe(screen: Screen, prepared: Prepared) -> None:
    """Formulas, and the files, numbers and lists that their names stand for; a note of what nothing uses."""
    recipe, steps = prepared.recipe, prepared.formulas
    screen.event(
        "recipe",
        steps=steps,
        inputs=recipe.inputs,
        variables=recipe.variables,
        blocks=recipe.blocks,
        save={save.step: save.file for save in recipe.saves},
    )
    if screen.quiet:
        return
    if len(steps) == 1:
        screen.show(heading(Data(next(iter(steps.values())))))
    else:
        width = max(map(len, steps), default=0)
        for name, text in steps.items():
            screen.show(heading(Data(f"{name:<{width}} = {text}")))
    rows = [(name, str(path)) for name, path in recipe.inputs.items()]
    rows += [(name, f"{value:g}") for name, value in recipe.variables.items()]
    rows += list(recipe.blocks.items())
    screen.show(Facts((Data(name), Data(text)) for name, text in rows))
    if unused := unused_names(recipe):
        screen.note(f"nothing that is saved uses {', '.join(unused)}")


def show_plan(screen: Screen, planned: Planned, force: bool) -> None:
    """Show what a run would do; an output that exists needs --force."""
    from loralathe import WeightsOutput

    plan, uses = planned.plan, planned.reads
    outputs = [
        _weights(output) if isinstance(output, WeightsOutput) else _adapter(output) for output in plan.outputs
    ]
    screen.event(
        "plan",
        outputs=[{"file": file, **record} for file, record, _ in outputs],
        reads=uses,
        coverage=plan.coverage,
        warnings=plan.warnings,
        existing=planned.existing,
    )
    for warning in plan.warnings:
        screen.note(warning)
    for path in planned.existing:
        screen.note(f"{path} exists" + (" and would be replaced" if force else ": replace it with --force"))
    if screen.quiet:
        return
    for file, _, rows in outputs:
        screen.show(heading(f"would write {file}"), Facts(rows))
    screen.show(heading("would read"), Facts([_use(use) for use in uses]))
    for name, use in plan.coverage.items():
        if use.unmatched:
            screen.show(
                Facts(
                    [(Data(name), f"{counted(len(use.unmatched), 'module')} unmatched: {few(use.unmatched)}")]
                )
            )


def _weights(output: WeightsOutput) -> tuple[str, dict[str, object], list[tuple[str, str]]]:
    record: dict[str, object] = {
        "kind": "checkpoint",
        "nbytes": output.nbytes,
        "tensors": len(output.tensors),
        "buckets": output.buckets,
        "discarded": len(output.discarded),
        "notes": output.notes,
    }
    rows = [
        ("size", f"{size(output.nbytes)}, tensors and metadata of {output.primary}"),
        ("tensors", _buckets(output.buckets, len(output.discarded))),
        *(("note", note) for note in output.notes),
    ]
    return str(output.save.file), record, rows


def _buckets(held: Mapping[str, int], discarded: int) -> str:
    named = [(held.get(name, 0), text) for name, text in BUCKETS.items()]
    return counts([*named, (discarded, "left out, as their names match the pattern")])


def _adapter(output: AdapterOutput) -> tuple[str, dict[str, object], list[tuple[str, str]]]:
    modules = sum(1 for unit in output.units for row_slice in unit.slices if row_slice.module is not None)
    options = output.leaf.options
    record: dict[str, object] = {
        "kind": "adapter",
        "max_nbytes": output.max_nbytes,
        "rank": options.rank,
        "conv_rank": options.conv_rank,
        "dtype": output.dtype,
        "budget": options.budget,
        "passes": 2 if options.budget else 1,
    }
    rows = [
        ("size", f"at most {size(output.max_nbytes)}, stored as {dtype_name(output.dtype)}"),
        ("rank", _rank_text(options)),
        ("looks at", counted(modules, "module")),
    ]
    if options.budget:
        rows.append(("passes", "2: the singular values of all modules first, then each at its share"))
    return str(output.save.file), record, rows


def _rank_text(options: ExtractOptions) -> str:
    """What decides the ranks."""
    conv = f", {options.conv_rank} for convolutions" if options.conv_rank else ""
    most = "" if options.rank is None else f"at most {options.rank}{conv}"
    if options.joined:
        return "the sum of those joined: nothing is lost"
    if options.budget:
        return f"by value for their bytes: {options.budget}" + (f", {most}" if most else "")
    if options.rule:
        return f"by {options.rule.kind} {options.rule.parameter:g}" + (f", {most}" if most else "")
    return most or "all of every module"


def _use(use: InputUse) -> tuple[str, str]:
    if use.tensors == 0:
        return Data(use.name), f"nothing: it cancels ({use.kind}, {size(use.of)})"
    return (
        Data(use.name),
        f"{size(use.nbytes)} of {size(use.of)}, {counted(use.tensors, 'tensor')} of the {use.kind}",
    )


def show_report(screen: Screen, report: Report, *, in_formulas: bool = False) -> None:
    """Show a finished run."""
    outputs: list[ExtractionReport | WeightsReport] = [*report.extractions, *report.weights]
    remarks = {item.step: [_spelled(found, in_formulas) for found in item.remarks] for item in outputs}
    _event(screen, report, remarks)
    for warning in report.warnings:
        screen.note(warning)
    if screen.quiet:
        return
    for extraction in report.extractions:
        _show_extraction(screen, extraction)
    for weights in report.weights:
        _show_weights(screen, weights)
    rows = [(Data(name), _coverage(use)) for name, use in report.coverage.items()]
    screen.show(Facts([*rows, ("time", seconds_text(report.seconds))]))
    advice = [found.text for step in remarks.values() for found in step]
    if advice:
        screen.show(Facts([("advice" if number == 0 else "", text) for number, text in enumerate(advice)]))


def _spelled(remark: Remark, in_formulas: bool) -> Remark:
    """Its options as flags, or as arguments of the person's formulas."""
    return remark if in_formulas else replace(remark, text=Message(remark.text.spelled(as_flag)))


def _event(screen: Screen, report: Report, remarks: Mapping[str, Sequence[Remark]]) -> None:
    if not screen.as_json:
        return
    extractions = [
        {
            "step": item.step,
            "path": item.path,
            "rank": item.rank,
            "budget": item.budget,
            "written": item.written,
            "completed": item.completed,
            "reasons": item.reasons,
            "blocks": item.blocks(),
            "total": item.total(),
            "remarks": remarks[item.step],
        }
        for item in report.extractions
    ]
    screen.event(
        "report",
        weights=[replace(item, remarks=tuple(remarks[item.step])) for item in report.weights],
        extractions=extractions,
        coverage=report.coverage,
        warnings=report.warnings,
        seconds=report.seconds,
    )


def _show_weights(screen: Screen, weights: WeightsReport) -> None:
    screen.show(heading(f"→ {weights.path}"))
    stored = f"as in {weights.primary}" if weights.dtype == "source" else f"stored as {weights.dtype}"
    rows = [
        ("size", f"{size(weights.nbytes)}, {stored}"),
        ("tensors", _buckets(weights.buckets, weights.discarded)),
    ]
    rows += [*_held(weights.rounding), *(("note", note) for note in weights.notes)]
    screen.show(Facts(rows))


def _held(rounding: RoundingReport) -> list[tuple[str, str]]:
    """How much of what is added is in the file once it is rounded."""
    total, worst = rounding.total, rounding.worst
    if total.held is None or total.error is None:
        return [("held", "nothing added")]
    rows = [("held", f"{signed_percent(total.held)} of what is added, error {signed_percent(total.error)}")]
    if len(total.parts) > 1:
        rows.append(
            ("parts", " · ".join(f"{name} {signed_percent(held)}" for name, held in total.parts.items()))
        )
    if worst is not None and worst.held is not None and worst.held < NEARLY_ALL:
        least = f"{signed_percent(worst.held)} in {worst.block}, error {signed_percent(worst.error)}"
        rows.append(("least held", least))
    return rows


def _coverage(use: AdapterCoverage) -> str:
    """What became of an adapter's modules."""
    found = counts(
        [(use.used, "modules used"), (use.zero_strength, "at strength 0"), (len(use.unmatched), "unmatched")]
    )
    return f"{found}: {few(use.unmatched)}" if use.unmatched else found


def _show_extraction(screen: Screen, extraction: ExtractionReport) -> None:
    total = extraction.total()
    screen.show(heading(f"→ {extraction.path}"))
    ranks: dict[str, list[int]] = {}
    for record in extraction.records:
        if record.rank:
            ranks.setdefault(record.block, []).append(record.rank)
    everything = [rank for group in ranks.values() for rank in group]
    # Where ranks are the outcome and not the order, so are the bytes.
    sized = extraction.rank is None
    names = [name for name, part in zip(SHARES, _parts(total), strict=True) if part > 0]
    rows = [
        _row(block, ranks.get(block.block, []), total.energy, sized, names)
        for block in extraction.blocks()
        if block.energy > 0
    ]
    columns = ("block", "modules", "rank", *(["size"] if sized else []), "of all %", *names)
    screen.show(Columns(columns, rows, _row(total, everything, total.energy, sized, names)))
    screen.show(Facts(_extraction_facts(extraction, total, names)))


def _parts(block: BlockEnergy) -> tuple[float, ...]:
    """In the order of SHARES."""
    return block.kept, block.truncated, block.noise, block.outside


def _extraction_facts(
    extraction: ExtractionReport, total: BlockEnergy, names: Sequence[str]
) -> list[tuple[str, str]]:
    reasons = extraction.reasons
    rows = [("modules", counts([(reasons[reason], text) for reason, text in REASONS.items()]))]
    if extraction.completed:
        rows.append(("zeros", f"{extraction.completed} modules, without which A1111 ignores their attention"))
    if spent := extraction.budget:
        why = "; the rest is rounding, or beyond the ranks allowed" if spent.missed else ""
        rows.append(("budget", f"{spent.asked}: {percent(spent.share)} % of the change is kept{why}"))
        rows.append(("price", f"the last kilobyte holds {1e5 * spent.marginal_density:.2g} % of the change"))
    inside = total.energy - total.outside
    if inside > total.kept:
        error = math.sqrt(max(0.0, 1.0 - total.kept / inside))
        rows.append(("error", f"{fixed(100 * error, 2)} % of what changes in the LoRA's layers, by length"))
    untouched = [block.block for block in extraction.blocks() if block.energy == 0]
    if untouched:
        rows.append(("equal", f"nothing differs in {', '.join(untouched)}"))
    if len(names) > 1:
        meaning = " · ".join(f"{name.removesuffix(' %')}: {SHARES[name]}" for name in names)
        rows.append(("columns", f"of a block's change, {meaning}"))
    return rows


def _row(
    block: BlockEnergy, ranks: Sequence[int], whole: float, sized: bool, names: Sequence[str]
) -> list[str]:
    """Shares of the block's own energy; its share of the whole before them."""
    parts = dict(zip(SHARES, _parts(block), strict=True))
    shares = [percent(parts[name] / block.energy) if block.energy > 0 else "–" for name in names]
    share = percent(block.energy / whole) if whole > 0 else "–"
    held = [size(block.nbytes) if block.nbytes else "–"] if sized else []
    return [block.block, str(block.modules or "–"), _ranks(ranks), *held, share, *shares]


def _ranks(ranks: Sequence[int]) -> str:
    if not ranks:
        return "–"
    low, high = min(ranks), max(ranks)
    return str(low) if low == high else f"{low}–{high}"
