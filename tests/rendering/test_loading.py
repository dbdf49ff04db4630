"""Models from one file: every tensor in its place, configurations off the shapes, marks, refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints import manifest, tiny_checkpoint, write_safetensors
from loralathe.errors import InputError
from loralathe.families import detect_checkpoint
from loralathe.families.flux2 import FLUX2
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import TELLTALE
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.families import family_of, how_drawn
from loralathe.rendering.loading import FileWeights, MemoryWeights, Model, load_vae, open_folder, open_model
from loralathe.rendering.loading.checkpoint import prediction_of
from loralathe.rendering.loading.shapes import clip_config, open_clip_config, unet_config, vae_config
from quantised import quantise

Tensors = dict[str, torch.Tensor]
CheckpointOf = Callable[[str], Tensors]
UNET = "model.diffusion_model."


def opened(tensors: Tensors, **metadata: str) -> Model:
    return open_model(MemoryWeights("m", tensors, metadata), torch.float32)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_tensor_lands_where_the_family_says(family: str, checkpoint_of: CheckpointOf) -> None:
    """Against the key maps of `families`, which know nothing of diffusers' converters."""
    tensors = checkpoint_of(family)
    model = opened(tensors)
    encoders = {encoder.reading.component: encoder.network for encoder in model.encoders}
    for name, network in {"unet": model.denoiser, "vae": model.vae, **encoders}.items():
        component = model.family.component(name)
        for path, found in network.state_dict().items():
            piece = component.piece_of_diffusers(path) or component.piece_of_diffusers(f"text_model.{path}")
            assert piece is not None, path
            expected = tensors[piece.key]
            if piece.part is not None:
                expected = expected.chunk(piece.part[1])[piece.part[0]]
            if piece.transform == "transpose":
                expected = expected.T
            assert torch.equal(found.reshape(-1), expected.reshape(-1)), path


