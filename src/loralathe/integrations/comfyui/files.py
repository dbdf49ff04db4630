"""Nodes that make models and LoRAs: merged into memory, saved exactly, extracted, combined, by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

import loralathe
from loralathe import AdapterUse, InputError

from . import host
from .graph import Graph
from .language import spelled, told
from .loras import CATEGORY, LORAS, stack_input, strength, uses_of
from .work import Work, working

if TYPE_CHECKING:
    import torch

    from loralathe import Prepared, Report

EXAMPLE = Path(__file__).with_name("recipe.toml")
AS_THE_BASE = "as the base"
DTYPES = ["fp16", "bf16", "fp32"]
FILE_HINT = "A name without a path; empty: made from the names of the files."


def dtype_input(first: str) -> Any:
    options = list(dict.fromkeys((first, *DTYPES)))
    return io.Combo.Input("dtype", options=options, default=first, tooltip="How numbers are stored.")


def dtype_of(text: str) -> str | None:
    return None if text == AS_THE_BASE else text


def file_inputs() -> list[Any]:
    return [
        io.String.Input("file", default="", tooltip=FILE_HINT),
        io.Boolean.Input("overwrite", default=False, tooltip="Replace a file that exists."),
    ]


def model_combo(name: str, tooltip: str) -> Any:
    return io.Combo.Input(name, options=host.model_names(), tooltip=tooltip)


def live_inputs() -> list[Any]:
    return [
        io.Model.Input("model", tooltip="With its LoRAs, right from our nodes."),
        io.Clip.Input("clip", optional=True, tooltip="Without it, text encoders stay those of the base."),
    ]


class Made:
    """A base file and the LoRAs that our nodes put on it."""

    def __init__(self, cls: type[Any], model: Any, clip: Any) -> None:
        graph = Graph(cls.hidden.dynprompt.get_node)
        kind, name = graph.model_file(graph.inputs(cls.hidden.unique_id)["model"])
        self.base = host.file(kind, name)
        self.kind = kind if kind == "checkpoints" else "diffusion_models"
        self.uses = host.both_parts(model, clip)
        if not self.uses:
            raise InputError("there is no LoRA on this model", fix="put 'LoRA with block weights' before it")

    def prepare(self, output: Any, dtype: str, work: Work, *, force: bool = False) -> Prepared:
        return loralathe.merge.prepare(
            self.base,
            *self.uses,
            output=output,
            dtype=dtype_of(dtype),
            presets=host.presets(),
            force=force,
            progress=work.progress,
        )


def saved(make: Callable[[Any], Prepared], kind: str, name: str, work: Work) -> tuple[Path, Report]:
    """Run it into a file of ComfyUI's output folder; an empty name is the one that it makes itself."""
    if not name.strip():
        (save,) = make(None).recipe.saves
        name = save.file.name
    file = host.output_file(kind, name)
    return file, make(file).run()


def tensors_of(report: Report) -> dict[str, torch.Tensor]:
    """Of its one output in memory, in a dictionary of its own."""
    (tensors,) = report.tensors.values()
    return dict(tensors)


def text_of(report: Report, work: Work, *files: Path) -> str:
    """What was made, what is worth knowing, for people."""
    lines = [host.below_output(file) for file in files]
    for weights in report.weights:
        lines.append(told(f"{weights.buckets.get('changed', 0)} tensors changed"))
        held = weights.rounding.total.held
        if held is not None:
            lines.append(told(f"{held:.1%} of what was added is in it"))
        lines += [told(remark.text.spelled(spelled)) for remark in weights.remarks]
    for extraction in report.extractions:
        whole = extraction.total()
        if whole.energy:
            lines.append(told(f"{whole.kept / whole.energy:.1%} of the difference is in the LoRA"))
        lines += [told(remark.text.spelled(spelled)) for remark in extraction.remarks]
    lines += [told(warning) for warning in report.warnings]
    return "\n".join([*lines, *work.said])


