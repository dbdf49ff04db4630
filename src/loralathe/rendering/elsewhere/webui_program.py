"""A running A1111 or Forge: what it has, and what a request is in the words of its HTTP API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from loralathe.adapters import ModelFolders
from loralathe.errors import InputError, did_you_mean, few, option
from loralathe.families import Family
from loralathe.progress import Progress
from loralathe.rendering.elsewhere.address import Server
from loralathe.rendering.elsewhere.answers import items, mapping, text
from loralathe.rendering.elsewhere.http import Client
from loralathe.rendering.elsewhere.names import of_server
from loralathe.rendering.elsewhere.program import Settings, look_at, unreachable
from loralathe.rendering.elsewhere.server_loras import OURS, ServerLora, ServerLoras
from loralathe.rendering.elsewhere.work import LostError
from loralathe.rendering.infotext import FileHashes
from loralathe.rendering.prepare import Prepared
from loralathe.rendering.prompts import lift_tags
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import number_text

API = "/sdapi/v1"
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


class WebuiProgram:
    """One A1111 or Forge: what it has, and the payloads that requests are there."""

    def __init__(self, server: Server, settings: Settings, loras: ServerLoras, progress: Progress) -> None:
        self.server = server
        self.hashes = FileHashes(enabled=settings.hashes, in_memory=frozenset(), progress=progress)
        self.folders = ModelFolders(settings.lora_dirs)
        self._settings = settings
        self._loras = loras
        self._lists = WebuiLists()

    def check(self, prepared: Sequence[Prepared]) -> None:
        """Ask the server what it has, and plan every request. Raises InputError for what it cannot draw."""
        for one in prepared:
            self._uses(one)
        self._lists = self._ask_lists()
        for one in prepared:
            self.payload(one)

    def model_name(self, request: ImageRequest) -> str:
        """What the server says that it drew with."""
        return self._lists.titles[self._title(request)]

    def payload(self, one: Prepared) -> dict[str, object]:
        """The body of txt2img for a request."""
        request, lists = one.request, self._lists
        family = look_at(request.checkpoint).family
        self._check(one, family)
        tags = "".join(
            f"<lora:{self._lora_name(use)}:{number_text(use.te)}:{number_text(use.unet)}>"
            for use in self._uses(one)
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
            body |= {"distilled_cfg_scale": guidance} if guidance is not None else {}
            body |= {"hr_additional_modules": ["Use same choices"]}  # without, Forge fails at a second pass
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
        if self._lists.forge:
            encoders = [self._vae(name, "text encoder") for name in self._settings.encoders]
            wanted[FORGE_MODULES] = [*([vae] if vae else []), *encoders]
        else:
            wanted["sd_vae"] = vae or "None"
        return {name: value for name, value in wanted.items() if name in self._lists.options}

    def _check(self, one: Prepared, family: Family) -> None:
        request, name = one.request, self.server.name
        if not self._lists.forge and family.id not in PLAIN_FAMILIES:
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
        if request.guidance is not None and not self._lists.forge:
            raise InputError(
                "A1111 takes no distilled guidance",
                fix="leave it out, or use Forge or ComfyUI",
                about="guidance",
            )
        lacking = [
            Path(file).stem for file in request.embeddings if Path(file).stem not in self._lists.embeddings
        ]
        if lacking:
            raise InputError(
                f"the server has no embedding '{lacking[0]}'",
                where=name,
                fix=did_you_mean(lacking[0], self._lists.embeddings)
                or "put the file into its folder embeddings",
                about="embeddings",
            )

    def _uses(self, one: Prepared) -> tuple[ServerLora, ...]:
        return self._loras.of(one.uses, look_at(one.request.checkpoint).family, one.request.seed)

    def _title(self, request: ImageRequest) -> str:
        known = self._lists.checkpoints
        file = of_server(
            request.checkpoint, known, "checkpoint", self.server.name, folder="models/Stable-diffusion"
        )
        return known[file]

    def _vae(self, file: str, what: str = "VAE") -> str:
        known = self._lists.vaes
        return known[of_server(file, known, what, self.server.name, folder="models/VAE")]

    def _lora_name(self, use: ServerLora) -> str:
        known = self._lists.loras
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

    def _ask_lists(self) -> WebuiLists:
        client = Client(self.server)

        def ask(path: str) -> object:
            try:
                return client.json(f"{API}/{path}")
            except LostError as error:
                raise unreachable(self.server, error) from error

        def files(path: str, called: str) -> dict[str, str]:
            found = [mapping(one, "file") for one in items(ask(path), "files")]
            return {
                text(one.get("filename", one.get("path")), "path"): text(one.get(called), "name")
                for one in found
            }

        if self._loras.written:
            with suppress(LostError):
                client.post(f"{API}/refresh-loras", {})
        options = frozenset(mapping(ask("options"), "options"))
        models = [mapping(one, "file") for one in items(ask("sd-models"), "files")]
        embeddings = mapping(ask("embeddings"), "embeddings")
        named = [mapping(embeddings.get(key, {}), "embeddings") for key in ("loaded", "skipped")]
        return WebuiLists(
            {text(one.get("filename"), "path"): text(one.get("title"), "name") for one in models},
            {text(one.get("title"), "name"): text(one.get("model_name"), "name") for one in models},
            files("sd-modules" if FORGE_MODULES in options else "sd-vae", "model_name"),
            files("loras", "name"),
            [name for one in named for name in one],
            _labels(ask("samplers"), "name"),
            _labels(ask("schedulers"), "label"),
            [*_labels(ask("upscalers"), "name"), *_labels(ask("latent-upscale-modes"), "name")],
            options,
        )


def _labels(value: object, key: str) -> list[str]:
    return [text(mapping(one, "entry").get(key), "name") for one in items(value, "list")]


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
