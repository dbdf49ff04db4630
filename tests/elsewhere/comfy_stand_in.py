"""A stand-in for ComfyUI: its queue, its history, and its nodes with their checks."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elsewhere.stand_in import RefusedError, StandIn, picture_of

MODEL, CLIP, VAE, CONDITIONING, LATENT, IMAGE = "MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE"


@dataclass(frozen=True)
class Node:
    """A node: inputs → a type, the choices, or (kind, least, most); and what it gives."""

    inputs: Mapping[str, object]
    outputs: tuple[str, ...] = ()


INT, FLOAT, STRING = "INT", "FLOAT", "STRING"
SAMPLERS = [
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "lcm",
    "ddim",
    "uni_pc",
]
SCHEDULERS = [
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "kl_optimal",
]
LATENT_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
PIXEL_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
SIZED = ("Empty", "LatentUpscale", "ImageScale")
"""Nodes that decide the size of the picture, the last of them."""
SIDES: Mapping[str, object] = {
    "width": (INT, 0, 16384),
    "height": (INT, 0, 16384),
    "crop": ["disabled", "center"],
}
KINDS = ["stable_diffusion", "sd3", "lumina2", "chroma", "qwen_image", "flux2"]


class ComfyStandIn(StandIn):
    """ComfyUI's queue, history and nodes. folder: its LoRAs, listed anew each time, as ComfyUI does.

    newer: choices as newer versions list them.
    """

    def __init__(self, *checkpoints: str, folder: Path | None = None, newer: bool = False) -> None:
        super().__init__()
        self.files = {"checkpoints": list(checkpoints), "unets": [], "vaes": [], "encoders": []}
        self.embeddings: list[str] = []
        self.ggufs: list[str] = []
        self.folder = folder
        self.newer = newer
        self.waiting: list[tuple[str, dict[str, Any]]] = []
        self.current: str | None = None
        self.interrupted: set[str] = set()
        self.history: dict[str, dict[str, Any]] = {}
        self.pictures: dict[str, bytes] = {}
        self.graphs: list[dict[str, Any]] = []
        self.freed = 0

    def loras(self) -> list[str]:
        below = sorted(self.folder.rglob("*.safetensors")) if self.folder else []
        return [str(one.relative_to(self.folder)) for one in below if self.folder]

    def _gguf_nodes(self) -> dict[str, Node]:
        """Those of ComfyUI-GGUF, which list other encoders, too."""
        encoders = [*self.files["encoders"], *(name for name in self.ggufs if "encoder" in name)]
        return {
            "UnetLoaderGGUF": Node({"unet_name": self.ggufs}, (MODEL,)),
            "CLIPLoaderGGUF": Node({"clip_name": encoders, "type": KINDS}, (CLIP,)),
        }

    def nodes(self) -> dict[str, Node]:
        files = self.files
        return {
            "CheckpointLoaderSimple": Node({"ckpt_name": files["checkpoints"]}, (MODEL, CLIP, VAE)),
            "UNETLoader": Node(
                {"unet_name": files["unets"], "weight_dtype": ["default", "fp8_e4m3fn"]}, (MODEL,)
            ),
            "CLIPLoader": Node({"clip_name": files["encoders"], "type": KINDS}, (CLIP,)),
            "DualCLIPLoader": Node(
                {
                    "clip_name1": files["encoders"],
                    "clip_name2": files["encoders"],
                    "type": ["sdxl", "sd3", "flux"],
                },
                (CLIP,),
            ),
            **(self._gguf_nodes() if self.ggufs else {}),
            "VAELoader": Node({"vae_name": files["vaes"]}, (VAE,)),
            "LoraLoader": Node(
                {
                    "model": MODEL,
                    "clip": CLIP,
                    "lora_name": self.loras(),
                    "strength_model": (FLOAT, -100, 100),
                    "strength_clip": (FLOAT, -100, 100),
                },
                (MODEL, CLIP),
            ),
            "CLIPSetLastLayer": Node({"clip": CLIP, "stop_at_clip_layer": (INT, -24, -1)}, (CLIP,)),
            "CLIPTextEncode": Node({"clip": CLIP, "text": (STRING, 0, 0)}, (CONDITIONING,)),
            "ConditioningZeroOut": Node({"conditioning": CONDITIONING}, (CONDITIONING,)),
            "FluxGuidance": Node(
                {"conditioning": CONDITIONING, "guidance": (FLOAT, 0, 100)}, (CONDITIONING,)
            ),
            **{
                name: Node(
                    {"width": (INT, 16, 16384), "height": (INT, 16, 16384), "batch_size": (INT, 1, 4096)},
                    (LATENT,),
                )
                for name in ("EmptyLatentImage", "EmptySD3LatentImage", "EmptyFlux2LatentImage")
            },
            "KSampler": Node(
                {
                    "model": MODEL,
                    "seed": (INT, 0, 2**64 - 1),
                    "steps": (INT, 1, 10000),
                    "cfg": (FLOAT, 0, 100),
                    "sampler_name": SAMPLERS,
                    "scheduler": SCHEDULERS,
                    "positive": CONDITIONING,
                    "negative": CONDITIONING,
                    "latent_image": LATENT,
                    "denoise": (FLOAT, 0, 1),
                },
                (LATENT,),
            ),
            "VAEDecode": Node({"samples": LATENT, "vae": VAE}, (IMAGE,)),
            "VAEEncode": Node({"pixels": IMAGE, "vae": VAE}, (LATENT,)),
            "LatentUpscale": Node({"samples": LATENT, "upscale_method": LATENT_METHODS, **SIDES}, (LATENT,)),
            "ImageScale": Node({"image": IMAGE, "upscale_method": PIXEL_METHODS, **SIDES}, (IMAGE,)),
            "PreviewImage": Node({"images": IMAGE}),
        }

    def routes(self) -> Mapping[tuple[str, str], Callable[[dict[str, str], Any], object]]:
        return {
            ("GET", "/object_info/"): self._info,
            ("POST", "/prompt"): self._prompt,
            ("GET", "/history/"): lambda query, body: self._history(query["rest"]),
            ("GET", "/queue"): lambda query, body: self._queue(),
            ("POST", "/queue"): self._delete,
            ("POST", "/interrupt"): self._interrupt,
            ("POST", "/history"): lambda query, body: self._forget(body),
            ("POST", "/free"): self._free,
            ("GET", "/view"): self._view,
            ("GET", "/embeddings"): lambda query, body: self.embeddings,
        }

    def _info(self, query: dict[str, str], body: Any) -> object:
        node = self.nodes().get(query["rest"])
        if node is None:
            return {}
        required = {}
        for name, kind in node.inputs.items():
            if isinstance(kind, list):
                required[name] = ["COMBO", {"options": kind}] if self.newer else [kind, {}]
            else:
                required[name] = [kind if isinstance(kind, str) else kind[0], {}]  # type: ignore[index]
        return {query["rest"]: {"input": {"required": required}, "output": list(node.outputs)}}

    def _prompt(self, query: dict[str, str], body: Any) -> object:
        graph = body["prompt"]
        errors = self._errors(graph)
        if errors:
            error = {
                "type": "prompt_outputs_failed_validation",
                "message": "Prompt outputs failed validation",
            }
            raise RefusedError(
                400, {"error": {**error, "details": "", "extra_info": {}}, "node_errors": errors}
            )
        number = str(uuid.uuid4())
        with self.lock:
            self.graphs.append(graph)
            self.waiting.append((number, graph))
            if self.current is None:
                self.current = ""
                threading.Thread(target=self._work, daemon=True).start()
        return {"prompt_id": number, "number": len(self.graphs), "node_errors": {}}

    def _errors(self, graph: dict[str, Any]) -> dict[str, Any]:
        nodes, found = self.nodes(), {}
        for number, one in graph.items():
            node, wrong = nodes.get(one["class_type"]), []
            if node is None:
                raise RefusedError(
                    400, {"error": {"message": f"node {one['class_type']} does not exist"}, "node_errors": {}}
                )
            for name in one["inputs"].keys() ^ node.inputs.keys():
                wrong.append({"type": "required_input_missing", "message": "", "details": name})
            for name, value in one["inputs"].items():
                if name in node.inputs and not self._fits(value, node.inputs[name], graph):
                    wrong.append(
                        {"type": "value", "message": "Value not in list", "details": f"{name}: {value!r}"}
                    )
            if wrong:
                found[number] = {"errors": wrong, "class_type": one["class_type"], "dependent_outputs": []}
        return found

    def _fits(self, value: Any, kind: object, graph: dict[str, Any]) -> bool:
        if isinstance(kind, str):
            number, output = value
            return self.nodes()[graph[number]["class_type"]].outputs[output] == kind
        if isinstance(kind, list):
            return value in kind
        name, least, most = kind  # type: ignore[misc]
        if name == STRING:
            return isinstance(value, str)
        return isinstance(value, int if name == INT else (int, float)) and least <= value <= most

    def _work(self) -> None:
        """Execute what waits, one graph after the other."""
        while True:
            with self.lock:
                if not self.waiting:
                    self.current = None
                    return
                number, graph = self.waiting.pop(0)
                self.current = number
            by_kind = {one["class_type"]: one["inputs"] for one in graph.values()}
            sizes = [inputs for kind, inputs in by_kind.items() if kind.startswith(SIZED)]
            until = time.monotonic() + self.faults.seconds
            while time.monotonic() < until and number not in self.interrupted:
                time.sleep(0.005)
            with self.lock:
                self.history[number] = self._outcome(number, graph, by_kind["KSampler"]["seed"], sizes[-1])
                self.current = ""

    def _outcome(self, number: str, graph: dict[str, Any], seed: int, size: dict[str, int]) -> dict[str, Any]:
        entry: dict[str, Any] = {"prompt": [0, number, graph, {}, []], "outputs": {}, "meta": {}}
        if number in self.interrupted:
            messages = [["execution_interrupted", {"prompt_id": number}]]
        elif self.faults.out_of_memory(seed):
            error = {"exception_type": "torch.OutOfMemoryError", "exception_message": "Allocation on device"}
            messages = [["execution_start", {}], ["execution_error", {"prompt_id": number, **error}]]
        else:
            name = f"ComfyUI_temp_{number}_00001_.png"
            self.pictures[name] = picture_of(graph, size["width"], size["height"])
            outputs = {"99": {"images": [{"filename": name, "subfolder": "", "type": "temp"}]}}
            return {
                **entry,
                "outputs": outputs,
                "status": {"status_str": "success", "completed": True, "messages": []},
            }
        return {**entry, "status": {"status_str": "error", "completed": False, "messages": messages}}

    def _history(self, number: str) -> object:
        with self.lock:
            return {number: self.history[number]} if number in self.history else {}

    def _queue(self) -> object:
        with self.lock:
            running = [[0, self.current, {}, {}, []]] if self.current else []
            return {
                "queue_running": running,
                "queue_pending": [[0, number, {}, {}, []] for number, _ in self.waiting],
            }

    def _delete(self, query: dict[str, str], body: Any) -> object:
        with self.lock:
            self.waiting = [one for one in self.waiting if one[0] not in body["delete"]]
        return b""

    def _interrupt(self, query: dict[str, str], body: Any) -> object:
        with self.lock:
            if self.current and body.get("prompt_id") in (None, self.current):
                self.interrupted.add(self.current)
        return b""

    def _forget(self, body: Any) -> object:
        with self.lock:
            for number in body["delete"]:
                self.history.pop(number, None)
        return b""

    def _free(self, query: dict[str, str], body: Any) -> object:
        self.freed += 1
        return b""

    def _view(self, query: dict[str, str], body: Any) -> object:
        if query["type"] != "temp" or query["filename"] not in self.pictures:
            raise RefusedError(404, {})
        return self.pictures[query["filename"]]
