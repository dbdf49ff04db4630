"""A request as a graph of ComfyUI's own nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from types import MappingProxyType

from loralathe.errors import InputError
from loralathe.families import Family
from loralathe.families.comfyui import ComfyParts
from loralathe.rendering.elsewhere.names import (
    comfy_embeddings,
    comfy_sampler,
    comfy_schedule,
    comfy_upscaler,
    of_server,
)
from loralathe.rendering.hires import Hires
from loralathe.rendering.prepare import Prepared
from loralathe.rendering.prompts import PromptPlan, parse_emphasis
from loralathe.rendering.suitable import check_multiples

Graph = dict[str, dict[str, object]]
Link = list[object]
"""[the node's number as text, which of its outputs]"""

CHOICES = {
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
    "VAELoader": ("vae_name",),
    "LoraLoader": ("lora_name",),
    "CLIPLoader": ("clip_name", "type"),
    "DualCLIPLoader": ("clip_name1", "type"),
    "UnetLoaderGGUF": ("unet_name",),
    "CLIPLoaderGGUF": ("clip_name",),
    "KSampler": ("sampler_name", "scheduler"),
}
"""Nodes, and their inputs whose choices the server lists; those of ComfyUI-GGUF where it is there."""
GGUF = ".gguf"
CHANGES = "a prompt that changes with the step: [a:b:N], [a|b]"
NODE_PIXELS = 8
"""Of a latent, by which LatentUpscale divides whatever the family."""
NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Choices:
    """What a server offers: (node, input) → names. A node that it lacks is not there.

    embeddings: their names, without the endings of the files
    """

    by_input: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    embeddings: Sequence[str] = ()

    def of(self, node: str, name: str) -> Sequence[str]:
        return self.by_input.get((node, name), ())


@dataclass(frozen=True)
class LoraNode:
    """A LoRA by the server's name."""

    name: str
    te: float
    unet: float


@dataclass(frozen=True)
class Wanted:
    """What a graph is made of: names as the server has them.

    checkpoint: of `CheckpointLoaderSimple`, or of a transformer alone, which needs `encoders` and `vae`
    guidance:   the distilled one, None for a model that takes none
    zeros:      an empty negative prompt is read as zeros
    embeddings: how the prompts name them → how the server does
    """

    one: Prepared
    parts: ComfyParts
    checkpoint: str
    alone: bool
    encoders: tuple[str, ...]
    vae: str | None
    loras: tuple[LoraNode, ...]
    sampler: str
    scheduler: str
    guidance: float | None
    zeros: bool
    embeddings: Mapping[str, str]


class GraphBuilder:
    """Adds nodes one by one; their numbers count up."""

    def __init__(self) -> None:
        self.graph: Graph = {}

    def add(self, kind: str, **inputs: object) -> str:
        number = str(len(self.graph) + 1)
        self.graph[number] = {"class_type": kind, "inputs": inputs}
        return number


def graph_of(wanted: Wanted) -> Graph:
    """Load, apply LoRAs, read the prompts, sample, decode, and leave a preview: nothing stays on its disk."""
    build, request = GraphBuilder(), wanted.one.request
    model, clip, vae = _loaders(build, wanted)
    for lora in wanted.loras:
        node = build.add(
            "LoraLoader",
            model=model,
            clip=clip,
            lora_name=lora.name,
            strength_model=lora.unet,
            strength_clip=lora.te,
        )
        model, clip = [node, 0], [node, 1]
    if request.clip_skip > 1:
        clip = [build.add("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-request.clip_skip), 0]
    texts = _texts(build, wanted, clip)
    empty = build.add(wanted.parts.latent, width=request.width, height=request.height, batch_size=1)
    latents = _sampled(build, wanted, model, texts, [empty, 0], request.steps)
    if (hires := request.hires) is not None:
        latents = _enlarged(build, wanted, hires, latents, vae)
        if hires.denoising:
            latents = _sampled(build, wanted, model, texts, latents, request.passes[1].steps, hires.denoising)
    picture = build.add("VAEDecode", samples=latents, vae=vae)
    build.add("PreviewImage", images=[picture, 0])
    return build.graph


def _texts(build: GraphBuilder, wanted: Wanted, clip: Link) -> tuple[Link, Link]:
    """(positive, negative); both hold for all steps, of a second pass, too."""
    prompts, plain, names = wanted.one.passes[0], wanted.parts.plain, wanted.embeddings
    positive = build.add("CLIPTextEncode", clip=clip, text=comfy_text(prompts.plan, names, plain=plain))
    if wanted.zeros and not wanted.one.request.negative:
        negative = build.add("ConditioningZeroOut", conditioning=[positive, 0])
    else:
        negative = build.add(
            "CLIPTextEncode", clip=clip, text=comfy_text(prompts.negative, names, plain=plain)
        )
    if wanted.guidance is not None:
        positive = build.add("FluxGuidance", conditioning=[positive, 0], guidance=wanted.guidance)
    return [positive, 0], [negative, 0]


def _sampled(
    build: GraphBuilder,
    wanted: Wanted,
    model: Link,
    texts: tuple[Link, Link],
    latents: Link,
    steps: int,
    denoise: float = 1.0,
) -> Link:
    """A pass. ComfyUI counts the steps of a part of a schedule as A1111's hires fix does: all are done."""
    request, (positive, negative) = wanted.one.request, texts
    node = build.add(
        "KSampler",
        model=model,
        seed=request.seed,
        steps=steps,
        cfg=request.cfg,
        sampler_name=wanted.sampler,
        scheduler=wanted.scheduler,
        positive=positive,
        negative=negative,
        latent_image=latents,
        denoise=denoise,
    )
    return [node, 0]


def _enlarged(build: GraphBuilder, wanted: Wanted, hires: Hires, latents: Link, vae: Link) -> Link:
    """Latents of the picture's whole size, enlarged as they are or by way of the picture."""
    method, as_latents = comfy_upscaler(hires.upscaler)
    width, height = wanted.one.request.size
    if as_latents:
        each = wanted.parts.pixels
        sides = {"width": width // each * NODE_PIXELS, "height": height // each * NODE_PIXELS}
        return [
            build.add("LatentUpscale", samples=latents, upscale_method=method, crop="disabled", **sides),
            0,
        ]
    small = build.add("VAEDecode", samples=latents, vae=vae)
    large = build.add(
        "ImageScale", image=[small, 0], upscale_method=method, width=width, height=height, crop="disabled"
    )
    return [build.add("VAEEncode", pixels=[large, 0], vae=vae), 0]


def _loaders(build: GraphBuilder, wanted: Wanted) -> tuple[Link, Link, Link]:
    """(model, clip, vae)"""
    model: Link
    clip: Link
    vae: Link
    if wanted.alone:
        if wanted.checkpoint.endswith(GGUF):
            node = build.add("UnetLoaderGGUF", unet_name=wanted.checkpoint)
        else:
            node = build.add("UNETLoader", unet_name=wanted.checkpoint, weight_dtype="default")
        model = [node, 0]
    else:
        node = build.add("CheckpointLoaderSimple", ckpt_name=wanted.checkpoint)
        model, clip, vae = [node, 0], [node, 1], [node, 2]
    if wanted.encoders:
        kind, inputs = encoder_loader(len(wanted.encoders))
        names = dict(zip(inputs, wanted.encoders, strict=True))
        typed = {} if kind == "TripleCLIPLoader" else {"type": wanted.parts.kind}
        if any(name.endswith(GGUF) for name in wanted.encoders):
            kind = f"{kind}GGUF"
        clip = [build.add(kind, **names, **typed), 0]
    if wanted.vae is not None:
        vae = [build.add("VAELoader", vae_name=wanted.vae), 0]
    return model, clip, vae


def encoder_loader(count: int) -> tuple[str, tuple[str, ...]]:
    """The node that loads so many text encoders, and its inputs for their files."""
    if count == 1:
        return "CLIPLoader", ("clip_name",)
    kind = "DualCLIPLoader" if count == 2 else "TripleCLIPLoader"
    return kind, tuple(f"clip_name{number}" for number in range(1, count + 1))


def comfy_text(plan: PromptPlan, embeddings: Mapping[str, str] = NONE, *, plain: bool) -> str:
    """The prompt as ComfyUI reads it: `(text:1.2)` for a weight, brackets that are text behind `\\`.

    embeddings: how the prompt names them → how the server does;  plain: without emphasis.
    Raises InputError for what its core cannot say.
    """
    texts = plan.distinct_texts()
    if len(plan.parts) > 1:
        raise _unsaid("AND between prompts")
    if len(texts) > 1:
        raise _unsaid(CHANGES)
    (text,) = texts
    if plain:
        return _escaped(text)
    pieces = parse_emphasis(text)[0]
    if any(piece.text is None for piece in pieces):
        raise _unsaid("BREAK")
    return "".join(
        _weighted(comfy_embeddings(piece.text or "", embeddings), piece.weight) for piece in pieces
    )


def _weighted(text: str, weight: float) -> str:
    return _escaped(text) if weight == 1.0 else f"({_escaped(text)}:{weight:.6g})"


def _escaped(text: str) -> str:
    return text.replace("(", "\\(").replace(")", "\\)")


def _unsaid(what: str) -> InputError:
    return InputError(
        f"ComfyUI's own nodes do not read {what}",
        fix="leave it out of the prompt, or draw here",
        about="prompt",
    )


def wanted_of(
    one: Prepared,
    family: Family,
    parts: ComfyParts,
    choices: Choices,
    *,
    where: str,
    given: Sequence[str],
    loras: Sequence[LoraNode],
    guidance: float | None,
) -> Wanted:
    """The request with all names as the server has them. Raises InputError for what it lacks.

    given: names of text encoders that the person gave;  guidance: of the model, where nothing is said.
    """
    request = one.request
    _check(one, family, parts)
    whole = choices.of("CheckpointLoaderSimple", "ckpt_name")
    alone = [*choices.of("UNETLoader", "unet_name"), *choices.of("UnetLoaderGGUF", "unet_name")]
    folders = "models/checkpoints" if not parts.kind else "models/checkpoints or models/diffusion_models"
    known = [*whole, *alone] if parts.kind else whole
    checkpoint = of_server(request.checkpoint, known, "checkpoint", where, folder=folders)
    is_alone = checkpoint not in whole
    encoders = _encoders(family, parts, choices, where, given) if is_alone or given else ()
    vae = None
    if request.vae is not None or is_alone:
        usual = family.pictures.vae_file if family.pictures else ""
        vae = of_server(
            request.vae or usual, choices.of("VAELoader", "vae_name"), "VAE", where, folder="models/vae"
        )
    flow = family.pictures.flow if family.pictures else True
    return Wanted(
        one,
        parts,
        checkpoint,
        is_alone,
        encoders,
        vae,
        tuple(loras),
        comfy_sampler(one.sampler, choices.of("KSampler", "sampler_name")),
        comfy_schedule(one.schedule, one.sampler, choices.of("KSampler", "scheduler"), flow=flow),
        (request.guidance if request.guidance is not None else guidance) if parts.guided else None,
        bool(family.pictures and family.pictures.empty_is_zeros),
        _embeddings(request.embeddings, choices.embeddings, where),
    )


def _embeddings(files: Sequence[str], known: Sequence[str], where: str) -> Mapping[str, str]:
    """How a prompt names them → how the server does, in whose prompts a blank ends a name."""
    found = {}
    for file in files:
        path = PurePath(file)
        listed = {f"{name}{path.suffix}": name for name in known}
        name = listed[of_server(file, listed, "embedding", where, folder="models/embeddings")]
        if len(name.split()) > 1:
            raise InputError(
                "ComfyUI's prompts cannot name an embedding with a blank in its name",
                where=f"{where}: {name}",
                fix="give the file a name without a blank, there and here",
                about="embeddings",
            )
        found[path.stem] = name
    return found


def _check(one: Prepared, family: Family, parts: ComfyParts) -> None:
    request = one.request
    if request.hires is not None:
        comfy_upscaler(request.hires.upscaler)
        if request.hires.denoising and one.passes[1].texts() != one.passes[0].texts():
            raise _unsaid(CHANGES)
    if request.embeddings and parts.plain:
        raise InputError(
            f"{family.label} reads no textual-inversion embeddings",
            where=request.embeddings[0],
            fix="take its name out of the prompt",
            about="embeddings",
        )
    if request.guidance is not None and not parts.guided:
        raise InputError(
            "these models take no guidance as a number",
            fix="leave it out; the CFG scale guides",
            about="guidance",
        )
    check_multiples(request, parts.multiple, family.label)


def _encoders(
    family: Family, parts: ComfyParts, choices: Choices, where: str, given: Sequence[str]
) -> tuple[str, ...]:
    """The server's names of the text encoders: those that are given, else files of their usual names."""
    known = [*choices.of("CLIPLoader", "clip_name"), *choices.of("CLIPLoaderGGUF", "clip_name")]
    usual = [reading.file for reading in family.pictures.readings if reading.file] if family.pictures else []
    files = list(given) or usual
    if len(files) != parts.encoders:
        raise InputError(
            f"{family.label} takes {parts.encoders} text encoders, {len(files)} are named",
            where=where,
            fix=f"name files that the server has: {', '.join(known) or 'none'}",
            about="text_encoder",
        )
    kinds = choices.of("DualCLIPLoader" if parts.encoders == 2 else "CLIPLoader", "type")
    if parts.encoders < 3 and parts.kind not in kinds:
        raise InputError(
            f"this ComfyUI does not know text encoders of {family.label}", where=where, fix="update it"
        )
    return tuple(
        of_server(file, known, "text encoder", where, folder="models/text_encoders") for file in files
    )
