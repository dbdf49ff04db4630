"""Studies with the graph's own sampler: the Effective Block Analyzer and the strength grid.

A study copies the part of the graph between the LoRAs and the picture, once for each picture that it needs,
and ComfyUI runs the copies like everything else. What they draw is gathered and measured at the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

import loralathe
from loralathe import AdapterUse, InputError

from . import host
from .drawing import drawing_of, listed_lora, planned
from .graph import Link
from .loras import CATEGORY
from .pictures import image_of, pixels_of, read_image
from .work import working

if TYPE_CHECKING:
    from loralathe import GivenStudy

PICTURES = io.Custom("LATHE_PICTURES")


AXIS_HINT = "An axis: strength = 0..1 [5], or hina = 0, 0.5"


def picture_input() -> Any:
    """The picture is not drawn as it stands: the study needs to know only where it comes from."""
    return io.Image.Input(
        "image",
        lazy=True,
        extra_dict={"rawLink": True},
        tooltip="The picture, right from VAE Decode. What lies between a LoRA and it is run again.",
    )


class LatheBlockAnalyzer(io.ComfyNode):
    """n + 1 pictures: what each block of a LoRA does."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheBlockAnalyzer",
            display_name="Effective Block Analyzer",
            category=CATEGORY,
            description="Draws the picture once for each block of a LoRA, with that block changed, and "
            "measures what changes. The sheet and a page are saved in output/loralathe.",
            inputs=[
                picture_input(),
                io.String.Input(
                    "lora", default="", tooltip="Which LoRA, by the name of its file; empty for the only one."
                ),
                io.String.Input(
                    "weights", default="0.5,1", tooltip="The weight of the examined block, and of all others."
                ),
                io.String.Input(
                    "blocks",
                    default="",
                    tooltip="Which blocks, as IN04, IN05-IN08, 17ALL; empty: those that it has.",
                ),
                io.Boolean.Input(
                    "encoders", default=False, tooltip="Each text encoder as a block of its own."
                ),
                io.Int.Input("seeds", default=1, min=1, max=64, tooltip="How many; each draws all pictures."),
                io.Int.Input(
                    "threshold",
                    default=20,
                    min=0,
                    max=255,
                    tooltip="A colour counts as changed when it differs by more.",
                ),
            ],
            outputs=blocks_outputs(),
            hidden=[io.Hidden.dynprompt],
            is_output_node=True,
            enable_expand=True,
        )

    @classmethod
    def check_lazy_status(cls, **_: object) -> list[str]:
        return []

    @classmethod
    def execute(
        cls,
        image: Link,
        lora: str,
        weights: str,
        blocks: str,
        encoders: bool,
        seeds: int,
        threshold: int,
    ) -> Any:
        with working():
            drawing = drawing_of(cls, image)
            choices: dict[str, Any] = {
                "adapter": lora.strip(),
                "range": weights,
                "blocks": blocks,
                "te": encoders,
                "seeds": seeds,
                "threshold": threshold,
                "seed": int(drawing.number("seed", 0)),
                "checkpoint": drawing.checkpoint(),
            }
            uses = drawing.uses()
            folder = host.study_folder("blocks")
            study = loralathe.given_blocks(*uses, output=folder, presets=host.presets(), **choices)
            base = replace(study.requests[0], adapters=tuple(uses), seed=choices["seed"])
            text = _packed(uses, folder, choices)
            return planned(drawing, study, base, LatheBlockReport, text)


