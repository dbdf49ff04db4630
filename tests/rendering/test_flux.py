"""Flux.1 on narrow models: against diffusers' own pipeline of the same modules, with and without a LoRA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

import loralathe
from checkpoints import write_safetensors
from loralathe.errors import InputError
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.loading import FileWeights, Model, PartFiles, open_model
from loralathe.strengths import AdapterUse
from rendering.narrow import FLUX, VAE, Tensors, assembled, by_map, merged, narrow_lora, write_tokenizer
from rendering.pictured import latents_of, request_for, start_noise

PROMPT, SEED, SIDE, STEPS = "a portrait of Hina, blue hair", 7, 64, 3
MATRICES = r"(double|single)_blocks|final_layer|txt_in|time_in"


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return assembled((*FLUX, VAE))


@pytest.fixture(scope="module")
def folder(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All in one, the transformer alone, ComfyUI's folders, a tokenizer, a LoRA and what it merges to."""
    found = tmp_path_factory.mktemp("flux")
    write_safetensors(found / "flux.safetensors", tensors)
    start = "model.diffusion_model."
    alone = {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}
    write_safetensors(found / "alone.safetensors", alone)
    for name in ("clip_l", "t5xxl"):
        prefix = f"text_encoders.{name}.transformer."
        own = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
        (found / "comfy/text_encoders").mkdir(parents=True, exist_ok=True)
        write_safetensors(found / f"comfy/text_encoders/{name}.safetensors", own)
    (found / "comfy/vae").mkdir()
    vae = {key.removeprefix("vae."): t for key, t in tensors.items() if key.startswith("vae.")}
    write_safetensors(found / "comfy/vae/ae.safetensors", vae)
    write_tokenizer(found / "tokenizer_2", ("<pad>", "</s>", "<unk>"))
    lora = narrow_lora(tensors, MATRICES)
    write_safetensors(found / "hina.safetensors", lora)
    write_safetensors(found / "merged.safetensors", merged(tensors, lora, 0.7))
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    with FileWeights(folder / "flux.safetensors") as weights:
        files = PartFiles(tokenizer=folder / "tokenizer_2")
        return open_model(weights, torch.float32, files=files)


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Iterator[LocalRenderer]:
    with LocalRenderer("cpu", files=PartFiles(tokenizer=folder / "tokenizer_2"), keep_models=2) as found:
        yield found


def from_pipeline(model: Model, output: str, **more: Any) -> Any:
    """By diffusers' pipeline, texts encoded by hand as the family's recipe says."""
    clip, t5 = (encoder.network for encoder in model.encoders)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256,
        max_image_seq_len=4096,
    )  # fmt: skip
    pipe: Any = diffusers.FluxPipeline(scheduler, model.vae, clip, None, t5, None, model.denoiser)
    pipe.set_progress_bar_config(disable=True)
    words = model.encoders[1].tokenizer
    assert words is not None
    ids = [*words.inner.encode(PROMPT, add_special_tokens=False).ids, 1]
    from loralathe.rendering.clip_tokens import encode_text

    ends = [49406, *encode_text(PROMPT), 49407]
    with torch.inference_mode():
        context = t5(torch.tensor([ids + [0] * (512 - len(ids))]))[0]
        pooled = clip(torch.tensor([ends + [49407] * (77 - len(ends))])).pooler_output
        start = pipe._pack_latents(start_noise(16, SIDE // 8, SIDE // 8), 1, 16, SIDE // 8, SIDE // 8)
        images = pipe(
            prompt_embeds=context, pooled_prompt_embeds=pooled, latents=start, width=SIDE, height=SIDE,
            num_inference_steps=STEPS, output_type=output, return_dict=False, **more,
        )[0]  # fmt: skip
    return pipe._unpack_latents(images, SIDE, SIDE, 8)[0] if output == "latent" else images[0]


def picture(
    renderer: LocalRenderer, checkpoint: Path, *uses: AdapterUse, **more: Any
) -> np.ndarray[Any, Any]:
    found: dict[int, np.ndarray[Any, Any]] = {}
    request = ImageRequest(
        str(checkpoint), prompt=PROMPT, seed=SEED, steps=STEPS, cfg=1, sampler="Euler", width=SIDE,
        height=SIDE, adapters=uses, **more,
    )  # fmt: skip
    renderer.render([request], lambda index, image: found.update({index: np.asarray(image) / 255.0}))
    return found[0]


def test_layers_are_where_diffusers_own_converter_puts_them(model: Model, tensors: Tensors) -> None:
    expected = by_map(tensors, "map_flux_transformer", "model.diffusion_model.", 48)
    ours = model.denoiser.state_dict()
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], expected[key]) for key in ours)