def test_configurations_of_the_released_models() -> None:
    sd1, sd2, sdxl = (manifest(f"ckpt_{name}") for name in ("sd15", "sd21_768v", "sdxl_base"))
    config = unet_config(sd1, heads=8)
    assert config["block_out_channels"] == (320, 640, 1280, 1280)
    assert config["attention_head_dim"] == (8, 8, 8, 8)
    assert config["cross_attention_dim"] == 768
    assert config["norm_num_groups"] == 32
    assert config["down_block_types"] == (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D")
    assert not config["use_linear_projection"]
    assert unet_config(sd2, heads=None)["attention_head_dim"] == (5, 10, 20, 20)
    config = unet_config(sdxl, heads=None)
    assert config["transformer_layers_per_block"] == (1, 2, 10)
    assert config["attention_head_dim"] == (5, 10, 20)
    assert config["projection_class_embeddings_input_dim"] == 2816
    assert config["layers_per_block"] == 2
    vae = vae_config(sdxl, "first_stage_model.", scaling_factor=0.13025, side=1024)
    assert vae["block_out_channels"] == (128, 256, 512, 512)
    assert vae["layers_per_block"] == 2
    clip = clip_config(sd1, "cond_stage_model.transformer.text_model.")
    assert (clip["hidden_size"], clip["num_hidden_layers"], clip["num_attention_heads"]) == (768, 12, 12)
    big = open_clip_config(sdxl, "conditioner.embedders.1.model.")
    assert (big["hidden_size"], big["num_attention_heads"], big["projection_dim"]) == (1280, 20, 1280)


def test_full_size_configurations_fit_every_tensor() -> None:
    """The networks built from the released models' shapes have exactly the tensors of the maps."""
    from diffusers import UNet2DConditionModel

    from loralathe.rendering.loading.shapes import with_time_width

    for name, family, theirs in (
        ("ckpt_sd15", "sd1", "diffusers_unet_sd15"),
        ("ckpt_sdxl_base", "sdxl", "diffusers_unet_sdxl"),
    ):
        config = unet_config(manifest(name), heads=8 if family == "sd1" else None)
        if family == "sdxl":
            config = with_time_width(config, 1280)
        with torch.device("meta"):
            state = UNet2DConditionModel(**config).state_dict()
        assert {key: tuple(t.shape) for key, t in state.items()} == {
            key: spec.shape for key, spec in manifest(theirs).items()
        }


def predicts(tensors: Tensors, wanted: Any = None) -> str:
    weights = MemoryWeights("m", tensors, {})
    return prediction_of(detect_checkpoint(weights), weights, wanted)


def test_marks_and_overrides(checkpoint_of: CheckpointOf) -> None:
    sdxl = checkpoint_of("sdxl")
    assert predicts(sdxl) == "epsilon"
    assert predicts(sdxl, "v_prediction") == "v_prediction"
    assert predicts({**sdxl, "v_pred": torch.empty(0)}) == "v_prediction"
    with pytest.raises(InputError, match="EDM"):
        predicts({**sdxl, "edm_mean": torch.zeros(4), "edm_std": torch.ones(4)})
    marked = opened({**sdxl, "v_pred": torch.empty(0), "ztsnr": torch.empty(0)})
    assert (marked.prediction, marked.zero_terminal_snr) == ("v_prediction", True)


@pytest.mark.parametrize(("spread", "expected"), [(0.02, "epsilon"), (0.2, "v_prediction")])
def test_sd2_is_told_by_the_spread_of_a_bias(
    checkpoint_of: CheckpointOf, spread: float, expected: str
) -> None:
    tensors = dict(checkpoint_of("sd2"))
    bias = tensors[TELLTALE]
    tensors[TELLTALE] = (bias - bias.mean()) / bias.std(correction=0) * spread
    assert predicts(tensors) == expected


def test_position_ids_and_old_names_do_not_matter(checkpoint_of: CheckpointOf) -> None:
    tensors = checkpoint_of("sd1")
    whole = opened(tensors).encoders[0].network.state_dict()
    root = "cond_stage_model.transformer."
    old = {
        key.replace(root + "text_model.", root): tensor
        for key, tensor in tensors.items()
        if not key.endswith("position_ids")
    }
    found = opened(old).encoders[0].network.state_dict()
    assert whole.keys() == found.keys()
    assert all(torch.equal(whole[key], found[key]) for key in whole)


def test_a_file_and_memory_are_one(checkpoint_of: CheckpointOf, tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "m.safetensors", checkpoint_of("sd1"))
    with FileWeights(path) as weights:
        from_file = open_model(weights, torch.float32)
    from_memory = opened(checkpoint_of("sd1"))
    ours, theirs = from_file.denoiser.state_dict(), from_memory.denoiser.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_diffusers_folder(checkpoint_of: CheckpointOf, tmp_path: Path) -> None:
    from diffusers import DDIMScheduler

    model = opened(checkpoint_of("sdxl"))
    model.denoiser.save_pretrained(tmp_path / "unet")
    model.vae.save_pretrained(tmp_path / "vae")
    for folder, encoder in zip(("text_encoder", "text_encoder_2"), model.encoders, strict=True):
        encoder.network.save_pretrained(tmp_path / folder)
    DDIMScheduler(prediction_type="v_prediction").save_pretrained(tmp_path / "scheduler")
    again = open_folder(tmp_path, torch.float32)
    assert (again.family.id, again.prediction) == ("sdxl", "v_prediction")
    assert set(again.modules) == set(model.modules)
    for ours, theirs in (
        (again.denoiser, model.denoiser),
        (again.encoders[1].network, model.encoders[1].network),
    ):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    with pytest.raises(InputError, match="not a diffusers model"):
        open_folder(tmp_path / "vae", torch.float32)


@pytest.mark.parametrize("prefix", ["first_stage_model.", ""])
def test_a_vae_of_its_own(checkpoint_of: CheckpointOf, tmp_path: Path, prefix: str) -> None:
    tensors = checkpoint_of("sd1")
    root = "first_stage_model."
    alone = {prefix + k.removeprefix(root): t for k, t in tensors.items() if k.startswith(root)}
    path = write_safetensors(tmp_path / "vae.safetensors", alone)
    with FileWeights(path) as weights:
        vae = load_vae(weights, SD1.pictures, torch.float32)
    assert vae.config.scaling_factor == 0.18215
    expected = opened(tensors).vae.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in vae.state_dict().items())
    names = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
    mixed = {
        re.sub(r"(attn_1)\.(q|k|v|proj_out)\.", lambda m: f"{m[1]}.{names[m[2]]}.", k): t
        for k, t in alone.items()
    }
    assert mixed.keys() != alone.keys()
    for other in (vae.state_dict(), mixed):
        path = write_safetensors(tmp_path / "d.safetensors", other)
        with FileWeights(path) as weights:
            again = load_vae(weights, SD1.pictures, torch.float32)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in again.state_dict().items())


