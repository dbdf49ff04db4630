"""The U-Net that SD 1, SD 2 and SDXL share: original and diffusers names from its structure.

Each level holds some resnets, each followed by an attention where the level has attention; between
levels sits a sampler. The original layout counts input and output blocks through all levels,
diffusers counts inside each level; the layers inside a place keep their names or follow `RESNET`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from loralathe.families.layers import Layer, Scope, layer
from loralathe.families.recognition import DENOISER_PREFIX

Kind = Literal["resnet", "attention", "sampler"]

RESNET: tuple[tuple[str, str, Scope], ...] = (
    ("in_layers.0", "norm1", "vector"),
    ("in_layers.2", "conv1", "conv"),
    ("emb_layers.1", "time_emb_proj", "conv"),
    ("out_layers.0", "norm2", "vector"),
    ("out_layers.3", "conv2", "conv"),
    ("skip_connection", "conv_shortcut", "conv"),
)
ATTENTION: tuple[tuple[str, Scope], ...] = (
    ("norm", "vector"),
    ("proj_in", "linear"),
    ("proj_out", "linear"),
    *((f"transformer_blocks.#.norm{i}", "vector") for i in (1, 2, 3)),
    *(
        (f"transformer_blocks.#.attn{i}.{projection}", "linear")
        for i in (1, 2)
        for projection in ("to_q", "to_k", "to_v", "to_out.0")
    ),
    ("transformer_blocks.#.ff.net.0.proj", "linear"),
    ("transformer_blocks.#.ff.net.2", "linear"),
)
WIDE = ("in_layers.2", "out_layers.3", "input_blocks.0.0", "out.2", ".op", ".conv")
"""Ends of the paths of 3×3 convolutions."""
PROJECTIONS = ("proj_in", "proj_out")
WITHOUT_BIAS = (".to_q", ".to_k", ".to_v")
ENDS: tuple[tuple[str, str, Scope], ...] = (
    ("time_embed.0", "time_embedding.linear_1", "outside"),
    ("time_embed.2", "time_embedding.linear_2", "outside"),
    ("input_blocks.0.0", "conv_in", "outside"),
    ("out.0", "conv_norm_out", "vector"),
    ("out.2", "conv_out", "outside"),
)
LABELS: tuple[tuple[str, str, Scope], ...] = (
    ("label_emb.0.0", "add_embedding.linear_1", "outside"),
    ("label_emb.0.2", "add_embedding.linear_2", "outside"),
)
ELEMENT_PRESETS: Mapping[str, str] = {
    "ATTNDEEPON": "IN05-OUT05:attn:1",
    "ATTNDEEPOFF": "IN05-OUT05:attn:0",
    "PROJDEEPOFF": "IN05-OUT05:proj:0",
}
"""LoRA Block Weight's."""
INPUTS: Mapping[int, str] = {4: "base", 9: "inpainting", 8: "instruct-pix2pix"}


