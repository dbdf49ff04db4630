"""Adapters at run time against the same deltas merged into the weights with plain arithmetic."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from adapters import changes as weight_changes
from checkpoints import raw_manifest, write_safetensors
from loralathe.errors import InputError
from loralathe.rendering import ImageRequest, LocalRenderer, Presets
from loralathe.strengths import AdapterUse

Tensors = dict[str, torch.Tensor]
UNET = "model.diffusion_model."
BASE = ImageRequest(
    "sd1", prompt="a portrait, (blue:1.2) hair", negative="bad", seed=3, steps=2, cfg=3.0, sampler="Euler",
    width=64, height=64,
)  # fmt: skip


def pictures(renderer: LocalRenderer, requests: Sequence[ImageRequest]) -> list[np.ndarray[Any, Any]]:
    found: dict[int, np.ndarray[Any, Any]] = {}
    renderer.render(requests, lambda index, image: found.update({index: np.asarray(image).astype(int)}))
    assert len(found) == len(requests)
    return [found[index] for index in range(len(requests))]


def latents(renderer: LocalRenderer, requests: Sequence[ImageRequest]) -> torch.Tensor:
    """The latents behind the pictures of requests that share a batch: finer than 8-bit levels."""
    from loralathe.rendering.latents import LatentRenderer
    from loralathe.rendering.prepare import prepare

    first = requests[0]
    with torch.inference_mode():
        latent_renderer = LatentRenderer(
            renderer._models.get(first.checkpoint, first.vae), renderer._settings
        )
        return latent_renderer.latents([prepare(i, r, renderer._folders) for i, r in enumerate(requests)])


# A merge by hand: names and blocks from the manifests, float64 arithmetic.


def targets(name: str) -> dict[str, tuple[str, int | None]]:
    """kohya module → (checkpoint key, third of a fused projection or None)."""
    from loralathe.families import family_by_id

    manifest = raw_manifest("ckpt_sd15" if name == "sd1" else "ckpt_sdxl_base")
    family = family_by_id(name)
    found = {}
    for module in family.modules(manifest).values():
        if module.component != "vae":
            third = module.part[0] if module.part else None
            found[family.kohya_name(module.name)] = (module.key, third)
    return found


def dense(lora: Tensors, name: str) -> torch.Tensor:
    up, down = lora[f"{name}.lora_up.weight"].double(), lora[f"{name}.lora_down.weight"].double()
    alpha = lora.get(f"{name}.alpha")
    scale = 1.0 if alpha is None else alpha.item() / down.shape[0]
    mid = lora.get(f"{name}.lora_mid.weight")
    if mid is not None:
        return scale * torch.einsum("or,rskl,si->oikl", up.flatten(1), mid.double(), down.flatten(1))
    return scale * (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def merged(base: Tensors, lora: Tensors, family: str, strength: Callable[[str], float]) -> Tensors:
    where = targets(family)
    found = {key: tensor.clone() for key, tensor in base.items()}
    used = 0
    for name in {key.split(".")[0] for key in lora}:
        key, third = where[name]
        delta = strength(name) * dense(lora, name)
        weight = found[key].double()
        if third is None:
            weight = weight + delta.reshape(weight.shape)
        else:
            rows = weight.shape[0] // 3
            weight[third * rows : (third + 1) * rows] += delta
        found[key] = weight.float()
        used += 1
    assert used == len({key.split(".")[0] for key in lora})
    return found


def by_block(family_id: str, te: float, unet: float, weights: Mapping[str, float]) -> Callable[[str], float]:
    number = re.compile(r"(input|output)_blocks_(\d+)_|middle_block_")
    from loralathe.families import family_by_id

    family = family_by_id(family_id)

    def strength(name: str) -> float:
        if name.startswith("lora_te"):
            return te * weights.get("BASE", 1.0)
        canonical = (family.module_of_kohya(name) or "").replace(".", "_")
        match = number.search(canonical)
        block = ""
        if match:
            block = f"{'IN' if match[1] == 'input' else 'OUT'}{int(match[2]):02d}" if match[1] else "MID"
        return unet * weights.get(block, 1.0)

    return strength


LISTS = {
    "sd1": (
        "0.5,1,0,0.3,0.5,1,0.3,0.3,1,1,0,1,-0.5,1,2,1,0",
        "BASE IN01 IN02 IN04 IN05 IN07 IN08 MID OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
    ),
    "sdxl": (
        "0.5,1,0,0.3,0.5,1,0.3,0.3,1,-1,0,1",
        "BASE IN04 IN05 IN07 IN08 MID OUT00 OUT01 OUT02 OUT03 OUT04 OUT05",
    ),
}


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("sd1", "linear"),
        ("sd1", "tucker"),
        pytest.param("sd1", "conv", marks=pytest.mark.slow),
        ("sdxl", "linear"),
        ("sdxl", "conv"),
        pytest.param("sdxl", "tucker", marks=pytest.mark.slow),
    ],
)
def test_a_tag_equals_the_merged_checkpoint(
    family: str, kind: str, checkpoint_of: Callable[[str], Tensors], lora_folder: Path, studio: LocalRenderer
) -> None:
    base = checkpoint_of(family)
    lora = load_file(lora_folder / f"{family}-{kind}.safetensors")
    values, names = LISTS[family]
    weights = dict(zip(names.split(), map(float, values.split(",")), strict=True))
    if kind == "linear":
        tag = f"<lora:{family}-{kind}:0.4:0.7:lbw={values}>"
    else:  # convolutions lie in blocks that the short list lacks
        tag = f"<lora:{family}-{kind}:te=0.4:unet=0.7:lbw=IN01=0.5,IN03=-1,MID=0.3,OUT05=0,OUT02=2,BASE=0.5>"
        weights = {"IN01": 0.5, "IN03": -1, "MID": 0.3, "OUT05": 0, "OUT02": 2, "BASE": 0.5}
    whole = merged(base, lora, family, by_block(family, 0.4, 0.7, weights))
    request = replace(BASE, checkpoint=family)
    ours = latents(studio, [replace(request, prompt=f"{BASE.prompt} {tag}")])
    plain = latents(studio, [request])
    with LocalRenderer(weights={"merged": whole}) as renderer:
        theirs = latents(renderer, [replace(BASE, checkpoint="merged", prompt=f"{BASE.prompt} ")])
    assert (plain - theirs).abs().max() > 0.05
    assert (ours - theirs).abs().max() <= 1e-3


def in_other_kinds(lora: Tensors) -> Tensors:
    """The same deltas, each as a whole difference, a LoKr or a LoHa, in turn; one side of a LoHa is ones."""
    found: Tensors = {}
    for i, name in enumerate(sorted({key.split(".")[0] for key in lora})):
        delta = dense(lora, name).float()
        flat = delta.flatten(1)
        ones = torch.ones(flat.shape[0], 1), torch.ones(1, flat.shape[1])
        kinds: tuple[Tensors, ...] = (
            {"diff": delta},
            {"lokr_w1": torch.tensor([[-2.0]]), "lokr_w2": delta / -2},
            {
                "hada_w1_a": flat, "hada_w1_b": torch.eye(flat.shape[1]),
                "hada_w2_a": ones[0], "hada_w2_b": ones[1], "alpha": torch.tensor(float(flat.shape[1])),
            },
        )  # fmt: skip
        found |= {f"{name}.{part}": tensor for part, tensor in kinds[i % 3].items()}
    return found


def test_other_kinds_of_adapter_act_as_the_same_lora(
    lora_folder: Path, checkpoint_of: Callable[[str], Tensors], tmp_path: Path
) -> None:
    lora = load_file(lora_folder / "sd1-conv.safetensors")
    write_safetensors(tmp_path / "kinds.safetensors", in_other_kinds(lora))
    with LocalRenderer(weights={"sd1": checkpoint_of("sd1")}, lora_dirs=[lora_folder, tmp_path]) as renderer:
        plain, wanted, found = latents(
            renderer,
            [
                BASE,
                *(replace(BASE, adapters=(AdapterUse(name, 0.5, 0.8),)) for name in ("sd1-conv", "kinds")),
            ],
        )
    assert (plain - wanted).abs().max() > 0.05
    assert (found - wanted).abs().max() <= 1e-3


def on_weights(base: Tensors, lora: Tensors) -> tuple[Tensors, Tensors]:
    """A file of kinds that depend on the weights, in turn for each layer, and the changes that they make."""
    where, file, changes = targets("sd1"), {}, {}
    kinds = ("dora", "oft", "glora", "ia3", "boft")
    for number, name in enumerate(sorted({key.split(".")[0] for key in lora})):
        key, third = where[name]
        weight = base[key].double().numpy()
        if third is not None:
            weight = np.split(weight, 3)[third]
        draw = torch.Generator().manual_seed(number)
        out, size, flat = len(weight), 4, weight.reshape(len(weight), -1)
        kind = kinds[number % 5]
        if kind == "dora":
            parts = {part: lora[f"{name}.{part}"] for part in ("lora_up.weight", "lora_down.weight")}
            parts["dora_scale"] = 1 + torch.rand(out, 1, generator=draw)
            total = flat + parts["lora_up.weight"].double().flatten(1).numpy() @ (
                parts["lora_down.weight"].double().flatten(1).numpy()
            )
            lengths = parts["dora_scale"].double().numpy() / np.linalg.norm(total, axis=1, keepdims=True)
            change = total * lengths - flat
        elif kind == "oft":
            parts = {"oft_blocks": 0.2 * torch.randn(out // size, size, size, generator=draw)}
            change = weight_changes.oft(weight, as_arrays(parts))
        elif kind == "boft":
            stages = 1 + (out // size + 1) % 2
            parts = {"oft_blocks": 0.2 * torch.randn(stages, out // size, size, size, generator=draw)}
            change = weight_changes.boft(weight, as_arrays(parts))
        elif kind == "ia3":
            parts = {"weight": 0.3 * torch.randn(out, generator=draw), "on_input": torch.tensor(0)}
            change = weight_changes.ia3(weight, as_arrays(parts))
        else:
            inputs, kernel = weight.shape[1], weight.shape[2:]
            shapes = {"a1": (inputs, 2), "a2": (2, inputs), "b1": (out, 2), "b2": (2, inputs, *kernel)}
            parts = {
                f"{part}.weight": 0.2 * torch.randn(shape, generator=draw) for part, shape in shapes.items()
            }
            change = weight_changes.glora(weight, as_arrays(parts), 2.0)
        file |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
        changes[name] = torch.from_numpy(np.ascontiguousarray(change.reshape(weight.shape)))
    return file, changes


def as_arrays(parts: Tensors) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.double().numpy() for name, tensor in parts.items()}


@pytest.mark.long
def test_kinds_that_depend_on_the_weights_act_as_if_they_were_merged(
    lora_folder: Path, checkpoint_of: Callable[[str], Tensors], tmp_path: Path
) -> None:
    """DoRA, OFT, BOFT, GLoRA and (IA)³ in a batch whose rows want different strengths: each is linear."""
    base, where = checkpoint_of("sd1"), targets("sd1")
    file, changes = on_weights(base, load_file(lora_folder / "sd1-conv.safetensors"))
    write_safetensors(tmp_path / "kinds.safetensors", file)
    uses = [(AdapterUse("kinds", te, unet),) for te, unet in ((0.0, 0.4), (0.5, 0.8), (-0.3, -0.5))]
    with LocalRenderer(weights={"sd1": base}, lora_dirs=[tmp_path]) as renderer:
        plain, *found = latents(renderer, [BASE, *(replace(BASE, adapters=use) for use in uses)])
    for ours, ((use,)) in zip(found, uses, strict=True):
        whole = {key: tensor.double() for key, tensor in base.items()}
        for name, change in changes.items():
            (key, third), strength = where[name], use.te if name.startswith("lora_te") else use.unet
            rows = slice(None) if third is None else slice(third * len(change), (third + 1) * len(change))
            whole[key] = whole[key].clone()
            whole[key][rows] += strength * change
        merged = {key: tensor.to(base[key].dtype) for key, tensor in whole.items()}
        with LocalRenderer(weights={"merged": merged}) as renderer:
            (theirs,) = latents(renderer, [replace(BASE, checkpoint="merged")])
        assert (ours - theirs).abs().max() <= 2e-3
        assert (ours - plain).abs().max() > 0.05


VECTORS = {
    # part of a file → key of the checkpoint
    "lora_unet_down_blocks_0_resnets_0_norm1.w_norm": f"{UNET}input_blocks.1.0.in_layers.0.weight",
    "lora_unet_down_blocks_0_resnets_0_norm1.b_norm": f"{UNET}input_blocks.1.0.in_layers.0.bias",
    "lora_unet_down_blocks_0_resnets_0_conv1.diff_b": f"{UNET}input_blocks.1.0.in_layers.2.bias",
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_norm1.w_norm":
        f"{UNET}input_blocks.1.1.transformer_blocks.0.norm1.weight",
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_ff_net_2.diff_b":
        f"{UNET}input_blocks.1.1.transformer_blocks.0.ff.net.2.bias",
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.diff_b":
        "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.q_proj.bias",
    "lora_te_text_model_final_layer_norm.w_norm":
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
}  # fmt: skip


def test_norms_and_biases_act_as_if_they_were_merged(
    checkpoint_of: Callable[[str], Tensors], tmp_path: Path
) -> None:
    """In a batch whose rows want different strengths."""
    base = checkpoint_of("sd1")
    changes = {
        part: torch.randn(len(base[key]), generator=torch.Generator().manual_seed(i))
        for i, (part, key) in enumerate(VECTORS.items())
    }
    write_safetensors(tmp_path / "vectors.safetensors", changes)
    strengths = (0.0, 0.5, -0.7)
    with LocalRenderer(weights={"sd1": base}, lora_dirs=[tmp_path]) as renderer:
        uses = [(AdapterUse("vectors", 0.3 * strength, strength),) for strength in strengths]
        ours = latents(renderer, [replace(BASE, adapters=use) for use in uses])
    for strength, found in zip(strengths, ours, strict=True):
        whole = dict(base)
        for part, key in VECTORS.items():
            factor = 0.3 * strength if part.startswith("lora_te") else strength
            whole[key] = base[key] + factor * changes[part]
        with LocalRenderer(weights={"merged": whole}) as renderer:
            (theirs,) = latents(renderer, [replace(BASE, checkpoint="merged")])
        assert (found - theirs).abs().max() <= 1e-3
    assert (ours[1] - ours[0]).abs().max() > 0.02


@pytest.mark.parametrize(
    ("family", "sampler"),
    [
        pytest.param("sd1", "Euler a", marks=pytest.mark.slow),
        ("sd1", "DPM++ SDE"),
        ("sdxl", "DPM++ 2M SDE"),
    ],
)
def test_a_mixed_batch_equals_one_at_a_time(family: str, sampler: str, studio: LocalRenderer) -> None:
    use = AdapterUse(f"{family}-linear", 0.5, 0.7)
    other = AdapterUse(f"{family}-other", 0.3, -0.4, blocks="MIDD")
    base = replace(BASE, checkpoint=family, sampler=sampler)
    requests = [
        base,
        replace(base, adapters=(use,)),
        replace(base, adapters=(replace(use, te=0.0, unet=-1.0), other), seed=4),
        replace(base, prompt=f"[a|b] <lora:{family}-linear:0.4:start=1>", cfg=6.0),
        replace(base, prompt="word " * 90, adapters=(replace(use, stop=1),)),
        replace(base, prompt="a cat :0.7 AND a dog", adapters=(other,)),
    ]
    together = latents(studio, requests)
    alone = torch.cat([latents(studio, [request]) for request in requests])
    assert (together - alone).abs().max() < 2e-5 * alone.abs().max()
    assert (alone[0] - alone[1]).abs().max() > 0.01


def test_pictures_do_not_depend_on_the_batch_size(
    checkpoint_of: Callable[[str], Tensors], lora_folder: Path
) -> None:
    requests = [
        replace(BASE, seed=seed, adapters=(AdapterUse("sd1-conv", strength, strength),))
        for seed, strength in [(0, 0.0), (1, 1.0), (2, -0.5)]
    ]
    requests.append(replace(BASE, width=72))
    shown = []
    for size in (1, 2):
        with LocalRenderer(
            weights={"sd1": checkpoint_of("sd1")}, lora_dirs=[lora_folder], batch_size=size
        ) as renderer:
            shown.append(pictures(renderer, requests))
    for one, other in zip(*shown, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 1


def test_weights_are_never_altered(checkpoint_of: Callable[[str], Tensors], lora_folder: Path) -> None:
    base = checkpoint_of("sd1")
    before = {key: tensor.clone() for key, tensor in base.items()}
    with LocalRenderer(weights={"sd1": base}, lora_dirs=[lora_folder]) as renderer:
        first = pictures(renderer, [BASE])
        pictures(renderer, [replace(BASE, adapters=(AdapterUse("sd1-tucker"),))])
        assert np.array_equal(pictures(renderer, [BASE])[0], first[0])
    assert all(torch.equal(before[key], base[key]) for key in before)


def test_steps_of_an_adapter(studio: LocalRenderer) -> None:
    """stop=1 acts on exactly one step; an adapter before and another after are one that always acts."""
    use = AdapterUse("sd1-linear", te=0.0)
    plain, always, one, rest, both, none = latents(
        studio,
        [
            replace(BASE, adapters=uses)
            for uses in (
                (),
                (use,),
                (replace(use, stop=1),),
                (replace(use, start=1),),
                (replace(use, stop=1), replace(use, start=1)),
                (replace(use, stop=0), replace(use, start=2)),
            )
        ],
    )
    assert torch.allclose(both, always, atol=1e-5)
    assert torch.allclose(none, plain, atol=1e-5)
    for part in (one, rest):
        assert (part - plain).abs().max() > 1e-3
        assert (part - always).abs().max() > 1e-3


def test_strengths_of_one_adapter_named_twice_add_up(studio: LocalRenderer) -> None:
    def use(strength: float) -> AdapterUse:
        return AdapterUse("sd1-linear", strength, strength)

    twice, once = latents(
        studio, [replace(BASE, adapters=(use(0.25), use(0.5))), replace(BASE, adapters=(use(0.75),))]
    )
    assert torch.allclose(twice, once, atol=1e-5)


def test_modules_at_zero_cost_nothing(studio: LocalRenderer, lora_folder: Path, tmp_path: Path) -> None:
    from loralathe.rendering.latents import LatentRenderer
    from loralathe.rendering.prepare import prepare

    fresh = shutil.copy(lora_folder / "sd1-linear.safetensors", tmp_path)
    use = AdapterUse(str(fresh), te=0.0, unet=1.0, blocks="IN01=1,*=0")
    opened = studio._models.get("sd1", None)
    latent_renderer = LatentRenderer(opened, studio._settings)
    one = prepare(0, replace(BASE, adapters=(use,)), studio._folders)
    (share,) = latent_renderer.shares(one)
    assert not share.te
    assert len(share.unet) == 12  # the attention layers of one block
    latent_renderer.latents([one])
    assert set(share.adapter._factors) == set(share.unet)


def test_random_block_weights_belong_to_the_image(
    checkpoint_of: Callable[[str], Tensors], lora_folder: Path
) -> None:
    presets = Presets(blocks={"RANDOM": ",".join(["R"] * 17), "INHERIT": ",".join(["X"] * 17)})
    use = AdapterUse("sd1-linear", blocks="RANDOM")
    with LocalRenderer(
        weights={"sd1": checkpoint_of("sd1")}, lora_dirs=[lora_folder], presets=presets
    ) as renderer:
        one, again = latents(renderer, [replace(BASE, adapters=(use,))] * 2)
        assert torch.equal(one, again)
        inherited = replace(BASE, adapters=(AdapterUse("sd1-linear", blocks="INHERIT", x=0.5),))
        plain = replace(BASE, adapters=(AdapterUse("sd1-linear", 0.5, 0.5),))
        a, b = latents(renderer, [inherited, plain])
        assert torch.allclose(a, b, atol=1e-5)
        assert (a - one).abs().max() > 1e-3


def refused(renderer: LocalRenderer, *uses: AdapterUse, prompt: str = "x") -> str:
    with pytest.raises(InputError) as error:
        renderer.render([BASE, replace(BASE, prompt=prompt, adapters=uses)], lambda index, image: None)
    return str(error.value)


def test_what_does_not_fit_is_refused_before_the_first_step(
    checkpoint_of: Callable[[str], Tensors], lora_folder: Path, tmp_path: Path
) -> None:
    parts = ("lambda_layer", "p_layer.weight", "q_layer.weight")
    tlora = {f"lora_unet_mid_block_attentions_0_proj_in.{part}": torch.zeros(4, 4) for part in parts}
    write_safetensors(tmp_path / "tlora.safetensors", tlora)
    with LocalRenderer(weights={"sd1": checkpoint_of("sd1")}, lora_dirs=[lora_folder, tmp_path]) as renderer:
        assert "did you mean 'sd1-linear'" in refused(renderer, prompt="<lora:sd1-linaer:1>")
        assert "T-LoRA" in refused(renderer, AdapterUse("tlora"))
        assert "SD 1.5" in refused(renderer, AdapterUse("sdxl-linear"))
        assert "lacks" in refused(renderer, AdapterUse("sd1-conv", blocks=LISTS["sd1"][0]))
        assert "did you mean 'OUTALL'" in refused(renderer, AdapterUse("sd1-conv", blocks="OUTAL"))


def test_what_has_strength_0_needs_no_layer(
    checkpoint_of: Callable[[str], Tensors], lora_folder: Path, tmp_path: Path
) -> None:
    """Encoder layers that the model lacks, and encoder layers of another width."""
    lora = load_file(lora_folder / "sd1-linear.safetensors")
    deeper, wider = (f"lora_te_text_model_encoder_layers_{n}_mlp_fc1" for n in (30, 0))
    odd = {f"{deeper}.lora_up.weight": torch.ones(8, 2), f"{deeper}.lora_down.weight": torch.ones(2, 8)}
    odd |= {f"{wider}.lora_up.weight": torch.ones(8, 2), f"{wider}.lora_down.weight": torch.ones(2, 8)}
    odd |= {key: tensor for key, tensor in lora.items() if key.startswith("lora_unet_")}
    write_safetensors(tmp_path / "odd.safetensors", odd)
    with LocalRenderer(weights={"sd1": checkpoint_of("sd1")}, lora_dirs=[lora_folder, tmp_path]) as renderer:
        uses = (AdapterUse("odd", 0.0, 0.8), AdapterUse("sd1-linear", 0.0, 0.8))
        found, wanted = latents(renderer, [replace(BASE, adapters=(use,)) for use in uses])
        assert "differ from the base's" in refused(renderer, AdapterUse("odd", 0.1, 0.8))
        assert torch.equal(found, wanted)
        blocks = "0," + ",".join("1" * 16)
        (again,) = latents(renderer, [replace(BASE, adapters=(AdapterUse("odd", 0.8, 0.8, blocks=blocks),))])
    assert (again - wanted).abs().max() < 1e-3


def test_a_file_written_anew_is_read_anew(
    checkpoint_of: Callable[[str], Tensors], lora_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.safetensors"
    first, second = (load_file(lora_folder / f"sd1-{name}.safetensors") for name in ("linear", "conv"))
    request = replace(BASE, prompt="x <lora:mine:0.8>")
    with LocalRenderer(weights={"sd1": checkpoint_of("sd1")}, lora_dirs=[tmp_path]) as renderer:
        write_safetensors(path, first)
        before = latents(renderer, [request])
        path.unlink()
        write_safetensors(path, second)
        after = latents(renderer, [request])
    assert (before - after).abs().max() > 1e-3