def message(tensors: Tensors) -> str:
    with pytest.raises(InputError) as error:
        opened(tensors)
    return str(error.value)


def test_what_cannot_be_rendered_is_refused(checkpoint_of: CheckpointOf) -> None:
    sd1 = checkpoint_of("sd1")
    conv_in = UNET + "input_blocks.0.0.weight"
    wide = {**sd1, conv_in: torch.zeros(sd1[conv_in].shape[0], 9, 3, 3)}
    assert "inpainting" in message(wide)
    assert "no text encoder" in message({k: t for k, t in sd1.items() if not k.startswith("cond_stage")})
    bias = UNET + "input_blocks.5.0.emb_layers.1.bias"
    assert bias in message({k: t for k, t in sd1.items() if k != bias})
    assert "size mismatch" in message({**sd1, bias: torch.zeros(3)})
    assert "time_emb_proj" in message({**sd1, bias: torch.zeros(3)})


def test_a_checkpoint_without_vae_needs_one(checkpoint_of: CheckpointOf, tmp_path: Path) -> None:
    sd1 = checkpoint_of("sd1")
    bare = {k: t for k, t in sd1.items() if not k.startswith("first_stage_model.")}
    request = ImageRequest("bare", steps=1, width=64, height=64)
    shown = []
    with LocalRenderer(weights={"bare": bare, "sd1": sd1}) as renderer:
        with pytest.raises(InputError, match="no VAE"):
            renderer.render([request], lambda index, image: None)
        with_vae = ImageRequest("bare", "sd1", steps=1, width=64, height=64)
        renderer.render([with_vae], lambda index, image: shown.append(image))
    assert shown[0].size == (64, 64)


def test_a_family_that_is_not_rendered(tmp_path: Path) -> None:
    """Its files are worked on, pictures are made elsewhere: said before anything is loaded."""
    tensors = tiny_checkpoint("chroma", seed=1)
    path = str(write_safetensors(tmp_path / "chroma.safetensors", tensors))
    refused = "models cannot be rendered here; SD 1.5, SD 2, SDXL"
    with pytest.raises(InputError, match=refused) as caught:
        family_of(Path(path))
    assert caught.value.where == path
    with pytest.raises(InputError, match=refused):
        opened(tensors)
    with pytest.raises(
        InputError, match=r"Flux\.2 dev models cannot be rendered here: its prompts are read by"
    ):
        how_drawn(FLUX2, path)
    folder = tmp_path / "folder"
    (folder / "transformer").mkdir(parents=True)
    (folder / "transformer" / "config.json").write_text('{"_class_name": "LuminaTransformer2DModel"}')
    with pytest.raises(InputError, match="Lumina models cannot be rendered here"):
        family_of(folder)
    with pytest.raises(InputError, match="Lumina models cannot be rendered here"):
        open_folder(folder, torch.float32)


@pytest.mark.long
def test_a_quantised_file_is_what_it_stands_for(checkpoint_of: CheckpointOf, tmp_path: Path) -> None:
    tensors = checkpoint_of("sd1")
    path, exact = quantise(tmp_path, "old fp8", tensors)
    plain = {key: torch.from_numpy(exact[key]).float() if key in exact else t for key, t in tensors.items()}
    with FileWeights(path) as weights:
        model = open_model(weights, torch.float32)
    expected = opened(plain)
    for name in ("denoiser", "vae"):
        for key, value in getattr(expected, name).state_dict().items():
            torch.testing.assert_close(getattr(model, name).state_dict()[key], value, rtol=1e-6, atol=0)