@dataclass(frozen=True)
class UNet:
    """Structure of a U-Net: which levels attend (finest first), what it is conditioned on.

    linear_projections: proj_in and proj_out are matrices, not convolutions of 1×1
    """

    attends: tuple[bool, ...]
    labels: bool
    linear_projections: bool
    resnets: int = 2

    kind = "U-Net"
    entry = "input_blocks.0.0"
    inputs = INPUTS

    def places(self) -> Iterator[tuple[Kind, str, str]]:
        """(kind, original path, diffusers path) of every resnet, attention and sampler, in model order."""
        last, stride = len(self.attends) - 1, self.resnets + 1
        for level, attends in enumerate(self.attends):
            for j in range(self.resnets):
                block = f"input_blocks.{level * stride + j + 1}"
                yield "resnet", f"{block}.0", f"down_blocks.{level}.resnets.{j}"
                if attends:
                    yield "attention", f"{block}.1", f"down_blocks.{level}.attentions.{j}"
            if level < last:
                sampler = f"input_blocks.{(level + 1) * stride}.0.op"
                yield "sampler", sampler, f"down_blocks.{level}.downsamplers.0.conv"
        yield "resnet", "middle_block.0", "mid_block.resnets.0"
        yield "attention", "middle_block.1", "mid_block.attentions.0"
        yield "resnet", "middle_block.2", "mid_block.resnets.1"
        for level, attends in enumerate(reversed(self.attends)):
            for j in range(stride):
                block = f"output_blocks.{level * stride + j}"
                yield "resnet", f"{block}.0", f"up_blocks.{level}.resnets.{j}"
                if attends:
                    yield "attention", f"{block}.1", f"up_blocks.{level}.attentions.{j}"
            if level < last:  # the sampler comes after the attention of the level's last block, if any
                sampler = f"output_blocks.{level * stride + self.resnets}.{2 if attends else 1}.conv"
                yield "sampler", sampler, f"up_blocks.{level}.upsamplers.0.conv"

    def layers(self) -> Iterator[Layer]:
        for original, diffusers, scope in ENDS + (LABELS if self.labels else ()):
            yield layer(original, diffusers, scope, kernel=_kernel(original))
        for kind, original, diffusers in self.places():
            if kind == "resnet":
                for leaf, renamed, scope in RESNET:
                    path = f"{original}.{leaf}"
                    yield layer(path, f"{diffusers}.{renamed}", scope, kernel=_kernel(path))
            elif kind == "attention":
                for leaf, scope in ATTENTION:
                    kernel = 1 if leaf in PROJECTIONS and not self.linear_projections else 0
                    yield layer(f"{original}.{leaf}", f"{diffusers}.{leaf}", scope, kernel=kernel)
            else:
                yield layer(original, diffusers, "conv", kernel=_kernel(original))

    def missing(self, paths: Collection[str]) -> list[str]:
        required = []
        for entry in self.layers():
            if not entry.name.endswith(".skip_connection"):  # widths decide whether it is needed
                required.append(entry.weight.replace("#", "0"))
                if entry.bias is not None and not entry.name.endswith(WITHOUT_BIAS):
                    required.append(entry.bias.replace("#", "0"))
        return [path for path in required if path not in paths]

    def variant(self, channels: int, paths: Collection[str]) -> str:
        return self.inputs[channels]

    def blocks(self) -> tuple[str, ...]:
        return self._blocks

    @cached_property
    def _blocks(self) -> tuple[str, ...]:
        count = len(self.attends) * (self.resnets + 1)
        numbered = [f"{side}{i:02d}" for side in ("IN", "OUT") for i in range(count)]
        return (*numbered[:count], "MID", *numbered[count:])

    def short_blocks(self) -> tuple[str, ...]:
        attentions = (original for kind, original, _ in self.places() if kind == "attention")
        return tuple(self.block_of_path(original) or "" for original in attentions)

    def block_of_path(self, path: str) -> str | None:
        """None for time_embed, label_emb and out."""
        stage, _, rest = path.partition(".")
        if stage == "middle_block":
            return "MID"
        number = rest.partition(".")[0]
        side = {"input_blocks": "IN", "output_blocks": "OUT"}.get(stage)
        block = f"{side}{int(number):02d}" if side and number.isdigit() else None
        return block if block in self._blocks else None

    def holds(self, paths: Iterable[str]) -> bool:
        return True

    def fills(self, paths: Iterable[str]) -> bool:
        return False

    def borrowed_blocks(self) -> Mapping[str, tuple[str, ...]]:
        """As SuperMerger has it."""
        return {self._blocks[0]: ("time_embed", "label_emb"), self._blocks[-1]: ("out.0", "out.2")}


def _kernel(path: str) -> int:
    if path.endswith(WIDE):
        return 3
    return 1 if path.endswith(".skip_connection") else 0


def in_unet(ranks: Mapping[str, int]) -> dict[str, int]:
    """Conditions of a signature inside the U-Net: weight path → axes, with the prefix put before each."""
    return {f"{DENOISER_PREFIX}{path}.weight": rank for path, rank in ranks.items()}
