"""LoHa, LoKr and whole differences: their deltas against float64 numpy, their files against the manifests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoints import MANIFESTS, header, manifest, tiny_checkpoint, write_safetensors, write_sparse
from loralathe.adapters import check_against, delta, load_factors, open_adapter
from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sdxl import SDXL
from loralathe.language import Save, make_recipe
from loralathe.tensorfiles import open_tensorfile
from loralathe.verification import VerifyOptions, verify_file

LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
ALPHA = 3.0
LINEAR_SHAPE, CONV_SHAPE = (24, 36), (24, 12, 3, 3)

Tensors = dict[str, torch.Tensor]
Arrays = dict[str, np.ndarray]


def random(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(**shapes: tuple[int, ...]) -> Tensors:
    return {name: random(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}


def tucker(core: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """LyCORIS' rebuild_tucker: core (r, s, k, l), left (r, out), right (s, in)."""
    return np.einsum("rskl,ro,si->oikl", core, left, right)


def kronecker(small: np.ndarray, large: np.ndarray) -> np.ndarray:
    """A Kronecker product over the first two axes, element by element: kernels ride along."""
    out = np.einsum("ab,cd...->acbd...", small, large)
    return out.reshape(small.shape[0] * large.shape[0], small.shape[1] * large.shape[1], *large.shape[2:])


def loha(t: Arrays) -> np.ndarray:
    if "hada_t1" in t:
        sides = [tucker(t[f"hada_t{i}"], t[f"hada_w{i}_a"], t[f"hada_w{i}_b"]) for i in (1, 2)]
        return sides[0] * sides[1]
    return (t["hada_w1_a"] @ t["hada_w1_b"]) * (t["hada_w2_a"] @ t["hada_w2_b"])


def lokr(t: Arrays) -> np.ndarray:
    small = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
    if "lokr_w2" in t:
        return kronecker(small, t["lokr_w2"])
    if "lokr_t2" in t:
        return kronecker(small, tucker(t["lokr_t2"], t["lokr_w2_a"], t["lokr_w2_b"]))
    large = t["lokr_w2_a"] @ t["lokr_w2_b"]
    kernel = (3, 3) if large.shape[1] % 9 == 0 and large.shape == (6, 36) else ()
    return kronecker(small, large.reshape(6, -1, *kernel))


HADAMARD = {"hada_w1_a": (24, 2), "hada_w1_b": (2, 36), "hada_w2_a": (24, 2), "hada_w2_b": (2, 36)}
CASES = {
    # name: (module, tensors, shape of the delta, rank that alpha is divided by, rank of the exact factors)
    "LoHa": (LINEAR, made(**HADAMARD), LINEAR_SHAPE, 2, 4),
    "LoHa, r² above the smaller side": (
        LINEAR,
        made(hada_w1_a=(24, 6), hada_w1_b=(6, 36), hada_w2_a=(24, 6), hada_w2_b=(6, 36)),
        LINEAR_SHAPE, 6, 24,
    ),
    "LoHa, convolution": (
        CONV,
        made(hada_w1_a=(24, 2), hada_w1_b=(2, 108), hada_w2_a=(24, 2), hada_w2_b=(2, 108)),
        CONV_SHAPE, 2, 4,
    ),
    "LoHa, Tucker": (
        CONV,
        made(hada_t1=(2, 2, 3, 3), hada_w1_a=(2, 24), hada_w1_b=(2, 12),
             hada_t2=(2, 2, 3, 3), hada_w2_a=(2, 24), hada_w2_b=(2, 12)),
        CONV_SHAPE, 2, 24,
    ),
    "LoKr, factors of w2": (
        LINEAR, made(lokr_w1=(4, 4), lokr_w2_a=(6, 2), lokr_w2_b=(2, 9)), LINEAR_SHAPE, 2, 8,
    ),
    "LoKr, factors of both": (
        LINEAR,
        made(lokr_w1_a=(4, 3), lokr_w1_b=(3, 4), lokr_w2_a=(6, 2), lokr_w2_b=(2, 9)),
        LINEAR_SHAPE, 3, 6,
    ),
    "LoKr, both whole": (LINEAR, made(lokr_w1=(4, 4), lokr_w2=(6, 9)), LINEAR_SHAPE, None, 24),
    "LoKr, thin whole w1": (LINEAR, made(lokr_w1=(8, 1), lokr_w2=(3, 36)), LINEAR_SHAPE, None, 3),
    "LoKr, whole convolution": (
        CONV, made(lokr_w1=(4, 3), lokr_w2=(6, 4, 3, 3)), CONV_SHAPE, None, 18,
    ),
    "LoKr, convolution": (
        CONV, made(lokr_w1=(4, 3), lokr_w2_a=(6, 2), lokr_w2_b=(2, 36)), CONV_SHAPE, 2, 6,
    ),
    "LoKr, Tucker": (
        CONV,
        made(lokr_w1=(4, 3), lokr_t2=(2, 2, 3, 3), lokr_w2_a=(2, 6), lokr_w2_b=(2, 4)),
        CONV_SHAPE, 2, 18,
    ),
    "full difference": (LINEAR, made(diff=LINEAR_SHAPE), LINEAR_SHAPE, None, 24),
    "full difference, convolution": (CONV, made(diff=CONV_SHAPE), CONV_SHAPE, None, 24),
}  # fmt: skip


