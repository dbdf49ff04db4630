"""Exported tensors against real key lists, and against the loaders' own converters."""

import gzip
import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from training.captions import VOCABULARY, tokens, used_ids
from training.export import base_tensors, full_table, lora_tensors, text_tensors, widen_vae
from training.latents import encode, fold_whitening
from training.layout import TE1, TE2, UNET, VAE, unet_tensors, vae_tensors
from training.lora import RANK, LoraSet
from training.models import SCALING, build_vae, upsample_by_repeating
from training.text import TextEncoders, text_config
from training.unet import Average, make_unet
from training.vae import GROUPS, WIDTHS
from transformers import CLIPTextModel, CLIPTextModelWithProjection

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"


def manifest(name):
    return json.loads(gzip.decompress((MANIFESTS / name).read_bytes()))


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return make_unet().eval(), TextEncoders().eval(), build_vae(WIDTHS, GROUPS).eval()


@pytest.fixture(scope="module")
def checkpoint(networks):
    unet, encoders, vae = networks
    wide = widen_vae(vae)
    return (
        unet_tensors(unet.state_dict())
        | text_tensors(encoders.te1, encoders.te2)
        | vae_tensors(wide.state_dict())
    )


def test_every_key_is_one_of_sdxls_with_as_many_dimensions(checkpoint):
    real = manifest("ckpt_sdxl_base.json.gz")
    assert set(checkpoint) <= set(real)
    for key, tensor in checkpoint.items():
        assert tensor.ndim == len(real[key]["shape"]), key


def test_only_depth_is_missing(checkpoint):
    """Fewer transformer and text layers and one residual layer less per VAE level, nothing else."""
    deeper = re.compile(
        r"transformer_blocks\.[1-9]|embedders\.0.*layers\.([3-9]|1[01])\.|resblocks\.([12]\d|3[01])\."
        r"|encoder\.down\.\d\.block\.1|decoder\.up\.\d\.block\.2"
    )
    missing = set(manifest("ckpt_sdxl_base.json.gz")) - set(checkpoint)
    # Two levels of equal width need no shortcut between them.
    assert {
        k for k in missing if not deeper.search(k) and not re.search("nin_shortcut|7.0.skip_connection", k)
    } == set()


def test_unet_loads_strictly_and_computes_the_same(networks, checkpoint):
    unet, _, _ = networks
    config = dict(unet.config)
    loaded = UNet2DConditionModel(**{k: v for k, v in config.items() if not k.startswith("_")}).eval()
    part = {k: v for k, v in checkpoint.items() if k.startswith(UNET)}
    loaded.load_state_dict(convert_ldm_unet_checkpoint(part, config), strict=True)
    z, t, context = torch.randn(2, 4, 16, 16), torch.tensor([3, 900]), torch.randn(2, 77, 192)
    added = {"text_embeds": torch.randn(2, 128), "time_ids": torch.full((2, 6), 128.0)}
    with torch.no_grad():
        assert torch.equal(
            unet(z, t, context, added_cond_kwargs=added).sample,
            loaded(z, t, context, added_cond_kwargs=added).sample,
        )


def test_vae_loads_strictly_with_32_groups_and_computes_the_same(networks, checkpoint):
    _, _, vae = networks
    factor = 32 // GROUPS
    config = {k: v for k, v in vae.config.items() if not k.startswith("_")}
    config |= {"norm_num_groups": 32, "block_out_channels": tuple(factor * w for w in WIDTHS)}
    loaded = AutoencoderKL(**config).eval()
    part = {k: v for k, v in checkpoint.items() if k.startswith(VAE)}
    loaded.load_state_dict(convert_ldm_vae_checkpoint(part, config), strict=True)
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        posterior, expected = loaded.encode(images).latent_dist, vae.encode(images).latent_dist
        assert torch.allclose(posterior.mean, expected.mean, atol=2e-5)
        assert torch.allclose(posterior.logvar, expected.logvar, atol=2e-5)
        assert torch.allclose(
            loaded.decode(expected.mean).sample, vae.decode(expected.mean).sample, atol=2e-5
        )


