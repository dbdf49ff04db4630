"""SD 3.5 on narrow models of full depth: against diffusers' own pipeline, with and without T5 and a LoRA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers

import loralathe
from checkpoints import write_safetensors
from loralathe.errors import InputError
from loralathe.progress import Progress
from loralathe.rendering import LocalRenderer
from loralathe.rendering.clip_tokens import encode_text
from loralathe.rendering.loading import FileWeights, Model, PartFiles, open_model
from rendering.narrow import SD3, Part, Tensors, assembled, write_tokenizer
from rendering.pictured import (
    PROMPT,
    SIDE,
    check_layers,
    check_lora,
    latents_of,
    opened,
    pictures,
    renderer_with,
    request_for,
    start_noise,
    write_models,
)

CFG, NEGATIVE, STEPS = 3.0, "blurry, bad hands", 2
MATRICES = r"joint_blocks|final_layer|context_embedder|[ty]_embedder"
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return assembled(SD3)


@pytest.fixture(scope="module")
def folder(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All in one, the model without T5, T5 alone, a tokenizer, a LoRA and what it merges to."""
    found = tmp_path_factory.mktemp("sd3")
    write_models(found, tensors, MATRICES)
    t5 = "text_encoders.t5xxl."
    write_safetensors(
        found / "clips.safetensors", {key: one for key, one in tensors.items() if not key.startswith(t5)}
    )
    alone = {key: one for key, one in tensors.items() if not key.startswith("text_encoders.")}
    write_safetensors(found / "alone.safetensors", alone)
    (found / "comfy/text_encoders").mkdir(parents=True)
    for name in ("clip_l", "clip_g", "t5xxl"):
        start = f"text_encoders.{name}.transformer."
        own = {key.removeprefix(start): one for key, one in tensors.items() if key.startswith(start)}
        write_safetensors(found / f"comfy/text_encoders/{name}.safetensors", own)
    write_tokenizer(found / "tokenizer_3", ("<pad>", "</s>", "<unk>"))
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return opened(folder / "model.safetensors", folder / "tokenizer_3")


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Iterator[LocalRenderer]:
    with renderer_with(folder / "tokenizer_3") as found:
        yield found


class Words:
    """A tokenizer as pipelines call it, without a vocabulary of its own: CLIP's ids are a library's."""

    model_max_length = 77

    def __init__(self, pad: int, encode: Any, start: tuple[int, ...], end: int) -> None:
        self._pad, self._encode, self._start, self._end = pad, encode, start, end

    def __call__(self, texts: list[str], *, max_length: int = 77, padding: str = "", **more: Any) -> Any:
        rows = [[*self._start, *self._encode(text), self._end] for text in texts]
        longest = max(map(len, rows)) if padding == "longest" else max_length
        ids = [row + [self._pad] * (longest - len(row)) for row in rows]
        return transformers.BatchEncoding({"input_ids": torch.tensor(ids)})