def expected(tensors: Tensors, divisor: int | None, shape: tuple[int, ...]) -> np.ndarray:
    """The trainer's formula in float64, alpha / rank once."""
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    first = next(iter(arrays))
    value = arrays["diff"] if first == "diff" else loha(arrays) if first.startswith("hada") else lokr(arrays)
    return value.reshape(shape) * (1.0 if divisor is None else ALPHA / divisor)


def file_of(folder: Path, module: str, tensors: Tensors) -> Path:
    named = {f"{module}.{name}": tensor for name, tensor in tensors.items()}
    return write_safetensors(folder / "a.safetensors", named | {f"{module}.alpha": torch.tensor(ALPHA)})


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_deltas(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    module, tensors, shape, divisor, rank = CASES[name]
    with open_adapter(file_of(tmp_path, module, tensors), SD1) as adapter:
        (held,) = adapter.modules.values()
        factors = load_factors(adapter, held, dtype)
        assert (held.shape, held.rank, factors.rank, adapter.unmatched) == (shape, rank, rank, ())
        wanted = expected(tensors, divisor, shape)
        error = np.abs(delta(factors, shape).double().numpy() - wanted).max() / np.abs(wanted).max()
        assert error <= (2e-6 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("name", ["LoHa", "LoHa, Tucker", "LoKr, whole convolution", "full difference"])
def test_merging_adds_strength_times_delta(tmp_path: Path, name: str) -> None:
    module, tensors, shape, divisor, _ = CASES[name]
    base = tiny_checkpoint("sd1", seed=1, dtype="F32")
    key = SD1.module(SD1.module_of_kohya(module) or "").key
    base[key] = random(shape, 7)
    write_safetensors(tmp_path / "A.safetensors", base)
    made_file = file_of(tmp_path, module, tensors)
    recipe = make_recipe(
        inputs={"A": tmp_path / "A.safetensors", "L": made_file},
        steps={"out": "A - 0.7*L"},
        saves=[Save("out", tmp_path / "out.safetensors")],
    )
    run_recipe(recipe, RunOptions(threads=1))
    with open_tensorfile(tmp_path / "out.safetensors") as out:
        for other, tensor in base.items():
            value = out.read(other)
            if other != key:
                assert torch.equal(value, tensor), other
                continue
            wanted = tensor.double().numpy() - 0.7 * expected(tensors, divisor, shape)
            assert np.abs(value.double().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_thick_adapter_is_multiplied_out_before_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A LoRA of rank 3 from a LoKr: the truncated SVD of numpy, by either way."""
    module, tensors, shape, divisor, _ = CASES["LoKr, both whole"]
    source = file_of(tmp_path, module, tensors)
    wanted = expected(tensors, divisor, shape)
    u, s, v = np.linalg.svd(wanted)
    best = (u[:, :3] * s[:3]) @ v[:3]
    for thick in (256, 0):
        monkeypatch.setattr("loralathe.engine.row_slice.THICK", thick)
        out = tmp_path / f"cut{thick}.safetensors"
        recipe = make_recipe(
            inputs={"L": source}, steps={"out": "extract(L, rank=3)"}, saves=[Save("out", out, "fp32")]
        )
        run_recipe(recipe, RunOptions(threads=1))
        with open_adapter(out, SD1) as adapter:
            (held,) = adapter.modules.values()
            value = delta(load_factors(adapter, held, torch.float64), shape).numpy()
        assert np.linalg.norm(value - best) <= 1e-4 * np.linalg.norm(best)


READ = [
    ("lora_lycoris_sdxl_loha", 1052),
    ("lora_lycoris_sdxl_loha_tucker", 1052),
    ("lora_lycoris_sdxl_lokr_factor8", 1052),
    ("lora_lycoris_sdxl_lokr_factor8_tucker", 1052),
    ("lora_lycoris_sdxl_lokr_fullmatrix_factor8", 1052),
    ("lora_lycoris_sdxl_lokr_decompose_both", 1052),
    ("lora_lycoris_sdxl_locon_norm", 1052 + 2 * 255),
    ("lora_lycoris_sdxl_full", 1052 + 632),
    ("lora_lycoris_sd15_full", 354 + 258),
    ("lora_peft_sdxl_A_B", 736),
    ("lora_peft_sdxl_unet_all_layers", 788),
    ("lora_diffusers_sdxl_down_up", 736),
    ("lora_diffusers_sd15_down_up", 176),
    ("lora_lycoris_sdxl_dora", 1052),
    ("lora_lycoris_sdxl_dora_wd_on_input", 1052),
    ("lora_peft_sdxl_dora", 560),
    ("lora_lycoris_sdxl_diag_oft", 1052),
    ("lora_lycoris_sdxl_glora", 1052),
    ("lora_lycoris_sdxl_ia3", 482),
]


def say_inputs(path: Path, ends: tuple[str, ...]) -> None:
    """(IA)³ of LyCORIS' preset: the second layer of a feed-forward has the factors of its inputs."""
    with open_tensorfile(path) as file, path.open("r+b") as raw:
        start = path.stat().st_size - max(info.end for info in file.header.tensors.values())
        for key, info in file.header.tensors.items():
            if key.endswith(ends):
                raw.seek(start + info.begin)
                raw.write(np.float16(1).tobytes())


@pytest.mark.long
@pytest.mark.quick(6)
@pytest.mark.parametrize(("name", "used"), READ, ids=[row[0] for row in READ])
def test_whole_files_fit_the_model(tmp_path: Path, name: str, used: int) -> None:
    """Every module of the real files at full size, shapes against the checkpoint's."""
    # The file is a hole: an alpha of 0 would be refused.
    specs = {key: spec for key, spec in manifest(name).items() if not key.endswith(".alpha")}
    sd15 = "sd15" in name
    family, base = (SD1, header("ckpt_sd15")) if sd15 else (SDXL, header("ckpt_sdxl_base"))
    path = write_sparse(tmp_path / "a.safetensors", specs)
    if name.endswith("_ia3"):
        say_inputs(path, ("_fc2.on_input", "_ff_net_2.on_input"))
    with open_adapter(path, with_weights=True) as adapter:
        assert adapter.made_for in (family, None)
        places = family.modules(base.tensors) | family.biases(base.tensors)
        fit = check_against(adapter, places, base.tensors)
    assert (len(fit.used), fit.unmatched, fit.mismatched) == (used, (), ())


VECTORS = {
    # part of a file → (key of the base, rows of it)
    "lora_unet_down_blocks_0_resnets_0_norm1.w_norm": ("input_blocks.1.0.in_layers.0.weight", None),
    "lora_unet_down_blocks_0_resnets_0_norm1.b_norm": ("input_blocks.1.0.in_layers.0.bias", None),
    "lora_unet_down_blocks_0_resnets_0_conv1.diff_b": ("input_blocks.1.0.in_layers.2.bias", None),
    "lora_unet_down_blocks_0_resnets_0_norm2.diff": ("input_blocks.1.0.out_layers.0.weight", None),
    "lora_te_text_model_encoder_layers_0_self_attn_k_proj.diff_b": ("resblocks.0.attn.in_proj_bias", 1),
}


def test_norms_and_biases_are_merged(tmp_path: Path) -> None:
    """A third of OpenCLIP's fused bias among them; block weights and te= hold for vectors too."""
    base = tiny_checkpoint("sd2", seed=1, dtype="F32")
    write_safetensors(tmp_path / "A.safetensors", base)
    keys = {part: next(key for key in base if key.endswith(end)) for part, (end, _) in VECTORS.items()}
    thirds = {part: third for part, (_, third) in VECTORS.items()}
    tensors = {
        part: random((len(base[key]) // (1 if thirds[part] is None else 3),), seed)
        for seed, (part, key) in enumerate(keys.items())
    }
    write_safetensors(tmp_path / "L.safetensors", tensors)
    recipe = make_recipe(
        inputs={name: tmp_path / f"{name}.safetensors" for name in ("A", "L")},
        steps={"out": "A + L(te=0.5, unet=0.8)@'IN01=0.5'"},
        saves=[Save("out", tmp_path / "out.safetensors")],
    )
    run_recipe(recipe, RunOptions(threads=1, missing_blocks=1))
    wanted = {key: tensor.double() for key, tensor in base.items() if tensor.is_floating_point()}
    for part, key in keys.items():
        rows = slice(None)
        if (third := thirds[part]) is not None:
            rows = slice(third * len(tensors[part]), (third + 1) * len(tensors[part]))
        wanted[key][rows] += (0.5 if "lora_te" in part else 0.4) * tensors[part].double()
    with open_tensorfile(tmp_path / "out.safetensors") as out:
        for key, tensor in wanted.items():
            assert (out.read(key).double() - tensor).abs().max() <= 1e-6, key
    assert verify_file(tmp_path / "out.safetensors", options=VerifyOptions(everything=True)).ok


def test_a_lora_beside_a_bias_stays_one(tmp_path: Path) -> None:
    """The bias comes first in the file; what the layer's kind is, its other tensors say."""
    tensors = {"diff_b": random((24,), 1), "lora_up.weight": random((24, 2), 2)}
    tensors |= {"lora_down.weight": random((2, 36), 3)}
    with open_adapter(file_of(tmp_path, LINEAR, tensors), SD1) as adapter:
        kinds = {name.endswith(".bias"): module.kind for name, module in adapter.modules.items()}
    assert kinds == {False: "lora", True: "full"}


def test_vectors_are_no_part_of_a_lora(tmp_path: Path) -> None:
    """Joining and cutting leave them out, and the report says how much that was."""
    tensors = CASES["full difference"][1] | {"diff_b": random((24,), 5)}
    path = file_of(tmp_path, LINEAR, tensors)
    square = float(tensors["diff_b"].double().square().sum())
    for step in ("extract(L, rank=2)", "combine(L)"):
        out = tmp_path / "out.safetensors"
        recipe = make_recipe(inputs={"L": path}, steps={"out": step}, saves=[Save("out", out)])
        (made_lora,) = run_recipe(recipe, RunOptions(threads=1, force=True)).extractions
        assert made_lora.written == 1
        assert made_lora.total().outside == pytest.approx(square, rel=1e-5)
        with open_adapter(out) as adapter:
            assert len(adapter.modules) == 1


MAGNITUDES = {
    # name: (module, LoRA parts, shape of the weight, shape of dora_scale)
    "outputs": (LINEAR, made(a=(24, 2), b=(2, 36)), LINEAR_SHAPE, (24, 1)),
    "inputs": (LINEAR, made(a=(24, 2), b=(2, 36)), LINEAR_SHAPE, (1, 36)),
    "outputs of a convolution": (CONV, made(a=(24, 2, 1, 1), b=(2, 12, 3, 3)), CONV_SHAPE, (24, 1, 1, 1)),
    "inputs of a convolution": (CONV, made(a=(24, 2, 1, 1), b=(2, 12, 3, 3)), CONV_SHAPE, (1, 12, 1, 1)),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", MAGNITUDES)
def test_dora_by_its_definition(tmp_path: Path, name: str) -> None:
    """W + 0.7·(V·g/|V| − W), V = W + Δ, over outputs or inputs; block weights hold for all of the change."""
    module, parts, shape, scales = MAGNITUDES[name]
    g = random(scales, 4).abs() + 0.5
    tensors = {"lora_up.weight": parts["a"], "lora_down.weight": parts["b"], "dora_scale": g}
    base = tiny_checkpoint("sd1", seed=1, dtype="F32")
    key = SD1.module(SD1.module_of_kohya(module) or "").key
    base[key] = random(shape, 7)
    write_safetensors(tmp_path / "A.safetensors", base)
    recipe = make_recipe(
        inputs={"A": tmp_path / "A.safetensors", "L": file_of(tmp_path, module, tensors)},
        steps={"out": "A + dora(A, 1.4*L@'IN01=0.5')"},
        saves=[Save("out", tmp_path / "out.safetensors")],
    )
    run_recipe(recipe, RunOptions(threads=1))
    weight = base[key].double().numpy()
    up, down = (parts[name].double().numpy().reshape(n) for name, n in (("a", (24, 2)), ("b", (2, -1))))
    total = weight + ALPHA / 2 * (up @ down).reshape(shape)
    axes = tuple(axis for axis in range(len(shape)) if axis != (1 if scales[0] == 1 else 0))
    lengths = np.sqrt((total**2).sum(axes, keepdims=True))
    wanted = weight + 0.7 * (total * g.double().numpy() / lengths - weight)
    with open_tensorfile(tmp_path / "out.safetensors") as out:
        assert np.abs(out.read(key).double().numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()
        others = [other for other in base if other != key]
        assert all(torch.equal(out.read(other), base[other]) for other in others)
    assert verify_file(tmp_path / "out.safetensors", options=VerifyOptions(everything=True)).ok


def test_a_dora_is_no_difference_by_itself(tmp_path: Path) -> None:
    module, parts, _, scales = MAGNITUDES["outputs"]
    tensors = {"lora_up.weight": parts["a"], "lora_down.weight": parts["b"], "dora_scale": random(scales, 4)}
    path = file_of(tmp_path, module, tensors)
    with pytest.raises(InputError, match="the kind of this adapter is DoRA: what it changes depends"):
        open_adapter(path)
    for formula in ("extract(L, rank=2)", "combine(0.5*L)"):
        recipe = make_recipe(
            inputs={"L": path}, steps={"out": formula}, saves=[Save("out", tmp_path / "out.safetensors")]
        )
        with pytest.raises(InputError, match="the kind of 'L' is DoRA") as caught:
            run_recipe(recipe, RunOptions(threads=1))
        assert caught.value.fix == "write A + dora(A, 0.7*L) for a model A"


def test_magnitudes_that_fit_no_axis(tmp_path: Path) -> None:
    module, parts, _, _ = MAGNITUDES["outputs"]
    tensors = {"lora_up.weight": parts["a"], "lora_down.weight": parts["b"], "dora_scale": random((23, 1), 4)}
    with pytest.raises(InputError, match=r"magnitudes of shape \[23, 1\] do not fit a layer of \[24, 36\]"):
        open_adapter(file_of(tmp_path, module, tensors), SD1, with_weights=True)


WRONG = {
    "a partner is missing": (
        {"hada_w1_a": (4, 2), "hada_w1_b": (2, 4), "hada_w2_a": (4, 2)},
        "hada_w2_b is missing",
    ),
    "ranks differ": (
        {"hada_w1_a": (4, 3), "hada_w1_b": (2, 4), "hada_w2_a": (4, 2), "hada_w2_b": (2, 4)},
        "ranks differ: 3 in shape [4, 3], 2 in",
    ),
    "sides differ": (
        {"hada_w1_a": (4, 2), "hada_w1_b": (2, 4), "hada_w2_a": (5, 2), "hada_w2_b": (2, 4)},
        "it should be of a delta like w1's, [4, 4]",
    ),
    "half a w2": ({"lokr_w1": (2, 2), "lokr_w2_a": (3, 2)}, "lokr_w2_b is missing in this LoKr module"),
    "no w1": ({"lokr_w2": (2, 2)}, "lokr_w1 is missing in this LoKr module"),
    "a core without its factors": (
        {"lokr_w1": (2, 2), "lokr_t2": (2, 2, 3, 3)},
        "lokr_w2 is missing",
    ),
    "three axes": ({"diff": (2, 2, 2)}, "a factor of this full difference module has shape [2, 2, 2]"),
    "a scalar": ({"lokr_w1": (), "lokr_w2": (2, 2)}, "a factor of this LoKr module has shape []"),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_make_no_sense(tmp_path: Path, name: str) -> None:
    shapes, message = WRONG[name]
    path = write_safetensors(
        tmp_path / "a.safetensors",
        {f"{LINEAR}.{part}": torch.ones(shape) for part, shape in shapes.items()},
    )
    with pytest.raises(InputError) as caught:
        open_adapter(path, SD1)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_alpha_without_effect_may_be_anything(tmp_path: Path) -> None:
    """LyCORIS gives a LoKr of two whole factors the alpha 1e5 or more, which is infinite in fp16."""
    whole = made(lokr_w1=(4, 6), lokr_w2=(6, 6))
    half = made(lokr_w1=(4, 6), lokr_w2_a=(6, 2), lokr_w2_b=(2, 6))
    infinite = {f"{LINEAR}.alpha": torch.tensor(1e6).half()}
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {f"{LINEAR}.{part}": tensor for part, tensor in whole.items()} | infinite)
    with open_adapter(path, SD1) as adapter:
        (module,) = adapter.modules.values()
        found = delta(load_factors(adapter, module, torch.float64), LINEAR_SHAPE).numpy()
    wanted = np.kron(whole["lokr_w1"].double(), whole["lokr_w2"].double())
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    write_safetensors(path, {f"{LINEAR}.{part}": tensor for part, tensor in half.items()} | infinite)
    with pytest.raises(InputError, match="alpha is inf, so the module has no usable scale"):
        open_adapter(path, SD1)


def test_a_kernel_must_divide_the_columns(tmp_path: Path) -> None:
    tensors = {name: torch.ones(shape) for name, shape in HADAMARD.items()}
    tensors |= {f"hada_w{i}_b": torch.ones(2, 10) for i in (1, 2)}
    with pytest.raises(InputError, match="10 columns for a convolution of 3×3"):
        open_adapter(file_of(tmp_path, CONV, tensors), SD1)


def test_kernels_are_those_of_the_models() -> None:
    """Every layer's kernel against the shapes of the released files."""
    for family, name in ((SD1, "ckpt_sd15"), (SD2, "ckpt_sd21_768v"), (SDXL, "ckpt_sdxl_base")):
        with gzip.open(MANIFESTS / f"{name}.json.gz", "rt", encoding="utf-8") as file:
            shapes = {key: tuple(entry["shape"]) for key, entry in json.load(file).items()}
        for module in family.modules(shapes).values():
            if module.component == "unet":
                kernel = shapes[module.key][2:] or (0, 0)
                assert kernel == (family.kernel_of_module(module.name),) * 2, module.name
