"""Nodes that look: what a file is, and what other programs make of a LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

import loralathe
from loralathe import counted

from . import host
from .language import told
from .loras import CATEGORY, stamp
from .work import working

if TYPE_CHECKING:
    from loralathe import Inspection, LoadingCheck

ALL_PROGRAMS = "all"


class LatheInspect(io.ComfyNode):
    """What a model file is and holds."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheInspect",
            display_name="Inspect",
            category=CATEGORY,
            description="What a file is and holds: family, kinds, ranks, blocks, and how loralathe made it.",
            inputs=[io.Combo.Input("file", options=[*host.names("loras"), *host.model_names()])],
            outputs=[io.String.Output(display_name="report")],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return stamp(_any_file(file))

    @classmethod
    def execute(cls, file: str) -> Any:
        with working():
            text = "\n".join(_lines(loralathe.inspect(_any_file(file))))
            return io.NodeOutput(text, ui=ui.PreviewText(text))


def _any_file(name: str) -> Any:
    return host.file("loras", name) if name in host.names("loras") else host.model_file(name)


def _lines(seen: Inspection) -> Iterator[str]:
    yield f"{seen.path.name}: {told(seen.what)}"
    if seen.note:
        yield told(seen.note)
    yield ", ".join((told(counted(seen.tensors, "tensor")), f"{seen.size / 1e6:,.1f} MB", *seen.dtypes))
    if seen.adapter is not None:
        facts = seen.adapter
        kinds = ", ".join(f"{count} {kind}" for kind, count in facts.kinds.items())
        yield f"{kinds} ({facts.dialect})"
        ranks = sorted({rank for rank in facts.ranks if rank is not None})
        yield told("rank") + " " + (f"{ranks[0]}…{ranks[-1]}" if len(ranks) > 1 else "".join(map(str, ranks)))
        for block in facts.coverage:
            yield f"{block.block:<8} {block.modules}"
    if seen.checkpoint is not None:
        for part in seen.parts:
            yield f"{part.name}: {told(counted(part.tensors, 'tensor'))}, {part.nbytes / 1e6:,.1f} MB"
    if seen.record is not None:
        yield from ("", str(loralathe.recorded_recipe(seen.path)).rstrip())


class LatheCheck(io.ComfyNode):
    """Will a LoRA load there?"""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheCheck",
            display_name="Check LoRA",
            category=CATEGORY,
            description="How much of a LoRA other programs and ComfyUI itself would use, and what mends it.",
            inputs=[
                io.Combo.Input("lora", options=host.names("loras")),
                io.Combo.Input(
                    "program", options=[ALL_PROGRAMS, *loralathe.checked_programs()], default=ALL_PROGRAMS
                ),
            ],
            outputs=[
                io.Boolean.Output(display_name="loads"),
                io.String.Output(display_name="report"),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, lora: str, program: str) -> str:
        return stamp(host.file("loras", lora)) + program

    @classmethod
    def execute(cls, lora: str, program: str) -> Any:
        with working():
            programs = () if program == ALL_PROGRAMS else program
            checks = loralathe.check_lora(host.file("loras", lora), programs)
            text = "\n".join(line for check in checks for line in _check_lines(check))
            return io.NodeOutput(all(check.ok for check in checks), text, ui=ui.PreviewText(text))


def _check_lines(check: LoadingCheck) -> Iterator[str]:
    yield f"{check.label}: {check.used}/{check.modules}"
    if check.refused:
        yield f"  {told(check.refused)}"
    for finding in check.findings:
        yield f"  {len(finding.modules)}: {told(finding.why)}"
    if check.to:
        yield f"  lathe convert {check.path.name} --to {check.to}"
