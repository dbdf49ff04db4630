"""What the rendering benchmarks draw with: random models, a LoRA, our renderer and diffusers' pipeline."""

from __future__ import annotations

import copy
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import save_file
from tests.checkpoints import VOCABULARY, tiny_checkpoint, tiny_lora
from tests.promise.pipelines import BETAS, END, Tokens

from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.loading import MemoryWeights, Model, open_model

PROMPT, NEGATIVE = "a portrait of hina, blue hair, smile, garden, soft light", "blurry, bad hands"
RANK = 16
HIGHEST = math.sqrt(1 / float(diffusers.DDIMScheduler(**BETAS).alphas_cumprod[-1]) - 1)
"""σ of the noisiest level: where A1111 starts."""


@dataclass(frozen=True)
class Size:
    """A model and a picture: widths divided by `divisor`, `side`² pixels."""

    family: str
    divisor: int
    side: int
    steps: int

    @property
    def label(self) -> str:
        family = {"sd1": "SD 1.5", "sdxl": "SDXL"}[self.family]
        width = "" if self.divisor == 1 else f" 1/{self.divisor} wide"
        return f"{family}{width}, {self.side}², {self.steps} steps"

    def request(self, **changes: Any) -> ImageRequest:
        fields: dict[str, Any] = {
            "prompt": PROMPT, "negative": NEGATIVE, "seed": 7, "steps": self.steps, "cfg": 5.0,
            "sampler": "Euler", "width": self.side, "height": self.side,
        }  # fmt: skip
        return ImageRequest("base", **(fields | changes))


@dataclass
class Stage:
    """One size, ready: `renderer` knows the model as `base`; `pipe` is bare until the LoRA is loaded."""

    size: Size
    lora: Path
    renderer: LocalRenderer
    one_by_one: LocalRenderer
    pipe: Any

    def load_lora(self) -> None:
        """PEFT's layers around those of the pipeline, as `hina`; they stay."""
        self.pipe.load_lora_weights(str(self.lora), adapter_name="hina")

    def forget_texts(self) -> None:
        """Every round encodes its own texts, as a first run does; models and factors stay loaded."""
        for renderer in (self.renderer, self.one_by_one):
            for opened in renderer._models._open.values():
                opened.texts.clear()

    def close(self) -> None:
        self.renderer.close()
        self.one_by_one.close()


def make_stage(size: Size, folder: Path, device: torch.device, dtype: torch.dtype) -> Stage:
    name = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    held = {"base": random_checkpoint(size, name)}
    lora = folder / f"{size.family}-{size.divisor}" / "hina.safetensors"
    lora.parent.mkdir(exist_ok=True)
    tensors = tiny_lora(size.family, rank=RANK, alpha=RANK / 2, seed=5, width_divisor=size.divisor, std=0.05)
    save_file(tensors, str(lora))
    short: Any = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    ours, single = (
        LocalRenderer(str(device), short, [lora.parent], weights=held, batch_size=batch)
        for batch in (None, 1)
    )
    pipe = make_pipeline(size.family, open_model(MemoryWeights("base", held["base"], {}), dtype), device)
    single._models = ours._models  # one set of weights on the device for both
    return Stage(size, lora, ours, single, pipe)


def random_checkpoint(size: Size, dtype: str) -> dict[str, torch.Tensor]:
    """Normal weights that leave activations finite in half precision; CLIP's whole vocabulary."""
    std = 0.02 if size.divisor == 1 else 0.05
    tensors = tiny_checkpoint(size.family, seed=1, width_divisor=size.divisor, dtype=dtype, std=std)
    tensors["model.diffusion_model.out.2.weight"] *= 0.2
    for key, tensor in tensors.items():
        if key.endswith("token_embedding.weight") and tensor.shape[0] != VOCABULARY:
            generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
            tensors[key] = 0.3 * torch.randn(VOCABULARY, tensor.shape[1], generator=generator)
    return tensors


def make_pipeline(family: str, model: Model, device: torch.device) -> Any:
    """diffusers' pipeline on networks of its own, which encodes the prompt in every call."""
    unet, vae = copy.deepcopy(model.denoiser), copy.deepcopy(model.vae)
    vae.register_to_config(force_upcast=False)  # SDXL's pipeline would decode in fp32, ours does in fp16
    encoders = [copy.deepcopy(encoder.network) for encoder in model.encoders]
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS)
    pipe: Any
    if family == "sdxl":
        pipe = diffusers.StableDiffusionXLPipeline(
            vae, encoders[0], encoders[1], None, None, unet, scheduler, add_watermarker=False
        )
        pipe.tokenizer_2 = Tokens(0)
    else:
        pipe = diffusers.StableDiffusionPipeline(
            vae, encoders[0], None, unet, scheduler, None, None, requires_safety_checker=False
        )
    pipe.tokenizer = Tokens(END)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def call(stage: Stage) -> Any:
    """One call of the pipeline for the picture of `size.request()`; the start noise is ours."""
    request, pipe = stage.size.request(), stage.pipe
    side = request.height // 8
    noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(request.seed))
    pipe.scheduler.set_timesteps(request.steps)
    start = noise * (HIGHEST / float(pipe.scheduler.init_noise_sigma))
    return pipe(
        request.prompt,
        negative_prompt=request.negative,
        latents=start.to(pipe.device, pipe.unet.dtype),
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=request.cfg,
    ).images[0]
