"""diffusers' own pipelines of a single file, offline: the judge of what we render, text included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch

from loralathe.rendering.clip_tokens import encode_text
from loralathe.rendering.loading import FileWeights, open_model

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
START, END, LENGTH = 49406, 49407, 77


class Tokens:
    """CLIP's tokenizer as pipelines call it, over a package that carries the vocabulary."""

    model_max_length = LENGTH

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, text: str | Sequence[str], padding: object = None, **_: object) -> SimpleNamespace:
        rows = [[START, *encode_text(t), END] for t in ([text] if isinstance(text, str) else text)]
        assert all(len(row) <= LENGTH for row in rows)
        width = LENGTH if padding == "max_length" else max(map(len, rows))
        ids = torch.tensor([row + [self.pad] * (width - len(row)) for row in rows])
        return SimpleNamespace(input_ids=ids, attention_mask=None)

    def tokenize(self, text: str) -> list[str]:
        """Asked only for tokens that textual inversion added; there are none."""
        return []


def pipeline_of_file(family: str, path: Path, configs: Path) -> Any:
    """`from_single_file` on `path`; `configs` is a folder of configurations, made when it is not there.

    Only the configurations of narrow models come from us; which tensor goes where is diffusers' own matter.
    """
    xl = family == "sdxl"
    if not configs.exists():
        _write_configs(xl, path, configs)
    kind: Any = diffusers.StableDiffusionXLPipeline if xl else diffusers.StableDiffusionPipeline
    own = {"tokenizer": None, "tokenizer_2": None, "add_watermarker": False}
    if not xl:
        own = {"tokenizer": None, "safety_checker": None}
    pipe = kind.from_single_file(
        str(path), config=str(configs), local_files_only=True, torch_dtype=torch.float32, **own
    )
    pipe.tokenizer = Tokens(END)
    if xl:
        pipe.tokenizer_2 = Tokens(0)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _write_configs(xl: bool, path: Path, folder: Path) -> None:
    with FileWeights(path) as weights:
        model = open_model(weights, torch.float32)
    encoders = {"text_encoder": "CLIPTextModel"} | (
        {"text_encoder_2": "CLIPTextModelWithProjection"} if xl else {}
    )
    model.denoiser.save_config(folder / "unet")
    model.vae.save_config(folder / "vae")
    for name, encoder in zip(encoders, model.encoders, strict=True):
        encoder.network.config.save_pretrained(folder / name)
    diffusers.DDIMScheduler(**BETAS, steps_offset=1, clip_sample=False).save_config(folder / "scheduler")
    index: dict[str, object] = {
        "_class_name": "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        **{name: ["transformers", kind] for name, kind in encoders.items()},
    }
    more = ["tokenizer_2"] if xl else ["safety_checker", "feature_extractor"]
    index |= {name: ["transformers", "CLIPTokenizer"] if xl else [None, None] for name in more}
    (folder / "model_index.json").write_text(json.dumps(index))
