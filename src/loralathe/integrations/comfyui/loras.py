"""Nodes with LoRAs: one with its block weights, all of a stack on a model, block lists by sliders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_api.latest import io

import loralathe
from loralathe import AdapterUse, InputError

from . import host
from .work import working

CATEGORY = "loralathe"
LORAS = io.Custom("LATHE_LORAS")
STACK = io.Custom("LORA_STACK")
AS_WRITTEN = "(as written in blocks)"
MOST = 100.0
BLOCKS_HINT = (
    "A list of weights (1,0,0,0.3,…), the name of a list (OUTALL), or blocks by name (IN04=0.3,OUT00=1). "
    "Empty: 1 everywhere."
)
MODEL_HINT = "Without it, the LoRA's part of the U-Net or transformer stays away."
CLIP_HINT = "Without it, the LoRA's part of the text encoders stays away."
ELEMENTS_HINT = "Rules for layers, blocks:layers:weight, such as IN05-OUT05:attn2:0.5"


def strength(name: str, tooltip: str) -> Any:
    return io.Float.Input(name, default=1.0, min=-MOST, max=MOST, step=0.01, tooltip=tooltip)


def stack_input(*, optional: bool = True) -> Any:
    """LoRAs of our nodes, or of another pack's stack."""
    held = LORAS.Input(
        "loras", optional=optional, tooltip="LoRAs of other nodes. Those of other packs' stacks, too."
    )
    return io.MultiType.Input(held, [STACK])


def uses_of(given: Any) -> tuple[AdapterUse, ...]:
    """A stack: ours, or a list of (name, strength of the model, strength of the text encoders)."""
    found = []
    for one in given or ():
        if isinstance(one, AdapterUse):
            found.append(one)
        else:
            name, unet, te = one
            found.append(AdapterUse(str(host.file("loras", name)), te=te, unet=unet))
    return tuple(found)


def stamp(path: Path) -> str:
    """Changes whenever the file does."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


class LatheLora(io.ComfyNode):
    """A LoRA with strengths and block weights, as `hina:0.7:HinaBlock` means it everywhere in loralathe."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheLora",
            display_name="LoRA with block weights",
            category=CATEGORY,
            description="Adds a LoRA to a model, each block at its own weight: what lathe merge would add. "
            "Without a model it only goes on to loras.",
            inputs=[
                io.Combo.Input("lora", options=host.names("loras")),
                strength("strength_model", "Of the U-Net or transformer; negative takes away."),
                strength("strength_clip", "Of the text encoders."),
                io.Combo.Input(
                    "preset",
                    options=[AS_WRITTEN, *loralathe.block_preset_names(host.presets())],
                    default=AS_WRITTEN,
                    tooltip="A block list by name. Your own: user/loralathe/lbwpresets.txt",
                ),
                io.String.Input("blocks", default="", tooltip=BLOCKS_HINT),
                io.String.Input("elements", default="", tooltip=ELEMENTS_HINT),
                io.Model.Input("model", optional=True, tooltip=MODEL_HINT),
                io.Clip.Input("clip", optional=True, tooltip=CLIP_HINT),
                stack_input(),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL"),
                io.Clip.Output(display_name="CLIP"),
                LORAS.Output(display_name="loras", tooltip="The LoRAs before this one, and this one."),
                io.String.Output(display_name="tag", tooltip="The same as a prompt tag of A1111 and lathe."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, lora: str, **_: object) -> str:
        lists = host.presets()
        return " ".join(map(stamp, (host.file("loras", lora), *([lists] if isinstance(lists, Path) else []))))

    @classmethod
    def execute(
        cls,
        lora: str,
        strength_model: float,
        strength_clip: float,
        preset: str,
        blocks: str,
        elements: str,
        model: Any = None,
        clip: Any = None,
        loras: Any = None,
    ) -> Any:
        with working():
            use = use_of(lora, strength_model, strength_clip, preset, blocks, elements)
            model, clip = host.apply_loras([use], model, clip)
            tag = loralathe.tag_text(replace(use, file=use.path.stem))
            return io.NodeOutput(model, clip, (*uses_of(loras), use), tag)


def use_of(lora: str, unet: float, te: float, preset: str, blocks: str, elements: str) -> AdapterUse:
    """What the fields of the node mean. InputError where a list is both chosen and written."""
    if preset != AS_WRITTEN and blocks.strip():
        raise InputError(
            "a block list is chosen, and another one is written",
            where=f"preset {preset}, blocks {blocks}",
            fix=f"empty the field blocks, or choose {AS_WRITTEN}",
        )
    weights = blocks.strip() if preset == AS_WRITTEN else preset
    return AdapterUse(
        str(host.file("loras", lora)),
        te=te,
        unet=unet,
        blocks=weights or None,
        elements=elements.strip() or None,
    )


class LatheApply(io.ComfyNode):
    """A stack on a model."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatheApply",
            display_name="Add LoRAs to model",
            category=CATEGORY,
            description="Adds all LoRAs of a stack, block weights included.",
            inputs=[
                stack_input(optional=False),
                io.Model.Input("model", optional=True, tooltip=MODEL_HINT),
                io.Clip.Input("clip", optional=True, tooltip=CLIP_HINT),
            ],
            outputs=[io.Model.Output(display_name="MODEL"), io.Clip.Output(display_name="CLIP")],
        )

    @classmethod
    def execute(cls, loras: Any, model: Any = None, clip: Any = None) -> Any:
        with working():
            return io.NodeOutput(*host.apply_loras(uses_of(loras), model, clip))


def sliders(family_id: str, node_id: str) -> type[Any]:
    """A node with a slider for each block of a family's short list."""
    family = loralathe.family_by_id(family_id)
    blocks = family.short_blocks

    class Sliders(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> Any:
            return io.Schema(
                node_id=node_id,
                display_name=f"Block weights ({family.label})",
                category=f"{CATEGORY}/blocks",
                description="A block list by sliders; connect it to blocks of a LoRA.",
                inputs=[
                    io.Float.Input(
                        block, default=1.0, min=-2.0, max=2.0, step=0.05, display_mode=io.NumberDisplay.slider
                    )
                    for block in blocks
                ],
                outputs=[io.String.Output(display_name="blocks")],
            )

        @classmethod
        def execute(cls, **weights: float) -> Any:
            return io.NodeOutput(",".join(f"{round(weights[block], 6):g}" for block in blocks))

    Sliders.__name__ = node_id
    return Sliders
