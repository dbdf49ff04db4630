"""--dry-run: what would be written, what would be read, what cancels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.cli.layout import Facts
from loralathe.cli.screen import Screen, heading
from loralathe.cli.show_report import BUCKETS
from loralathe.cli.wording import counts, dtype_name, few, plural, size

if TYPE_CHECKING:
    from loralathe.api.running import Planned
    from loralathe.engine import AdapterOutput, InputUse, WeightsOutput
    from loralathe.language import ExtractOptions


def show_plan(screen: Screen, planned: Planned) -> None:
    """Show what a run would do."""
    from loralathe.engine import WeightsOutput

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
    )
    for warning in plan.warnings:
        screen.note(warning)
    if screen.quiet:
        return
    for file, _, rows in outputs:
        screen.show(heading(f"would write {file}"), Facts(rows))
    screen.show(heading("would read"), Facts([_use(use) for use in uses]))
    for name, use in plan.coverage.items():
        if use.unmatched:
            screen.show(
                Facts([(name, f"{plural(len(use.unmatched), 'module')} unmatched: {few(use.unmatched)}")])
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
        ("looks at", plural(modules, "module")),
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
        f"{size(use.nbytes)} of {size(use.of)}, {plural(use.tensors, 'tensor')} of the {use.kind}",
    )