class LatheStrengthGrid(io.ComfyNode):
    """Pictures side by side."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheStrengthGrid",
            display_name="Strength grid",
            category=CATEGORY,
            description="Draws the picture at every strength, list, seed, … of its axes, and puts all on "
            "one sheet with a legend. The sheet and a page are saved in output/loralathe.",
            inputs=[
                picture_input(),
                io.String.Input(
                    "x",
                    default="strength = 0..1 [5]",
                    tooltip="An axis: strength = 0..1 [5], or hina = 0, 0.5",
                ),
                io.String.Input("y", default="", tooltip="An axis: seed = 1-4, or hina blocks = ALL, OUTALL"),
                io.String.Input("z", default="", tooltip="A third axis: a grid for each value"),
                io.Boolean.Input("legend", default=True),
                io.Int.Input(
                    "most_pictures", default=100, min=1, max=10_000, tooltip="Larger grids do not begin."
                ),
            ],
            outputs=grid_outputs(),
            hidden=[io.Hidden.dynprompt],
            is_output_node=True,
            enable_expand=True,
        )

    @classmethod
    def check_lazy_status(cls, **_: object) -> list[str]:
        return []

    @classmethod
    def execute(cls, image: Link, x: str, y: str, z: str, legend: bool, most_pictures: int) -> Any:
        with working():
            drawing = drawing_of(cls, image)
            choices: dict[str, Any] = {
                "x": x,
                "y": y,
                "z": z,
                "legend": legend,
                "max_cells": most_pictures,
                "seed": int(drawing.number("seed", 0)),
                "steps": int(drawing.number("steps", 20)),
                "cfg": float(drawing.number("cfg", 7.0)),
                "checkpoint": drawing.checkpoint(),
            }
            uses = drawing.uses()
            folder = host.study_folder("grid")
            study = _grid(uses, folder, choices)
            base = replace(
                study.requests[0],
                adapters=tuple(uses),
                **{name: choices[name] for name in ("seed", "steps", "cfg")},
            )
            return planned(drawing, study, base, LatheGridReport, _packed(uses, folder, choices))


def _grid(uses: Sequence[AdapterUse], folder: Path, choices: dict[str, Any], **more: Any) -> GivenStudy[Any]:
    return loralathe.given_grid(
        *uses,
        output=folder,
        presets=host.presets(),
        lora_dir=host.folders("loras"),
        **choices,
        **more,
    )


def _packed(uses: Sequence[AdapterUse], folder: Path, choices: dict[str, Any]) -> str:
    """A study as text, which the node at its end takes."""
    parts = [asdict(use) | {"file": listed_lora(use.path)} for use in uses]
    return json.dumps({"uses": parts, "folder": folder.name, "choices": choices})


def _unpacked(text: str) -> tuple[list[AdapterUse], Path, dict[str, Any]]:
    found = json.loads(text)
    return (
        [AdapterUse(**one | {"file": str(host.file("loras", one["file"]))}) for one in found["uses"]],
        host.study_place(found["folder"]),
        found["choices"],
    )


class LathePicture(io.ComfyNode):
    """One more picture of a study; studies put these in, people do not."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LathePicture",
            display_name="Picture of a study",
            category=f"{CATEGORY}/inside",
            inputs=[io.Image.Input("image"), PICTURES.Input("before", optional=True)],
            outputs=[PICTURES.Output(display_name="pictures")],
        )

    @classmethod
    def execute(cls, image: Any, before: Any = None) -> Any:
        with working():
            if len(image) != 1:
                raise InputError(
                    "a study looks at one picture at a time, and the graph draws several at once",
                    where=f"a batch of {len(image)}",
                    fix="set the batch size to 1; an axis or seeds draws more",
                )
            return io.NodeOutput((*(before or ()), pixels_of(image[0])))


def blocks_outputs() -> list[Any]:
    return [
        io.Image.Output(display_name="sheet"),
        io.String.Output(display_name="blocks", tooltip="Weights to start from, for the field blocks."),
        io.String.Output(display_name="report"),
    ]


def grid_outputs() -> list[Any]:
    return [io.Image.Output(display_name="sheet"), io.String.Output(display_name="report")]


class LatheBlockReport(io.ComfyNode):
    """The end of an analysis; the analyzer puts it in, people do not."""

    @classmethod
    def define_schema(cls) -> Any:
        return _report_schema("LatheBlockReport", "Report of an analysis", blocks_outputs())

    @classmethod
    def execute(cls, pictures: Any, study: str) -> Any:
        with working() as work:
            uses, folder, choices = _unpacked(study)
            given = loralathe.given_blocks(
                *uses,
                output=folder,
                presets=host.presets(),
                size=_size(pictures),
                progress=work.progress,
                **choices,
            )
            report = given.finish(pictures)
            weights = report.weights_list or report.weights_by_name
            lines = [
                f"{effect.group.name:<8} {effect.changed.mean:6.2f} %  {effect.weight:g}"
                for effect in report.effects
            ]
            text = "\n".join([*lines, "", weights, host.below_output(folder)])
            sheets = [file for file in report.files if file.suffix == ".png"]
            return io.NodeOutput(image_of(map(read_image, sheets)), weights, text, ui=_shown(sheets))


class LatheGridReport(io.ComfyNode):
    """The end of a grid; the grid puts it in, people do not."""

    @classmethod
    def define_schema(cls) -> Any:
        return _report_schema("LatheGridReport", "Sheet of a grid", grid_outputs())

    @classmethod
    def execute(cls, pictures: Any, study: str) -> Any:
        with working() as work:
            uses, folder, choices = _unpacked(study)
            result = _grid(uses, folder, choices, size=_size(pictures), progress=work.progress).finish(
                pictures
            )
            sheets = [file for file in result.files if file.suffix == ".png"]
            text = "\n".join([*work.said, host.below_output(folder)])
            return io.NodeOutput(image_of(map(read_image, sheets)), text, ui=_shown(sheets))


def _report_schema(node_id: str, name: str, outputs: list[Any]) -> Any:
    return io.Schema(
        node_id=node_id,
        display_name=name,
        category=f"{CATEGORY}/inside",
        inputs=[PICTURES.Input("pictures"), io.String.Input("study")],
        outputs=outputs,
        is_output_node=True,
    )


def _size(pictures: Any) -> tuple[int, int]:
    height, width = pictures[0].shape[:2]
    return width, height


def _shown(sheets: Sequence[Path]) -> Any:
    """The sheets below the node."""
    places = [Path(host.below_output(sheet)) for sheet in sheets]
    return ui.SavedImages(
        [ui.SavedResult(one.name, one.parent.as_posix(), io.FolderType.output) for one in places]
    )
