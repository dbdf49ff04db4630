"""A verification for people, and as a line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.cli.layout import Columns, Facts
from loralathe.cli.screen import Screen, heading
from loralathe.cli.wording import figures, plural

if TYPE_CHECKING:
    from loralathe.verification import BlockCheck, Verification

SHOWN = 12
"""Findings that are shown; --json has them all."""


def show_verification(screen: Screen, found: Verification) -> None:
    """What was checked, block by block, and what was found."""
    screen.event("verification", ok=found.ok, verification=found)
    screen.result(heading(_title(found)), Facts(_facts(found)))
    adapter = found.kind == "adapter"
    columns = ["block", "modules" if adapter else "tensors", "checked"]
    columns += ["over the best %"] if adapter else ["copied", "error (ulp)"]
    columns += ["other bits", "wrong"]
    rows = [_row(block, adapter) for block in found.blocks if block.tensors or block.checked]
    screen.result("", Columns(columns, rows, _row(found.total, adapter)))
    if found.findings:
        screen.result("", heading(plural(len(found.findings), "finding")))
        shown = [(finding.place, finding.what) for finding in found.findings[:SHOWN]]
        for place, what in shown:
            screen.result(Facts([("", f"{place}: {what}")]))
        rest = len(found.findings) - SHOWN
        if rest > 0:
            screen.result(Facts([("", f"and {rest} more (--json shows all)")]))


def _title(found: Verification) -> str:
    if found.ok:
        return f"{found.path.name} is what its record says"
    return f"{found.path.name} is NOT what its record says"


def _facts(found: Verification) -> list[tuple[str, str]]:
    rows = [("recipe", f"{found.save} = {found.formula}")]
    for name, path in found.inputs.items():
        unsure = "  (by its name: no hash was recorded)" if name in found.by_name else ""
        rows.append((name, f"{path}{unsure}"))
    rows.append(("made by", f"loralathe {found.version}"))
    return rows + [("note", note) for note in found.notes]


def _row(block: BlockCheck, adapter: bool) -> list[str]:
    row = [block.block, str(block.tensors), str(block.checked)]
    if adapter:
        row.append("–" if block.excess is None else figures(100 * block.excess, 2))
    else:
        row += [str(block.copied or "–"), "–" if block.ulps is None else figures(block.ulps)]
    return [*row, str(block.differing or "–"), str(block.failed or "–")]