def pipeline_of(model: Model) -> Any:
    """diffusers' pipeline of the same modules; CLIP-L with the projection that its single files get."""
    clip_l, clip_g, *t5 = model.encoders
    config = transformers.CLIPTextConfig(**{**clip_l.network.config.to_dict(), "projection_dim": 64})
    projected = transformers.CLIPTextModelWithProjection(config).eval()
    inner = {f"text_model.{key.removeprefix('text_model.')}": one
             for key, one in clip_l.network.state_dict().items()}  # fmt: skip
    projected.load_state_dict({**inner, "text_projection.weight": torch.eye(64)})
    words = t5[0].tokenizer if t5 else None
    third = words and Words(0, lambda text: words.inner.encode(text, add_special_tokens=False).ids, (), 1)
    pipe = diffusers.StableDiffusion3Pipeline(
        model.denoiser,
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        model.vae,
        projected,
        Words(49407, encode_text, (49406,), 49407),
        clip_g.network,
        Words(0, encode_text, (49406,), 49407),
        t5[0].network if t5 else None,
        third,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def theirs(model: Model, output: str) -> Any:
    with torch.inference_mode():
        made = pipeline_of(model)(
            prompt=PROMPT, negative_prompt=NEGATIVE, guidance_scale=CFG, num_inference_steps=STEPS,
            width=SIDE, height=SIDE, latents=start_noise(16, SIDE // 8, SIDE // 8), output_type=output,
            return_dict=False,
        )[0]  # fmt: skip
    return made[0]


@pytest.mark.long
@pytest.mark.quick(1)
@pytest.mark.parametrize("file", ["model", "clips"])
def test_latents_are_the_pipelines(folder: Path, file: str) -> None:
    """With T5, and without: then zeros stand in its place."""
    model = opened(folder / f"{file}.safetensors", folder / "tokenizer_3")
    ours = latents_of(
        model, request_for(folder / f"{file}.safetensors", steps=STEPS, cfg=CFG, negative=NEGATIVE)
    )
    wanted = theirs(model, "latent")
    assert wanted.std() > 0.1
    assert (ours - wanted).abs().max() < 1e-4


@pytest.mark.slow
def test_a_picture_is_the_pipelines(model: Model, renderer: LocalRenderer, folder: Path) -> None:
    wanted = theirs(model, "np")
    (ours,) = pictures(renderer, folder / "model.safetensors", 0, steps=STEPS, cfg=CFG, negative=NEGATIVE)
    assert wanted.std() > 0.05
    assert np.abs(ours - wanted).max() < 0.6 / 255


@pytest.mark.long
def test_a_lora_at_run_time_is_the_merged_checkpoint(renderer: LocalRenderer, folder: Path) -> None:
    check_lora(renderer, folder, steps=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("manifest", "map_", "divisor"),
    [
        ("ckpt_sd35_medium_all_in_one", "sd35_medium", 12),
        ("ckpt_sd3_medium", "sd3_medium", 12),
        ("ckpt_sd35_large", "sd35_large", 19),
    ],
)
def test_layers_are_where_diffusers_own_converter_puts_them(
    folder: Path, tmp_path: Path, manifest: str, map_: str, divisor: int
) -> None:
    tensors = Part(manifest, UNET, divisor, widths=SD3[0].widths, blocks=99).tensors(1)
    write_safetensors(tmp_path / "model.safetensors", tensors)
    files = PartFiles((folder / "comfy",), folder / "tokenizer_3")
    with FileWeights(tmp_path / "model.safetensors") as weights:
        check_layers(open_model(weights, torch.float32, files=files), tensors, map_, divisor)


@pytest.mark.slow
def test_parts_that_the_person_names(
    model: Model, renderer: LocalRenderer, folder: Path, tmp_path: Path
) -> None:
    """ComfyUI's folder, files of their own, and a folder of diffusers: the same picture."""
    (wanted,) = pictures(renderer, folder / "model.safetensors", 0)
    comfy, words = folder / "comfy", folder / "tokenizer_3"
    files = [comfy / f"text_encoders/{name}.safetensors" for name in ("t5xxl", "clip_g", "clip_l")]
    for named in (PartFiles((comfy,), words), PartFiles(tuple(files), words)):
        with LocalRenderer("cpu", files=named) as one:
            (found,) = pictures(one, folder / "alone.safetensors", 0)
        assert np.abs(found - wanted).max() < 1.1 / 255
    networks = [encoder.network for encoder in model.encoders]
    names = ("text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae")
    for name, network in zip(names, (*networks, model.denoiser, model.vae), strict=True):
        network.save_pretrained(tmp_path / name)
    write_tokenizer(tmp_path / "tokenizer_3", ("<pad>", "</s>", "<unk>"))
    with LocalRenderer("cpu") as one:
        (found,) = pictures(one, tmp_path, 0)
    assert np.abs(found - wanted).max() < 1.1 / 255


def test_what_is_missing_is_named(folder: Path, tensors: Tensors) -> None:
    def fault(*encoders: Path, tokenizer: Path | None = None) -> str:
        with pytest.raises(InputError) as caught:
            loralathe.open_model(
                folder / "alone.safetensors", device="cpu", text_encoder=encoders, tokenizer=tokenizer
            )
        return f"{caught.value.what} | {caught.value.fix}"

    comfy = folder / "comfy/text_encoders"
    assert "text encoder 1 of SD 3.5 medium is missing" in fault()
    assert "clip_g.safetensors" in fault(comfy / "clip_l.safetensors")
    files = [comfy / f"{name}.safetensors" for name in ("t5xxl", "clip_g", "clip_l")]
    assert "tokenizer of the T5" in fault(*files)


def test_prompts_without_t5_are_told(folder: Path) -> None:
    told: list[str] = []

    class Listening(Progress):
        def message(self, text: str) -> None:
            told.append(text)

    with LocalRenderer("cpu", progress=Listening()) as one:
        for _ in range(2):
            pictures(one, folder / "clips.safetensors", 0, steps=1, width=32, height=32)
    assert [text for text in told if "T5" in text] == [
        "SD 3.5 medium reads prompts without the T5 text encoder: no file holds it (t5xxl_fp16.safetensors)"
    ]


def test_a_model_with_fewer_blocks_is_refused(folder: Path, tensors: Tensors, tmp_path: Path) -> None:
    """Its last block would be taken for one in the middle, and the picture be wrong."""
    cut = {key: one for key, one in tensors.items() if "joint_blocks.23." not in key}
    write_safetensors(tmp_path / "cut.safetensors", cut)
    with pytest.raises(InputError, match="23 blocks, not 24"):
        opened(tmp_path / "cut.safetensors", folder / "tokenizer_3")


@pytest.mark.long
def test_usual_settings_and_what_is_not_drawn(folder: Path) -> None:
    with loralathe.open_model(
        folder / "model.safetensors", device="cpu", tokenizer=folder / "tokenizer_3"
    ) as one:
        request = one.prepare_render(prompt="a girl", output=folder / "x.png").options.request
        assert (request.steps, request.cfg, request.sampler, request.width) == (40, 4.5, "Euler", 1024)
        with pytest.raises(InputError, match="up to 256×256"):
            one.render(prompt="a girl", output=folder / "x.png", size="320x256", steps=1)
