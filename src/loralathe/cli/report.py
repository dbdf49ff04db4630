"""Run what a command prepared: show the recipe, then the plan (--dry-run) or the report.

The report tells what was written, what became of every tensor, and what an extraction kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loralathe import counted, few, unused_names
from loralathe.cli.screen import Screen, heading
from loralathe.cli.text import Columns, Facts, counts, dtype_name, percent, size
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
        Report,
        WeightsOutput,
        WeightsReport,
    )

BUCKETS = ("changed", "copied", "baked VAE", "strength 0", "kept by rule", "only in the first")
REASONS = {
    "joined": "joined without loss",
    "budget": "cut by the budget",
    "rule": "at the rank of their mode",
    "requested": "at the rank asked for",
    "shape": "capped by their size",
    "noise": "cut at the rounding noise",
    "zero": "without difference",
    "exhausted": "at all the rank there is",
    "small": "under the smallest difference",
    "left out": "not asked for",
}
COLUMNS = ("block", "modules", "rank", "share %", "kept %", "truncated %", "noise %", "outside %")


def show_and_run(prepared: Prepared, screen: Screen, dry_run: bool) -> None:
    """Show the recipe; run it and show its report, or with --dry-run its plan."""
    show_recipe(screen, prepared)
    if unused := unused_names(prepared.recipe):
        screen.note(f"nothing that is saved uses {', '.join(unused)}")
    if dry_run:
        show_plan(screen, prepared.plan(), prepared.options.force)
    else:
        show_report(screen, prepared.run())


def show_recipe(screen: Screen, prepared: Prepared) -> None:
    """Formulas, and the files, numbers and lists that their names stand for."""
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
        screen.show(heading(next(iter(steps.values()))))
    else:
        width = max(map(len, steps), default=0)
        for name, text in steps.items():
            screen.show(heading(f"{name:<{width}} = {text}"))
    rows = [(name, str(path)) for name, path in recipe.inputs.items()]
    rows += [(name, f"{value:g}") for name, value in recipe.variables.items()]
    rows += list(recipe.blocks.items())
    screen.show(Facts(rows))


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
                Facts([(name, f"{counted(len(use.unmatched), 'module')} unmatched: {few(use.unmatched)}")])
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
    named = [(output.buckets.get(name, 0), name) for name in BUCKETS]
    rows = [
        ("size", f"{size(output.nbytes)}, tensors and metadata of {output.primary}"),
        ("tensors", counts([*named, (len(output.discarded), "discarded")])),
        *(("note", note) for note in output.notes),
    ]
    return str(output.save.file), record, rows


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
        ("size", f"at most {size(output.max_nbytes)}, {dtype_name(output.dtype)}"),
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
        return use.name, f"nothing: it cancels ({use.kind}, {size(use.of)})"
    return (
        use.name,
        f"{size(use.nbytes)} of {size(use.of)}, {counted(use.tensors, 'tensor')} of the {use.kind}",
    )


def show_report(screen: Screen, report: Report) -> None:
    """Show a finished run."""
    _event(screen, report)
    for warning in report.warnings:
        screen.note(warning)
    if screen.quiet:
        return
    for extraction in report.extractions:
        _show_extraction(screen, extraction)
    for weights in report.weights:
        _show_weights(screen, weights)
    rows = [(name, _coverage(use)) for name, use in report.coverage.items()]
    screen.show(Facts([*rows, ("time", seconds_text(report.seconds))]))


def _event(screen: Screen, report: Report) -> None:
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
        }
        for item in report.extractions
    ]
    screen.event(
        "report",
        weights=list(report.weights),
        extractions=extractions,
        coverage=report.coverage,
        warnings=report.warnings,
        seconds=report.seconds,
    )


def _show_weights(screen: Screen, weights: WeightsReport) -> None:
    screen.show(heading(f"→ {weights.path}"))
    stored = f"as in {weights.primary}" if weights.dtype == "source" else weights.dtype
    named = [(weights.buckets.get(name, 0), name) for name in BUCKETS]
    rows = [
        ("size", f"{size(weights.nbytes)}, {stored}"),
        ("tensors", counts([*named, (weights.discarded, "discarded")])),
    ]
    rows += [("note", note) for note in weights.notes]
    screen.show(Facts(rows))


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
    rows = [
        _row(block, ranks.get(block.block, []), total.energy, sized)
        for block in extraction.blocks()
        if block.energy > 0
    ]
    columns = ("block", "modules", "rank", "size", *COLUMNS[3:]) if sized else COLUMNS
    screen.show(Columns(columns, rows, _row(total, everything, total.energy, sized)))
    screen.show(Facts(_extraction_facts(extraction, total)))


def _extraction_facts(extraction: ExtractionReport, total: BlockEnergy) -> list[tuple[str, str]]:
    reasons = extraction.reasons
    rows = [("modules", counts([(reasons[reason], text) for reason, text in REASONS.items()]))]
    if extraction.completed:
        rows.append(("zeros", f"{extraction.completed} modules, without which A1111 ignores their attention"))
    if spent := extraction.budget:
        why = "; the rest lies under the noise or beyond the ranks allowed" if spent.missed else ""
        rows.append(("budget", f"{spent.asked}: {percent(spent.share)} % of the energy kept{why}"))
        rows.append(
            ("price", f"what was kept last explains {1e5 * spent.marginal_density:.2g} % in a kilobyte")
        )
    inside = total.energy - total.outside
    if inside > 0:
        error = math.sqrt(max(0.0, 1.0 - total.kept / inside))
        rows.append(("error", f"{100 * error:.2f} % of the difference that a LoRA can hold"))
    untouched = [block.block for block in extraction.blocks() if block.energy == 0]
    if untouched:
        rows.append(("equal", f"nothing differs in {', '.join(untouched)}"))
    if total.outside > 0:
        rows.append(
            (
                "outside",
                f"{percent(total.outside / total.energy)} % of the energy is in tensors that the LoRA lacks",
            )
        )
    return rows


def _row(block: BlockEnergy, ranks: Sequence[int], whole: float, sized: bool) -> list[str]:
    """Shares of the block's own energy; its share of the whole before them."""
    parts = (block.kept, block.truncated, block.noise, block.outside)
    shares = [percent(part / block.energy) if block.energy > 0 else "–" for part in parts]
    share = percent(block.energy / whole) if whole > 0 else "–"
    held = [size(block.nbytes) if block.nbytes else "–"] if sized else []
    return [block.block, str(block.modules or "–"), _ranks(ranks), *held, share, *shares]


def _ranks(ranks: Sequence[int]) -> str:
    if not ranks:
        return "–"
    low, high = min(ranks), max(ranks)
    return str(low) if low == high else f"{low}–{high}"
