"""Every stage for a few steps, then the exported files in diffusers: must work before hours are spent."""

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import load_file
from training.captions import VOCABULARY, tokens
from training.export import LOADER_GROUPS
from training.layout import TE1, TE2, UNET, VAE
from training.models import build_unet
from training.runs import Stage, load_part
from training.text import CONTEXT, POOLED, load_text, text_config
from training.unet import Conditions, encode_prompts, generate, make_unet
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from training import decoder, export, judge, latents, lora, text, unet, vae

pytestmark = pytest.mark.slow

PROMPTS = ["hina, smiling, navy shirt, night", "pink hair, twin tails, blue eyes, serious, sky"]


def config(model):
    return {k: v for k, v in model.config.items() if not k.startswith("_")}


def round_to_fp16(folder, stage, part):
    """What is exported is exactly what the training code holds."""
    path = folder / f"{stage}.pt"
    saved = torch.load(path, weights_only=True)
    state = saved if part is None else saved["parts"][part]
    for tensor in state.values():
        tensor.copy_(tensor.half())
    torch.save(saved, path)


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        for module in (judge, vae, decoder):
            patch.setattr(module, "TRAIN_COUNT", 40)
            patch.setattr(module, "TEST_COUNT", 8)
        patch.setattr(latents, "COUNTS", {"cel": 40, "sketch": 20})
        patch.setattr(unet, "COUNTS", {"cel": 40, "sketch": 20})
        judge._train(Stage("judge", 3, folder))
        vae._train(Stage("vae", 3, folder), 16, 2, False)
        text._train(Stage("text", 3, folder))
        latents.encode_pictures(folder)
        latents.encode_captions(folder)
        decoder._train(Stage("decoder", 2, folder), 2, False)
        for base in ("a", "b"):
            unet._train(Stage(f"unet-{base}", 2, folder), base, 1e-2, 4)
        lora.train_lora(Stage("lora-hina", 3, folder), "hina", lora.Course())
    for stage, part in (
        ("unet-a", "average"),
        ("unet-b", "average"),
        ("text", "encoders"),
        ("vae-folded", None),
        ("decoder", "model"),
    ):
        round_to_fp16(folder, stage, part)
    out = folder / "out"
    export.export(folder, out)
    export.export_parts(folder, out / "parts")
    return folder, out


def pipeline_of(path):
    """As loaders build it: shapes give the widths, converters the names, every load strict."""
    checkpoint = {k: v.float() for k, v in load_file(path).items()}
    own = build_unet(unet.WIDTHS, CONTEXT, POOLED)
    net = UNet2DConditionModel(**config(own))
    part = {k: v for k, v in checkpoint.items() if k.startswith(UNET)}
    net.load_state_dict(convert_ldm_unet_checkpoint(part, config(own)), strict=True)
    widths = tuple(w * LOADER_GROUPS // vae.GROUPS for w in vae.WIDTHS)
    coder_config = config(vae.build_vae(widths, LOADER_GROUPS))
    coder = AutoencoderKL(**coder_config)
    part = {k: v for k, v in checkpoint.items() if k.startswith(VAE)}
    coder.load_state_dict(convert_ldm_vae_checkpoint(part, coder_config), strict=True)
    te1 = CLIPTextModel(text_config(64, 3, VOCABULARY, "quick_gelu"))
    prefix = "text_model." if hasattr(te1, "text_model") else ""
    te1.load_state_dict(
        {
            prefix + k[len(TE1) :]: v
            for k, v in checkpoint.items()
            if k.startswith(TE1) and "position_ids" not in k
        }
    )
    te2 = CLIPTextModelWithProjection(text_config(128, 10, VOCABULARY, "gelu"))
    te2.load_state_dict(convert_open_clip_checkpoint(te2, dict(checkpoint), prefix=TE2))
    assert checkpoint["v_pred"].shape == (0,)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        coder.eval(), te1.eval(), te2.eval(), None, None, net.eval(), scheduler, add_watermarker=False
    )


@torch.no_grad()
def encode(pipeline, prompts):
    first = pipeline.text_encoder(tokens(prompts, "te1"), output_hidden_states=True)
    second = pipeline.text_encoder_2(tokens(prompts, "te2"), output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], 2), second.text_embeds


def render(pipeline, prompts, noise):
    context, pooled = encode(pipeline, prompts)
    empty_context, empty_pooled = encode(pipeline, [""] * len(prompts))
    pipeline.set_progress_bar_config(disable=True)
    pictures = pipeline(
        prompt_embeds=context,
        pooled_prompt_embeds=pooled,
        negative_prompt_embeds=empty_context,
        negative_pooled_prompt_embeds=empty_pooled,
        num_inference_steps=4,
        guidance_scale=4.0,
        height=128,
        width=128,
        latents=noise,
        output_type="pt",
    ).images
    return pictures * 2 - 1


@pytest.mark.parametrize("base", ["a", "b"])
def test_exported_base_paints_the_same_pictures(family, base):
    folder, out = family
    encoders = load_text(folder)
    net = make_unet()
    net.load_state_dict(load_part(folder, f"unet-{base}", "average"))
    given, empty = encode_prompts(encoders, PROMPTS), encode_prompts(encoders, [""])
    ours = generate(net.eval(), latents.load_folded_vae(folder), given, empty, 5, steps=4)
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    theirs = render(pipeline_of(out / f"base-{base}.safetensors"), PROMPTS, noise)
    assert ours.std() > 0.01
    assert torch.allclose(ours, theirs, atol=1e-3)


def test_exported_lora_does_the_same_in_diffusers(family):
    pytest.importorskip("peft")
    folder, out = family
    net, encoders = make_unet(), load_text(folder)
    net.load_state_dict(load_part(folder, "unet-a", "average"))
    loras = lora.load_lora(folder, "hina", lora.LoraSet(net.eval(), encoders))
    for p in loras.factors():
        p.data.copy_(p.data.half())
    given: Conditions = encode_prompts(encoders, PROMPTS)
    empty = encode_prompts(encoders, [""])
    ours = generate(net, latents.load_folded_vae(folder), given, empty, 5, steps=4)
    pipeline = pipeline_of(out / "base-a.safetensors")
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    without = render(pipeline, PROMPTS, noise)
    pipeline.load_lora_weights(load_file(out / "hina.safetensors"))
    with_lora = render(pipeline, PROMPTS, noise)
    assert (without - with_lora).abs().max() > 1e-3
    assert torch.allclose(ours, with_lora, atol=1e-3)


def test_parts_make_up_the_whole(family):
    _, out = family
    whole = load_file(out / "base-b.safetensors")
    parts = load_file(out / "parts/shared.safetensors") | load_file(out / "parts/unet-b.safetensors")
    assert set(whole) == set(parts)
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
