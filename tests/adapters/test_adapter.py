"""Reading adapter files: whole tiny LoRAs of every family, the spellings of alpha, and every refusal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import loralathe
from checkpoints import (
    FakeHeader,
    Spec,
    header,
    raw_manifest,
    tiny_checkpoint,
    tiny_lora,
    tiny_specs,
    write_safetensors,
)
from loralathe.adapters import read_labels
from loralathe.adapters.adapter import open_adapter
from loralathe.adapters.fit import check_against, fits, require_fit, weight_shape
from loralathe.errors import InputError
from loralathe.families import Family, Module
from loralathe.families.sd1 import SD1
from loralathe.families.sd2 import SD2
from loralathe.families.sdxl import SDXL
from loralathe.strengths import Strength, effective, parse_block_weights

MODULE = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
CANONICAL = "unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q"


def one_module(rank: int = 2, **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    """A LoRA of one linear module (6, 4); keywords replace or add parts (`lora_up_weight`, `alpha`, …)."""
    parts = {"lora_up.weight": torch.ones(6, rank), "lora_down.weight": torch.ones(rank, 4)}
    parts |= {name.replace("_weight", ".weight"): tensor for name, tensor in extra.items()}
    return {f"{MODULE}.{part}": tensor for part, tensor in parts.items()}


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("lora", "conv_rank", "family", "count"),
    [
        ("sd1", None, SD1, 264),
        ("sd1", 2, SD1, 350),
        ("sd2", None, SD2, 330),
        ("sdxl", None, SDXL, 986),
        ("sdxl", 2, SDXL, 1052),
        ("sdxl-diffusers-names", 2, SDXL, 1052),
    ],
)
def test_whole_loras_are_recognised_and_fit(
    tmp_path: Path, lora: str, conv_rank: int | None, family: Family, count: int
) -> None:
    tensors = tiny_lora(lora, rank=4, alpha=2, conv_rank=conv_rank, seed=1)
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    name = lora.removesuffix("-diffusers-names")
    base = FakeHeader(tiny_specs(name), {})
    with open_adapter(path) as adapter:
        assert adapter.family is family
        assert (len(adapter.modules), adapter.unmatched) == (count, ())
        kernels = {m.name for m in adapter.modules.values() if m.kind == "locon"}
        assert all((module.rank == 2) == (module.name in kernels) for module in adapter.modules.values())
        modules = adapter.family.modules(base.tensors)
        fit = check_against(adapter, modules, base.tensors)
        assert (len(fit.used), fit.unmatched, fit.mismatched) == (count, (), ())
        require_fit(adapter, fit, adapter.family.label)


@pytest.mark.parametrize(("manifest", "family"), [("sd15", SD1), ("sdxl", SDXL)])
def test_every_module_gets_its_place_of_the_long_list(manifest: str, family: Family) -> None:
    """Against the table of blocks in the manifests; each place of the list has a value of its own."""
    names = family.long_blocks
    weights = parse_block_weights(",".join(str(n + 2) for n in range(len(names))), family)
    table = raw_manifest("lbw_blocks")[manifest]
    for raw_name, (_, block, _, _) in table.items():
        module = family.module_of_kohya(raw_name)
        own = family.block_of_module(module)
        expected = 1 if block is None else names.index(block) + 2
        assert weights.weight_of(module, own) == expected, raw_name


@pytest.mark.parametrize(
    ("alpha", "scale"),
    [
        (None, 1.0),
        (torch.tensor(1.0), 0.5),
        (torch.tensor([1.0]), 0.5),
        (torch.tensor(-3.0, dtype=torch.float16), -1.5),
        (torch.tensor(3.0, dtype=torch.bfloat16), 1.5),
        (torch.tensor([0.1], dtype=torch.float64), 0.05),
        (torch.tensor(4), 2.0),
        (torch.tensor([4], dtype=torch.int32), 2.0),
        (torch.tensor(4, dtype=torch.uint8), 2.0),
        (torch.tensor(4.0, dtype=torch.float8_e4m3fn), 2.0),
    ],
    ids=str,
)
def test_alpha_in_every_spelling(tmp_path: Path, alpha: torch.Tensor | None, scale: float) -> None:
    tensors = one_module(**({} if alpha is None else {"alpha": alpha}))
    with open_adapter(write_safetensors(tmp_path / "a.safetensors", tensors)) as adapter:
        module = adapter.modules[CANONICAL]
        assert (module.scale, module.rank, module.block, module.shape) == (scale, 2, "IN04", (6, 4))
        assert effective(Strength(unet=0.5), module) == 0.5


def test_unmatched_modules_and_strange_tensors_are_kept(tmp_path: Path) -> None:
    tensors = one_module()
    tensors["lora_unet_nowhere.lora_up.weight"] = torch.ones(6, 2)
    tensors["lora_unet_nowhere.lora_down.weight"] = torch.ones(2, 4)
    tensors["bundle_emb.x.string_to_param.*"] = torch.ones(2, 4)
    tensors[f"{MODULE}.bias_size"] = torch.ones(2)
    with open_adapter(write_safetensors(tmp_path / "a.safetensors", tensors)) as adapter:
        assert list(adapter.modules) == [CANONICAL]
        assert set(adapter.unmatched) == {"lora_unet_nowhere", f"{MODULE}.bias_size"}
        assert adapter.embeddings == {"x": ("bundle_emb.x.string_to_param.*",)}


FILE = "FILE"
TENSOR = f"{FILE}, tensor '{MODULE}"
PARSE_ERRORS = [
    ("missing partner", {f"{MODULE}.lora_up.weight": torch.ones(6, 2)},
     f"lora_down.weight is missing in this LoRA module\n  where: {FILE}, module '{MODULE}'\n"
     "  fix:   download or save the file again; it is incomplete"),
    ("alpha alone", {**one_module(), "lora_unet_conv_in.alpha": torch.tensor(1.0)},
     f"lora_up.weight and lora_down.weight are missing in this LoRA module\n"
     f"  where: {FILE}, module 'lora_unet_conv_in'\n"
     "  fix:   download or save the file again; it is incomplete"),
    ("ranks", one_module(lora_up_weight=torch.ones(6, 3)),
     f"ranks differ: 3 in shape [6, 3], 2 in {MODULE}.lora_down.weight of shape [2, 4]\n"
     f"  where: {TENSOR}.lora_up.weight'\n"
     "  fix:   the file is damaged; save it again with the program that made it"),
    ("axes", one_module(lora_down_weight=torch.ones(2, 4, 3)),
     "a factor of this LoCon module has shape [2, 4, 3]; it should be (rank, in) or (rank, in, k, k)\n"
     f"  where: {TENSOR}.lora_down.weight'\n"
     "  fix:   the file is damaged or not a LoRA; save it again with the program that made it"),
    ("rank 0", one_module(lora_up_weight=torch.ones(6, 0), lora_down_weight=torch.ones(0, 4)),
     "a factor of this LoRA module has shape [6, 0]; it should be (out, rank) or (out, rank, 1, 1)\n"
     f"  where: {TENSOR}.lora_up.weight'\n"
     "  fix:   the file is damaged or not a LoRA; save it again with the program that made it"),
    ("integers", one_module(lora_up_weight=torch.ones(6, 2, dtype=torch.int8)),
     f"a factor of this LoRA module has dtype I8\n  where: {TENSOR}.lora_up.weight'\n"
     "  fix:   factors are floating-point; quantised LoRAs are not read"),
    ("alpha 0", one_module(alpha=torch.tensor(0.0)),
     f"alpha is 0, so the module has no usable scale\n  where: {TENSOR}.alpha'\n"
     "  fix:   alpha is a finite number other than 0; the training or its save went wrong"),
    ("alpha nan", one_module(alpha=torch.tensor(float("nan"))),
     f"alpha is nan, so the module has no usable scale\n  where: {TENSOR}.alpha'\n"
     "  fix:   alpha is a finite number other than 0; the training or its save went wrong"),
    ("alpha of two", one_module(alpha=torch.ones(2)),
     f"alpha has shape [2]; it should be one number\n  where: {TENSOR}.alpha'"),
    ("scale", one_module(scale=torch.tensor(2.0)),
     "'scale' beside LoRA is not understood, and ignoring it would change the result\n"
     f"  where: {TENSOR}.scale'\n"
     "  fix:   save the adapter again with its trainer, which folds it into the factors"),
    ("both spellings of a layer",
     {**one_module(), **{k.replace("down_blocks_1_attentions_0", "input_blocks_4_1"): v
                         for k, v in one_module().items()}},
     "two modules of the file are the same layer of the model\n"
     f"  where: {FILE}: '{MODULE}' and '{MODULE.replace('down_blocks_1_attentions_0', 'input_blocks_4_1')}'\n"
     "  fix:   the file mixes two spellings of module names; save it again with the program that made it"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tensors", "message"), [row[1:] for row in PARSE_ERRORS], ids=[row[0] for row in PARSE_ERRORS]
)
def test_files_that_make_no_sense(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    with pytest.raises(InputError) as caught:
        open_adapter(path, SDXL)
    assert str(caught.value).replace(str(path), FILE) == message


KINDS_FIX = (
    f"  fix:   {', '.join(read_labels()[:-1])} and {read_labels()[-1]} are read; merge the adapter into its "
    "base with the program that made it, then use the difference of the two checkpoints, or extract a LoRA "
    "from it"
)
KINDS = [("T-LoRA", ["q_layer.weight", "p_layer.weight", "lambda_layer"])]


@pytest.mark.parametrize(("kind", "parts"), KINDS, ids=[kind for kind, _ in KINDS])
def test_kinds_that_are_not_read(tmp_path: Path, kind: str, parts: list[str]) -> None:
    other = MODULE.replace("to_q", "to_k")
    tensors = {f"{other}.{part}": torch.ones(2, 2) for part in parts}
    path = write_safetensors(tmp_path / "a.safetensors", {**one_module(), **tensors})
    with pytest.raises(InputError) as caught:
        open_adapter(path)
    assert str(caught.value).replace(str(path), FILE) == (
        f"this adapter holds modules of a kind that is not read: {kind} 1 (of 2)\n"
        f"  where: {FILE}\n{KINDS_FIX}"
    )


def test_a_checkpoint_is_no_adapter(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "base.safetensors", tiny_checkpoint("sd1", seed=0))
    with pytest.raises(InputError, match=r"this is a checkpoint \(SD 1.5\), not a LoRA"):
        open_adapter(path)


def full_width_lora(tmp_path: Path, text_width: int, channels: int = 640) -> Path:
    """to_q and to_k of one attention at the true widths: what tells families apart."""
    attn = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_"
    widths = {"q": channels, "k": text_width}
    tensors = {f"{attn}{leaf}.lora_up.weight": torch.ones(channels, 1) for leaf in widths}
    tensors |= {f"{attn}{leaf}.lora_down.weight": torch.ones(1, width) for leaf, width in widths.items()}
    return write_safetensors(tmp_path / "lora.safetensors", tensors)


@pytest.mark.parametrize(
    ("text_width", "base", "family", "made_for"),
    [
        (768, "ckpt_sd21_768v", SD2, "SD 1.5"),
        (768, "ckpt_sdxl_base", SDXL, "SD 1.5"),
        (1024, "ckpt_sd15", SD1, "SD 2"),
    ],
)
def test_a_lora_of_another_family_is_told_apart(
    tmp_path: Path, text_width: int, base: str, family: Family, made_for: str
) -> None:
    path = full_width_lora(tmp_path, text_width)
    base_header = header(base)
    label = family.label
    modules = family.modules(base_header.tensors)
    with open_adapter(path, family) as adapter:
        fit = check_against(adapter, modules, base_header.tensors)
        with pytest.raises(InputError) as caught:
            require_fit(adapter, fit, label)
    base_width = base_header.tensors[modules[CANONICAL.replace("attn1.to_q", "attn2.to_k")].key].shape[1]
    key = MODULE.replace("attn1_to_q", "attn2_to_k")
    assert str(caught.value) == (
        f"the shapes of 1 of 2 modules differ from the base's ({label})\n"
        f"  where: {path}: {key}: [640, {text_width}], the base has [640, {base_width}]\n"
        f"  fix:   this one is made for {made_for}; use a LoRA made for {label}"
    )


@pytest.mark.parametrize(
    ("notes", "told"), [({}, None), ({"ss_v2": "True"}, "SD 2"), ({"ss_v2": "False"}, "SD 1.5")]
)
def test_a_family_is_named_only_where_the_file_tells(
    tmp_path: Path, notes: dict[str, str], told: str | None
) -> None:
    """A small LoKr may be for any family that has the layer."""
    module = MODULE.partition(".")[0]
    tensors = {f"{module}.lokr_w{number}": torch.ones(2, 2) for number in (1, 2)}
    path = write_safetensors(tmp_path / "lora.safetensors", tensors, notes)
    base = header("ckpt_sdxl_base")
    with open_adapter(path, SDXL) as adapter:
        fit = check_against(adapter, SDXL.modules(base.tensors), base.tensors)
        with pytest.raises(InputError) as caught:
            require_fit(adapter, fit, "SDXL")
    claim = f"this one is made for {told}; " if told else ""
    assert caught.value.fix == f"{claim}use a LoRA made for SDXL"


def test_a_whole_lora_of_another_family_is_told_apart(tmp_path: Path) -> None:
    """Tiny widths: only names and ranks of tensors can tell."""
    path = write_safetensors(tmp_path / "a.safetensors", tiny_lora("sd1", rank=1, alpha=1, seed=0))
    for family, base_family in (("sd2", SD2), ("sdxl", SDXL)):
        base = FakeHeader(tiny_specs(family), {})
        with open_adapter(path, base_family) as adapter:
            fit = check_against(adapter, base_family.modules(base.tensors), base.tensors)
            with pytest.raises(
                InputError, match=r"  fix:   this one is made for SD 1.5; use a LoRA made for SD"
            ):
                require_fit(adapter, fit, base_family.label)


@pytest.mark.parametrize(("text_width", "family"), [(768, SD1), (1024, SD2), (2048, SDXL)])
def test_the_text_width_tells_the_family_of_a_small_lora(
    tmp_path: Path, text_width: int, family: Family
) -> None:
    with open_adapter(full_width_lora(tmp_path, text_width)) as adapter:
        assert adapter.family is family


def test_peft_words_under_kohya_names(tmp_path: Path) -> None:
    words = {"lora_up": "lora_B", "lora_down": "lora_A"}
    tensors = {f"{MODULE}.{words[key.split('.')[1]]}.weight": v for key, v in one_module().items()}
    with open_adapter(write_safetensors(tmp_path / "a.safetensors", tensors), SD1) as adapter:
        assert adapter.modules[CANONICAL].shape == (6, 4)


def test_unmatched_is_an_error_unless_allowed(tmp_path: Path) -> None:
    tensors = one_module() | {k.replace("to_q", "to_k"): v for k, v in one_module().items()}
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    with open_adapter(path, SD1) as adapter:
        module = adapter.family.modules_of_key(
            "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
        )[0]
        base = FakeHeader({module.key: Spec((6, 4))}, {})
        fit = check_against(adapter, {module.name: module}, base.tensors)
        require_fit(adapter, fit, "SD 1.5", allow_unmatched=True)
        with pytest.raises(InputError) as caught:
            require_fit(adapter, fit, "SD 1.5")
        assert str(caught.value) == (
            "1 of the LoRA's 2 modules have no place in the base (SD 1.5)\n"
            f"  where: {path}: {MODULE.replace('to_q', 'to_k')}\n"
            "  fix:   use a LoRA made for SD 1.5, or allow_unmatched=True to leave them out"
        )
        nothing = check_against(adapter, {}, base.tensors)
        with pytest.raises(InputError, match=r"no module of the LoRA is in the base \(SD 1.5\)"):
            require_fit(adapter, nothing, "SD 1.5", allow_unmatched=True)


def test_shapes_that_fit() -> None:
    assert fits((4, 2), (4, 2, 1, 1))
    assert fits((4, 2, 1, 1), (4, 2))
    assert not fits((4, 2, 3, 3), (4, 18))
    assert not fits((4, 2), (2, 4))


@pytest.mark.parametrize(
    ("part", "transpose", "stored", "shape"),
    [
        (None, False, (12, 4), (12, 4)),
        ((1, 3), False, (12, 4), (4, 4)),
        (None, True, (4, 12), (12, 4)),
        (None, False, (12, 4, 3, 3), (12, 4, 3, 3)),
    ],
)
def test_shape_of_a_base_weight(
    part: tuple[int, int] | None, transpose: bool, stored: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    module = Module("te2.x", "te2", "key", part, transpose, "BASE", "linear")
    assert weight_shape(module, {"key": Spec(stored)}) == shape


def test_the_room_is_light() -> None:
    """Importing it must not import torch or numpy: `lathe --help` and `lathe inspect` do that."""
    code = "import loralathe.adapters, sys; assert not {'torch', 'numpy'} & set(sys.modules)"
    source = Path(loralathe.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=source)