def test_text_encoders_load_strictly_and_compute_the_same(networks, checkpoint):
    _, encoders, _ = networks
    te1 = CLIPTextModel(text_config(64, 3, VOCABULARY, "quick_gelu")).eval()
    part = {k[len(TE1) :]: v for k, v in checkpoint.items() if k.startswith(TE1)}
    part.pop("embeddings.position_ids")
    prefix = "text_model." if hasattr(te1, "text_model") else ""
    te1.load_state_dict({prefix + k: v for k, v in part.items()}, strict=True)
    te2 = CLIPTextModelWithProjection(text_config(128, 10, VOCABULARY, "gelu")).eval()
    te2.load_state_dict(convert_open_clip_checkpoint(te2, dict(checkpoint), prefix=TE2), strict=True)
    prompts = ["pink hair, twin tails, glasses", ""]
    with torch.no_grad():
        expected = encoders(prompts)
        first = te1(tokens(prompts, "te1"), output_hidden_states=True)
        second = te2(tokens(prompts, "te2"), output_hidden_states=True)
    context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], 2)
    assert torch.allclose(context, expected.context, atol=1e-6)
    assert torch.allclose(second.text_embeds, expected.pooled, atol=1e-6)


def test_untrained_words_mean_nothing():
    rows = torch.randn(len(used_ids()), 8)
    table = full_table(rows)
    unused = sorted(set(range(VOCABULARY)) - set(used_ids()))
    assert table[list(used_ids())].equal(rows)
    assert (table[unused] == table[unused[0]]).all()


def test_folding_the_whitening_changes_latents_and_no_picture():
    torch.manual_seed(1)
    vae = build_vae(WIDTHS, GROUPS).eval()
    images = torch.rand(24, 3, 32, 32) * 2 - 1
    raw = encode(vae, images)
    with torch.no_grad():
        before = vae.decode(raw).sample
        flat = raw.transpose(0, 1).flatten(1)
        fold_whitening(vae, flat.mean(1), torch.cov(flat))
        white = encode(vae, images)
        assert torch.allclose(vae.decode(white).sample, before, atol=1e-4)
    scaled = (white * SCALING).transpose(0, 1).flatten(1)
    assert scaled.mean(1).abs().max() < 1e-4
    assert torch.allclose(torch.cov(scaled), torch.eye(4), atol=1e-3)


def test_upsampling_by_repeating_is_the_same_function():
    vae = build_vae(WIDTHS, GROUPS).eval()
    z = torch.randn(1, 4, 4, 4)
    with torch.no_grad():
        before = vae.decode(z).sample
        upsample_by_repeating(vae)
        assert torch.equal(vae.decode(z).sample, before)


def test_lora_has_sd_scripts_names_and_one_alpha(networks):
    loras = LoraSet(make_unet(), TextEncoders())
    tensors = lora_tensors(loras.factor_state())
    real = manifest("lora_kohya_sdxl_linear.json.gz")
    assert set(tensors) <= set(real)
    assert {t.item() for k, t in tensors.items() if k.endswith(".alpha")} == {RANK}
    assert {t.shape[0] for k, t in tensors.items() if k.endswith("lora_down.weight")} == {RANK}
    # every layer a trainer would take: all names of the real list up to our depth
    ours = {k.partition(".")[0] for k in tensors}
    deeper = re.compile(r"transformer_blocks_[1-9]|te1_.*layers_([3-9]|1[01])_|te2_.*layers_([12]\d|3[01])_")
    assert {k.partition(".")[0] for k in real if not deeper.search(k)} == ours


def test_lora_adds_its_difference_and_strength_zero_is_nothing():
    torch.manual_seed(2)
    unet, encoders = make_unet(), TextEncoders()
    plain = encoders(["hina, smiling"]).pooled
    loras = LoraSet(unet, encoders)
    assert torch.equal(encoders(["hina, smiling"]).pooled, plain), "up starts at zero"
    name, layer = next(iter(loras.lora_layers()))
    torch.nn.init.normal_(layer.up.weight)
    x = torch.randn(3, layer.base.in_features)
    loras.set_strength(0.5)
    weight = layer.base.weight + 0.5 * layer.up.weight @ layer.down.weight
    assert name.startswith("unet.")
    assert torch.allclose(
        layer(x), x @ weight.T + (0 if layer.base.bias is None else layer.base.bias), atol=1e-5
    )
    loras.set_strength(0.0)
    assert torch.equal(layer(x), layer.base(x))
    assert sum(p.numel() for p in loras.factors()) == sum(t.numel() for t in loras.factor_state().values())


def test_a_base_has_its_mark(tmp_path, networks):
    unet = networks[0]
    torch.save({"step": 1, "parts": {"average": Average(unet, 0.9).state_dict()}}, tmp_path / "unet-a.pt")
    assert base_tensors(tmp_path, "a")["v_pred"].shape == (0,)
