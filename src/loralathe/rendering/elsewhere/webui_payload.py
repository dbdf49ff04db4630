"""A request in the words of A1111's and Forge's HTTP API, by what a server has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loralathe.errors import InputError, did_you_mean, few, option
from loralathe.families import Family
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.names import of_server
from loralathe.rendering.elsewhere.parts import OURS
from loralathe.rendering.elsewhere.program import look_at
from loralathe.rendering.elsewhere.server_loras import ServerLora
from loralathe.rendering.prepare import Prepared
from loralathe.rendering.prompts import lift_tags
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import number_text

FORGE_MODULES = "forge_additional_modules"
ONE_SKIP = ("sd1",)
"""Families of which A1111 takes another layer of the text encoder."""
PLAIN_FAMILIES = ("sd1", "sd2", "sdxl")
"""What A1111 draws; Forge draws more."""


@dataclass(frozen=True)
class WebuiLists:
    """What a server has. Files: their path there → what its API calls them."""

    checkpoints: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    vaes: Mapping[str, str] = field(default_factory=dict)
    loras: Mapping[str, str] = field(default_factory=dict)
    embeddings: Sequence[str] = ()
    samplers: Sequence[str] = ()
    schedules: Sequence[str] = ()
    upscalers: Sequence[str] = ()
    options: frozenset[str] = frozenset()

    @property
    def forge(self) -> bool:
        return FORGE_MODULES in self.options


@dataclass(frozen=True)
class Payloads:
    """Requests in the words of one server. encoders: names of text encoders that it has."""

    server: Server
    lists: WebuiLists = field(default_factory=WebuiLists)
    encoders: tuple[str, ...] = ()

    def model_name(self, request: ImageRequest) -> str:
        """What the server says that it drew with."""
        return self.lists.titles[self._title(request)]

    def payload(self, one: Prepared, uses: Iterable[ServerLora]) -> dict[str, object]:
        """The body of txt2img for a request. InputError for what the server lacks."""
        request, lists = one.request, self.lists
        family = look_at(request.checkpoint).family
        self._check(one, family)
        tags = "".join(
            f"<lora:{self._lora_name(use)}:{number_text(use.te)}:{number_text(use.unet)}>" for use in uses
        )
        body: dict[str, object] = {
            "prompt": f"{lift_tags(request.prompt).prompt.strip()} {tags}".strip(),
            "negative_prompt": request.negative,
            "seed": request.seed,
            "steps": request.steps,
            "cfg_scale": request.cfg,
            "width": request.width,
            "height": request.height,
            "sampler_name": _listed(one.sampler, lists.samplers, "sampler", self.server),
            "scheduler": _listed(one.schedule, lists.schedules, "schedule", self.server),
            "batch_size": 1,
            "n_iter": 1,
            "send_images": True,
            "save_images": False,
            "override_settings": self._override(request),
        }
        if (hires := request.hires) is not None:
            body |= {
                "enable_hr": True,
                "hr_scale": hires.scale,
                "hr_upscaler": _listed(hires.upscaler, lists.upscalers, "upscaler", self.server),
                "hr_second_pass_steps": hires.steps,
                "denoising_strength": hires.denoising,
            }
        if lists.forge:
            guidance = (
                request.guidance
                if request.guidance is not None
                else look_at(request.checkpoint).usual.guidance
            )
            if guidance is not None:
                body |= {"distilled_cfg_scale": guidance, "hr_distilled_cfg": guidance}
            # Without these, Forge fails at a second pass, or draws it at CFG 1.
            body |= {"hr_additional_modules": ["Use same choices"], "hr_cfg": request.cfg}
        return body

    def _override(self, request: ImageRequest) -> dict[str, object]:
        """Settings of the server for this picture alone; it refuses those that it does not have."""
        wanted: dict[str, object] = {
            "sd_model_checkpoint": self._title(request),
            "CLIP_stop_at_last_layers": request.clip_skip,
            "randn_source": "CPU",
            "samples_format": "png",
        }
        vae = None if request.vae is None else self._vae(request.vae)
        if self.lists.forge:
            encoders = [self._vae(name, "text encoder") for name in self.encoders]
            wanted[FORGE_MODULES] = [*([vae] if vae else []), *encoders]
        else:
            wanted["sd_vae"] = vae or "None"
        return {name: value for name, value in wanted.items() if name in self.lists.options}

    def _check(self, one: Prepared, family: Family) -> None:
        request, name = one.request, self.server.name
        if not self.lists.forge and family.id not in PLAIN_FAMILIES:
            raise InputError(
                f"A1111 does not draw {family.label}",
                where=name,
                fix="use Forge or ComfyUI",
            )
        if request.clip_skip > 1 and family.id not in ONE_SKIP:
            raise InputError(
                f"A1111 has no clip skip for {family.label}",
                where=option("clip_skip", request.clip_skip),
                fix=f"leave it at 1: {option('clip_skip', 1)}",
                about="clip_skip",
            )
        if request.guidance is not None and not self.lists.forge:
            raise InputError(
                "A1111 takes no distilled guidance",
                fix="leave it out, or use Forge or ComfyUI",
                about="guidance",
            )
        lacking = [
            Path(file).stem for file in request.embeddings if Path(file).stem not in self.lists.embeddings
        ]
        if lacking:
            raise InputError(
                f"the server has no embedding '{lacking[0]}'",
                where=name,
                fix=did_you_mean(lacking[0], self.lists.embeddings)
                or "put the file into its folder embeddings",
                about="embeddings",
            )

    def _title(self, request: ImageRequest) -> str:
        known = self.lists.checkpoints
        file = of_server(
            request.checkpoint, known, "checkpoint", self.server.name, folder="models/Stable-diffusion"
        )
        return known[file]

    def _vae(self, file: str, what: str = "VAE") -> str:
        known = self.lists.vaes
        return known[of_server(file, known, what, self.server.name, folder="models/VAE")]

    def _lora_name(self, use: ServerLora) -> str:
        known = self.lists.loras
        try:
            return known[of_server(use.file, known, "LoRA", self.server.name, folder="models/Lora")]
        except InputError as error:
            if OURS not in use.file:
                raise
            raise InputError(
                "the server does not find the parts of a LoRA that were written for it",
                where=use.file,
                fix=f"{option('webui', 'DIR')} must be the folder of this very program",
                about="webui",
            ) from error


def _listed(name: str, known: Sequence[str], what: str, server: Server) -> str:
    """The name as the server writes it. InputError, with what is there, for one that it lacks."""
    found = {one.casefold(): one for one in known}.get(name.casefold())
    if found is None:
        raise InputError(
            f"the server has no {what} '{name}'",
            where=server.name,
            fix=did_you_mean(name, known) or f"it has {few(known, 20)}",
            about=what,
        )
    return found