class LatheMerge(io.ComfyNode):
    """LoRAs merged into the model, in memory."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheMerge",
            display_name="Merge to model",
            category=CATEGORY,
            description="The model as the merged file would be, rounded as that file is, without writing it.",
            inputs=[*live_inputs(), dtype_input(AS_THE_BASE)],
            outputs=[
                io.Model.Output(display_name="MODEL"),
                io.Clip.Output(display_name="CLIP"),
                io.Vae.Output(display_name="VAE"),
                io.String.Output(display_name="report"),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: Any, dtype: str, clip: Any = None) -> Any:
        with working(cls.hidden.unique_id) as work:
            made = Made(cls, model, clip)
            report = made.prepare(loralathe.MEMORY, dtype, work).run()
            text, tensors = text_of(report, work), tensors_of(report)
            del report  # ComfyUI takes each tensor out as it loads it: a model is in memory once, not twice
            held = host.loaded(tensors, made.base, alone=made.kind != "checkpoints")
            for part, before in zip(held, (model, clip), strict=False):
                if part is not None and before is not None:
                    host.record(part, host.applied(before))
            return io.NodeOutput(*held, text)


class LatheSave(io.ComfyNode):
    """The model of the graph as a file."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheSave",
            display_name="Save exactly this",
            category=CATEGORY,
            description="Writes the base with its LoRAs as lathe merge does: from the files, in fp32, "
            "rounded once, with a record of how it was made.",
            inputs=[*live_inputs(), dtype_input(AS_THE_BASE), *file_inputs()],
            outputs=[io.String.Output(display_name="report")],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any, dtype: str, file: str, overwrite: bool, clip: Any = None) -> Any:
        with working(cls.hidden.unique_id) as work:
            made = Made(cls, model, clip)
            path, report = saved(
                lambda output: made.prepare(output, dtype, work, force=overwrite), made.kind, file, work
            )
            return _told(text_of(report, work, path))


class LatheExtract(io.ComfyNode):
    """What one model has over another, as a LoRA."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheExtract",
            display_name="Extract LoRA from two models",
            category=CATEGORY,
            description="tuned − base as a LoRA, the best of its rank.",
            inputs=[
                model_combo("tuned", "The model whose difference is wanted."),
                model_combo("base", "The model that it came from."),
                io.Int.Input("rank", default=64, min=1, max=4096),
                io.Int.Input(
                    "conv_rank", default=0, min=0, max=4096, tooltip="Of convolutions; 0 leaves them out."
                ),
                dtype_input("fp16"),
                *file_inputs(),
            ],
            outputs=[LORAS.Output(display_name="loras"), io.String.Output(display_name="report")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, tuned: str, base: str, rank: int, conv_rank: int, dtype: str, file: str, overwrite: bool
    ) -> Any:
        with working(cls.hidden.unique_id) as work:

            def make(output: Any) -> Prepared:
                return loralathe.extract.prepare(
                    host.model_file(tuned),
                    host.model_file(base),
                    rank=rank,
                    conv_rank=conv_rank or None,
                    dtype=dtype,
                    output=output,
                    force=overwrite,
                    progress=work.progress,
                )

            return _lora(make, file, work)


class LatheCombine(io.ComfyNode):
    """Several LoRAs as one, or one at another rank."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheCombine",
            display_name="Combine or resize LoRAs",
            category=CATEGORY,
            description="One LoRA that does what the whole stack does, strengths and block weights inside.",
            inputs=[
                stack_input(optional=False),
                io.Int.Input("rank", default=0, min=0, max=4096, tooltip="0 keeps all: nothing is lost."),
                io.Int.Input(
                    "conv_rank", default=0, min=0, max=4096, tooltip="Of convolutions; 0: as the rank."
                ),
                dtype_input("fp16"),
                *file_inputs(),
            ],
            outputs=[LORAS.Output(display_name="loras"), io.String.Output(display_name="report")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, loras: Any, rank: int, conv_rank: int, dtype: str, file: str, overwrite: bool) -> Any:
        with working(cls.hidden.unique_id) as work:
            uses = uses_of(loras)

            def make(output: Any) -> Prepared:
                return loralathe.combine.prepare(
                    *uses,
                    rank=rank or None,
                    conv_rank=conv_rank or None,
                    dtype=dtype,
                    output=output,
                    presets=host.presets(),
                    force=overwrite,
                    progress=work.progress,
                )

            return _lora(make, file, work)


