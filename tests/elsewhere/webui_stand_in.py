"""A stand-in for A1111 and Forge: txt2img, and the lists of what there is."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elsewhere.stand_in import RefusedError, StandIn, picture_of

FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "steps": int,
    "cfg_scale": (int, float),
    "width": int,
    "height": int,
    "sampler_name": str,
    "scheduler": str,
    "batch_size": int,
    "n_iter": int,
    "send_images": bool,
    "save_images": bool,
    "override_settings": dict,
    "enable_hr": bool,
    "hr_scale": (int, float),
    "hr_upscaler": str,
    "hr_second_pass_steps": int,
    "denoising_strength": (int, float),
    "distilled_cfg_scale": (int, float),
    "hr_additional_modules": list,
    "hr_cfg": (int, float),
    "hr_distilled_cfg": (int, float),
}
OPTIONS = ("sd_model_checkpoint", "sd_vae", "CLIP_stop_at_last_layers", "randn_source", "samples_format")


class WebuiStandIn(StandIn):
    """A1111's txt2img and its lists. folder: its LoRAs, listed when it is told to look again.

    forge: has Forge's option for VAE and text encoders;  draws_with: the model whatever is asked for.
    """

    program = "a1111"

    def __init__(self, *checkpoints: str, folder: Path | None = None, forge: bool = False) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.modules: list[str] = []
        self.folder = folder
        self.known_loras = self._read_loras()
        self.options = {*OPTIONS, "forge_additional_modules"} - {"sd_vae"} if forge else {*OPTIONS}
        self.embeddings: list[str] = []
        self.draws_with = ""
        self.payloads: list[dict[str, Any]] = []
        self.interrupts = 0
        self.busy_with: dict[str, Any] | None = None
        self.one_at_a_time = threading.Lock()

    def _read_loras(self) -> list[dict[str, str]]:
        files = sorted(self.folder.rglob("*.safetensors")) if self.folder else []
        return [{"name": one.stem, "alias": one.stem, "path": str(one)} for one in files]

    def routes(self) -> Mapping[tuple[str, str], Callable[[dict[str, str], Any], object]]:
        def listed(value: object) -> Callable[[dict[str, str], Any], object]:
            return lambda query, body: value

        models = [
            {
                "title": f"{name} [0123456789]",
                "model_name": Path(name).stem,
                "filename": f"/srv/models/{name}",
            }
            for name in self.checkpoints
        ]
        modules = [
            {"model_name": Path(one).stem, "filename": f"/srv/models/VAE/{one}"} for one in self.modules
        ]
        samplers = ["DPM++ 2M", "DPM++ SDE", "Euler a", "Euler", "Heun", "DDIM", "UniPC"]
        return {
            ("GET", "/sdapi/v1/options"): listed(dict.fromkeys(self.options)),
            ("GET", "/sdapi/v1/sd-models"): listed(models),
            ("GET", "/sdapi/v1/sd-vae"): listed(modules),
            ("GET", "/sdapi/v1/sd-modules"): listed(modules),
            ("GET", "/sdapi/v1/loras"): lambda query, body: self.known_loras,
            ("POST", "/sdapi/v1/refresh-loras"): self._refresh,
            ("GET", "/sdapi/v1/embeddings"): listed(
                {"loaded": {name: {"shape": 768, "vectors": 1} for name in self.embeddings}, "skipped": {}}
            ),
            ("GET", "/sdapi/v1/samplers"): listed(
                [{"name": one, "aliases": [], "options": {}} for one in samplers]
            ),
            ("GET", "/sdapi/v1/schedulers"): listed(
                [
                    {"name": one.lower(), "label": one}
                    for one in ("Automatic", "Uniform", "Karras", "Exponential")
                ]
            ),
            ("GET", "/sdapi/v1/upscalers"): listed([{"name": one} for one in ("None", "Lanczos")]),
            ("GET", "/sdapi/v1/latent-upscale-modes"): listed([{"name": "Latent"}]),
            ("GET", "/sdapi/v1/progress"): lambda query, body: {"progress": 0.5 if self.busy_with else 0.0},
            ("POST", "/sdapi/v1/interrupt"): self._interrupt,
            ("POST", "/sdapi/v1/txt2img"): self._txt2img,
        }

    def _refresh(self, query: dict[str, str], body: Any) -> object:
        self.known_loras = self._read_loras()
        return None

    def _interrupt(self, query: dict[str, str], body: Any) -> object:
        self.interrupts += 1
        return {}

    def _txt2img(self, query: dict[str, str], body: Any) -> object:
        for name, value in body.items():
            if name not in FIELDS or not isinstance(value, FIELDS[name]):
                raise RefusedError(422, {"detail": [{"loc": ["body", name], "msg": "value is not valid"}]})
        override = body["override_settings"]
        for name in override:
            if name not in self.options:
                raise RefusedError(
                    500, {"error": "KeyError", "detail": "", "body": "", "errors": f"'{name}'"}
                )
        with self.one_at_a_time:
            self.busy_with, stopped = body, self.interrupts
            until = time.monotonic() + self.faults.seconds
            while time.monotonic() < until and stopped == self.interrupts:
                time.sleep(0.005)
            self.busy_with = None
        self.payloads.append(body)
        if self.faults.out_of_memory(body["seed"]):
            said = {"error": "OutOfMemoryError", "detail": "", "body": "", "errors": "CUDA out of memory."}
            raise RefusedError(500, said)
        scale = body.get("hr_scale", 1) if body.get("enable_hr") else 1
        size = [int(body[side] * scale) // 8 * 8 for side in ("width", "height")]
        title = self.draws_with or override["sd_model_checkpoint"]
        info = {
            "seed": body["seed"],
            "all_seeds": [body["seed"]],
            "sd_model_name": title.split(" [")[0].split(".")[0],
            "sampler_name": body["sampler_name"],
            "index_of_first_image": 0,
            "infotexts": ["of the server"],
        }
        picture = base64.b64encode(picture_of(body, *size)).decode()
        return {"images": [picture], "parameters": body, "info": json.dumps(info)}