def test_latents_are_the_pipelines(model: Model, folder: Path) -> None:
    wanted = from_pipeline(model, "latent", guidance_scale=2.5)
    ours = latents_of(model, request_for(folder / "flux.safetensors", guidance=2.5))
    assert wanted.std() > 0.1
    assert (ours - wanted).abs().max() < 1e-4


def test_a_picture_is_the_pipelines(model: Model, renderer: LocalRenderer, folder: Path) -> None:
    theirs = from_pipeline(model, "np", guidance_scale=2.5)
    ours = picture(renderer, folder / "flux.safetensors", guidance=2.5)
    assert theirs.std() > 0.05
    assert np.abs(ours - theirs).max() < 0.6 / 255


def test_a_lora_at_run_time_is_the_merged_checkpoint(renderer: LocalRenderer, folder: Path) -> None:
    use = AdapterUse(str(folder / "hina.safetensors"), te=0.7, unet=0.7)
    plain = picture(renderer, folder / "flux.safetensors")
    with_lora = picture(renderer, folder / "flux.safetensors", use)
    of_merged = picture(renderer, folder / "merged.safetensors")
    assert np.abs(with_lora - plain).max() > 10 / 255
    assert np.abs(with_lora - of_merged).max() < 1.1 / 255


def test_pictures_of_a_batch_have_strengths_of_their_own(renderer: LocalRenderer, folder: Path) -> None:
    found: dict[int, np.ndarray[Any, Any]] = {}
    requests = [
        ImageRequest(
            str(folder / "flux.safetensors"), prompt=PROMPT, seed=SEED, steps=2, cfg=1, sampler="Euler",
            width=SIDE, height=SIDE,
            adapters=(AdapterUse(str(folder / "hina.safetensors"), te=value, unet=value),) if value else (),
        )
        for value in (0.0, 0.7, -0.4)
    ]  # fmt: skip
    renderer.render(requests, lambda index, image: found.update({index: np.asarray(image) / 255.0}))
    alone: dict[int, np.ndarray[Any, Any]] = {}
    for number, request in enumerate(requests):
        renderer.render([request], lambda _, image, n=number: alone.update({n: np.asarray(image) / 255.0}))  # type: ignore[misc]
    assert all(np.abs(found[n] - alone[n]).max() < 1.1 / 255 for n in range(3))
    assert np.abs(found[0] - found[2]).max() > 5 / 255


@pytest.mark.parametrize("given", ["files", "folder"])
def test_parts_that_the_person_names(renderer: LocalRenderer, folder: Path, given: str) -> None:
    comfy = folder / "comfy"
    files = [comfy / f"text_encoders/{name}.safetensors" for name in ("t5xxl", "clip_l")]
    named = PartFiles(tuple(files) if given == "files" else (comfy,), folder / "tokenizer_2/tokenizer.json")
    with LocalRenderer("cpu", files=named) as one:
        vae = str(comfy / "vae/ae.safetensors") if given == "files" else None
        found = picture(one, folder / "alone.safetensors", vae=vae)
    assert np.abs(found - picture(renderer, folder / "flux.safetensors")).max() < 1.1 / 255


def test_a_folder_of_diffusers(model: Model, renderer: LocalRenderer, folder: Path, tmp_path: Path) -> None:
    clip, t5 = (encoder.network for encoder in model.encoders)
    for name, network in (
        ("transformer", model.denoiser), ("vae", model.vae), ("text_encoder", clip), ("text_encoder_2", t5),
    ):  # fmt: skip
        network.save_pretrained(tmp_path / name)
    write_tokenizer(tmp_path / "tokenizer_2", ("<pad>", "</s>", "<unk>"))
    with LocalRenderer("cpu") as one:
        found = picture(one, tmp_path)
    assert np.abs(found - picture(renderer, folder / "flux.safetensors")).max() < 1.1 / 255
    with LocalRenderer("cpu", files=PartFiles((tmp_path,))) as one:
        assert np.abs(found - picture(one, folder / "alone.safetensors")).max() < 1.1 / 255
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):  # as a variant is called
        for file in (tmp_path / name).glob("*.safetensors"):
            file.rename(file.with_suffix(".fp16.safetensors"))
    with LocalRenderer("cpu") as one:
        assert np.array_equal(found, picture(one, tmp_path))