class LatheAddDifference(io.ComfyNode):
    """a + multiplier × (b − c)."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheAddDifference",
            display_name="Add difference",
            category=CATEGORY,
            description="a + multiplier × (b − c), as a model in memory; with a file name it is saved, too.",
            inputs=[
                model_combo("a", "What the difference is added to."),
                model_combo("b", "What has it."),
                model_combo("c", "What lacks it."),
                strength("multiplier", "Minus moves towards c."),
                dtype_input(AS_THE_BASE),
                io.String.Input("file", default="", tooltip="Empty: nothing is written."),
                io.Boolean.Input("overwrite", default=False, tooltip="Replace a file that exists."),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL"),
                io.Clip.Output(display_name="CLIP"),
                io.Vae.Output(display_name="VAE"),
                io.String.Output(display_name="report"),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, a: str, b: str, c: str, multiplier: float, dtype: str, file: str, overwrite: bool
    ) -> Any:
        with working(cls.hidden.unique_id) as work:
            kind = "checkpoints" if a in host.names("checkpoints") else "diffusion_models"
            output = host.output_file(kind, file) if file.strip() else loralathe.MEMORY
            report = loralathe.add_difference(
                host.model_file(a),
                host.model_file(b),
                host.model_file(c),
                multiplier,
                output=output,
                dtype=dtype_of(dtype),
                force=overwrite,
                progress=work.progress,
            )
            alone, files = kind != "checkpoints", [output] if file.strip() else []
            text, tensors = text_of(report, work, *files), {} if files else tensors_of(report)
            del report
            if files:
                held = host.loaded_file(output, alone=alone)
            else:
                held = host.loaded(tensors, host.model_file(a), alone=alone)
            return io.NodeOutput(*held, text, ui=ui.PreviewText(text))


class LatheRecipe(io.ComfyNode):
    """A recipe's files."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheRecipe",
            display_name="Run recipe",
            category=CATEGORY,
            description="Makes all files of a recipe in one pass. Its inputs are names in ComfyUI's folders; "
            "what it saves goes into the output folder.",
            inputs=[
                io.String.Input("recipe", multiline=True, default=EXAMPLE.read_text("utf-8")),
                io.String.Input("variables", default="", tooltip="Other numbers: M=0.5, rank=32"),
                io.Boolean.Input("overwrite", default=False, tooltip="Replace a file that exists."),
            ],
            outputs=[io.String.Output(display_name="report")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, recipe: str, variables: str, overwrite: bool) -> Any:
        with working(cls.hidden.unique_id) as work, TemporaryDirectory() as folder:
            path = Path(folder) / "recipe.toml"
            path.write_text(recipe, "utf-8")
            loras, models = host.folders("loras"), host.folders("checkpoints", "diffusion_models")
            read = loralathe.run.prepare(
                path, variables=_numbers(variables), lora_dir=loras, checkpoint_dir=models
            ).recipe
            _require_inside(read, Path(folder), (*loras, *models))
            files = {
                save.step: host.output_file(_kind(read, save.step), save.file.name) for save in read.saves
            }
            report = loralathe.run(
                read, output=files, presets=host.presets(), force=overwrite, progress=work.progress
            )
            return _told(text_of(report, work, *files.values()))


def _kind(recipe: Any, step: str) -> str:
    """The folder of what a step makes: a LoRA's formula is one of the functions that give LoRAs."""
    text = recipe.texts[step].lstrip()
    return "loras" if text.startswith(("extract(", "combine(", "resize(")) else "checkpoints"


def _require_inside(recipe: Any, folder: Path, places: Sequence[Path]) -> None:
    """InputError for inputs outside of ComfyUI's folders: a workflow may come from anybody."""
    given = [*recipe.inputs.values(), *(save.vae for save in recipe.saves if save.vae)]
    for path in given:
        if not any(path.resolve().is_relative_to(place.resolve()) for place in places):
            raise InputError(
                "a recipe in a workflow takes files of ComfyUI's folders alone",
                where=path.name if path.is_relative_to(folder) else str(path),
                fix="write the file's name as ComfyUI lists it, without a path",
            )


def _numbers(text: str) -> dict[str, float]:
    """`M=0.5, rank=32`."""
    found = {}
    for item in filter(str.strip, text.replace("\n", ",").split(",")):
        name, equals, value = item.partition("=")
        if not equals:
            raise InputError("a variable is written NAME=NUMBER", where=f"'{item.strip()}'", fix="M=0.5")
        found[name.strip()] = loralathe.parse_number(value, name.strip())
    return found


def _lora(make: Callable[[Any], Prepared], name: str, work: Work) -> Any:
    """Write a LoRA, and give it on as a stack of one."""
    path, report = saved(make, "loras", name, work)
    text = text_of(report, work, path)
    return io.NodeOutput((AdapterUse(str(path)),), text, ui=ui.PreviewText(text))


def _told(text: str) -> Any:
    return io.NodeOutput(text, ui=ui.PreviewText(text))
