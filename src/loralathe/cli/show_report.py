"""The report of a run: what was written, what became of every tensor, what an extraction kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loralathe.cli.layout import Columns, Facts
from loralathe.cli.screen import Screen, heading
from loralathe.cli.wording import counts, few, percent, size
from loralathe.cli.wording import duration as seconds_text

if TYPE_CHECKING:
    from loralathe.engine import AdapterCoverage, BlockEnergy, ExtractionReport, Report, WeightsReport

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