def test_a_transformer_alone_in_the_layout_of_diffusers(
    renderer: LocalRenderer, tensors: Tensors, folder: Path, tmp_path: Path
) -> None:
    """In one file, and in shards, beside text encoders and a VAE in ComfyUI's folders."""
    own = by_map(tensors, "map_flux_transformer", "model.diffusion_model.", 48)
    own = {key: tensor.contiguous() for key, tensor in own.items()}
    write_safetensors(tmp_path / "one.safetensors", own)
    (tmp_path / "shards").mkdir()
    for number in (1, 2):
        half = dict(list(own.items())[number - 1 :: 2])
        name = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        write_safetensors(tmp_path / "shards" / name, half)
    files = PartFiles(encoders=(folder / "comfy",), tokenizer=folder / "tokenizer_2")
    wanted = picture(renderer, folder / "flux.safetensors")
    for place in (tmp_path / "one.safetensors", tmp_path / "shards"):
        with LocalRenderer("cpu", files=files) as one:
            assert np.abs(picture(one, place) - wanted).max() < 1.1 / 255


def test_what_is_missing_is_named(folder: Path) -> None:
    def fault(*encoders: Path, tokenizer: Path | None = None, file: str = "alone") -> str:
        with pytest.raises(InputError) as caught:
            loralathe.open_model(
                folder / f"{file}.safetensors", device="cpu", text_encoder=encoders, tokenizer=tokenizer
            )
        return f"{caught.value.what} | {caught.value.fix}"

    comfy, words = folder / "comfy/text_encoders", folder / "tokenizer_2"
    assert "text encoder 1 of Flux is missing" in fault(tokenizer=words)
    assert "T5 text encoder of Flux is missing" in fault(comfy / "clip_l.safetensors", tokenizer=words)
    assert "tokenizer of the T5" in fault(comfy)
    assert "tokenizer of the T5" in fault(file="flux")
    assert "no text encoder of Flux" in fault(folder / "comfy/vae/ae.safetensors", tokenizer=words)
    assert "no such file" in fault(folder / "nowhere", tokenizer=words)


def test_a_tokenizer_of_another_model(folder: Path, tmp_path: Path) -> None:
    other = write_tokenizer(tmp_path, ("<|endoftext|>",))
    files, refused = PartFiles(tokenizer=other), "another model's tokenizer"
    with LocalRenderer("cpu", files=files) as one, pytest.raises(InputError, match=refused):
        picture(one, folder / "flux.safetensors")


def test_what_flux_cannot_be_asked_for(folder: Path) -> None:
    words = folder / "tokenizer_2"
    with loralathe.open_model(folder / "flux.safetensors", device="cpu", tokenizer=words) as model:
        request = model.prepare_render(prompt="a girl", output=folder / "x.png").options.request
        assert (request.steps, request.cfg, request.sampler, request.width) == (20, 1.0, "Euler", 1024)
        for wrong in (
            {"sampler": "Euler a"}, {"sampler": "DDIM"}, {"schedule": "Karras"}, {"size": "72x64"},
            {"clip_skip": 2},
        ):  # fmt: skip
            with pytest.raises(InputError):
                model.prepare_render(prompt="a girl", output=folder / "x.png", **wrong)  # type: ignore[arg-type]


def test_grids_blocks_and_recipes(folder: Path, tmp_path: Path) -> None:
    """Through the one door, with the transformer alone: cells of a recipe are made in memory."""
    comfy, words = folder / "comfy", folder / "tokenizer_2"
    picture: Any = {"prompt": PROMPT, "seed": SEED, "steps": 1, "size": "32x32"}
    opening: Any = {"device": "cpu", "text_encoder": [comfy], "tokenizer": words}
    with loralathe.open_model(folder / "alone.safetensors", **opening) as one:
        lora = folder / "hina.safetensors"
        one.grid(lora, x="hina = 0, 0.7", output=tmp_path / "grid", scorers=["none"], **picture)
        one.blocks(lora, blocks="D00, S00-S01, OUT", output=tmp_path / "blocks", **picture)
        shown = loralathe.estimate(
            prepared := one.prepare_render(output=tmp_path / "x.png", **picture), prepared.plan()
        )
        assert shown.memory is not None
    assert len(list((tmp_path / "grid/cells").glob("*.png"))) == 2
    assert (tmp_path / "blocks/blocks.html").is_file()
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"[inputs]\nA = '{folder / 'alone.safetensors'}'\nhina = '{folder / 'hina.safetensors'}'\n"
        '[variables]\nM = 0.5\n[steps]\nmerged = "A + M*hina"\n[save]\nmerged = "merged.safetensors"\n'
    )
    with loralathe.open_recipe(recipe, **opening) as one:
        one.grid(x="M = 0, 0.7", output=tmp_path / "swept", scorers=["none"], **picture)

    def pictures_in(name: str) -> list[Path]:
        cells = json.loads((tmp_path / name / "results.json").read_text())["cells"]
        return [tmp_path / name / cell["file"] for cell in cells]

    for of_grid, of_recipe in zip(pictures_in("grid"), pictures_in("swept"), strict=True):
        both = [np.asarray(Image.open(one), dtype=int) for one in (of_grid, of_recipe)]
        assert np.abs(both[0] - both[1]).max() <= 1
