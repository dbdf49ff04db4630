"""[save]: a VAE baked in, metadata and config copied by choice, tensors discarded."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoints import second_checkpoint, tiny_checkpoint, write_safetensors
from loralathe.engine import (
    Report,
    RunOptions,
    evaluate_weights,
    input_uses,
    open_session,
    read_record,
    run_recipe,
)
from loralathe.errors import InputError, MachineError
from loralathe.language import Recipe, Save, make_recipe, read_recipe
from loralathe.verification import VerifyOptions, rebuild, record_as_toml, verify_file

DIVISOR = 64
VAE = "first_stage_model."
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def a() -> Tensors:
    return tiny_checkpoint("sd1", seed=1, width_divisor=DIVISOR)


@pytest.fixture(scope="module")
def other(a: Tensors) -> Tensors:
    """Another model in fp32; its VAE is the one that is baked in."""
    return {key: t.float() if t.is_floating_point() else t for key, t in second_checkpoint(a, 0.1, 7).items()}


@pytest.fixture
def folder(tmp_path: Path, a: Tensors, other: Tensors) -> Path:
    write_safetensors(tmp_path / "a.safetensors", a, {"who": "a", "only a": "1"})
    write_safetensors(tmp_path / "b.safetensors", second_checkpoint(a, 0.01, 2), {"who": "b", "only b": "1"})
    write_safetensors(tmp_path / "other.safetensors", other)
    return tmp_path


def recipe(folder: Path, formula: str = "A + 0.5*(B - A)", **choices: object) -> Recipe:
    save = replace(Save("x", folder / "out.safetensors"), **choices)  # type: ignore[arg-type]
    inputs = {"A": folder / "a.safetensors", "B": folder / "b.safetensors"}
    return make_recipe(inputs=inputs, steps={"x": formula}, saves=[save])


def run(folder: Path, formula: str = "A + 0.5*(B - A)", **choices: object) -> Report:
    return run_recipe(recipe(folder, formula, **choices), OPTIONS)


OPTIONS = RunOptions(threads=1, force=True)


def vae_of(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {key.removeprefix(VAE): t for key, t in tensors.items() if key.startswith(VAE)}


def diffusers_vae(vae: Tensors, *, old: bool) -> Tensors:
    """The VAE as diffusers names it, written by its own converter's rules, independently of ours."""
    found = {}
    for key, tensor in vae.items():
        name = key
        for side in ("encoder", "decoder"):
            name = name.replace(f"{side}.norm_out", f"{side}.conv_norm_out")
            name = name.replace(f"{side}.mid.block_1", f"{side}.mid_block.resnets.0")
            name = name.replace(f"{side}.mid.block_2", f"{side}.mid_block.resnets.1")
            name = name.replace(f"{side}.mid.attn_1.", f"{side}.mid_block.attentions.0.")
        for level in range(4):
            name = name.replace(f"encoder.down.{level}.block", f"encoder.down_blocks.{level}.resnets")
            name = name.replace(
                f"encoder.down.{level}.downsample", f"encoder.down_blocks.{level}.downsamplers.0"
            )
            name = name.replace(f"decoder.up.{level}.block", f"decoder.up_blocks.{3 - level}.resnets")
            name = name.replace(f"decoder.up.{level}.upsample", f"decoder.up_blocks.{3 - level}.upsamplers.0")
        name = name.replace("nin_shortcut", "conv_shortcut")
        if "attentions.0" in name:
            new = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
            aged = {"norm": "group_norm", "q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}
            path, part, role = name.rsplit(".", 2)
            name = f"{path}.{(aged if old else new)[part]}.{role}"
        linear = "attentions.0" in name and tensor.ndim == 4
        found[name] = tensor[:, :, 0, 0].contiguous() if linear else tensor
    return found


def trainers_vae(tensors: Tensors) -> Tensors:
    """diffusers' names and matrices in the attention of an original VAE, as some trainers save them."""
    names = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
    found = {}
    for key, tensor in tensors.items():
        start, middle, rest = key.partition(".mid.attn_1.")
        name, _, role = rest.partition(".")
        if middle and name in names:
            matrix = tensor.reshape(tensor.shape[:2]) if role == "weight" else tensor
            found[f"{start}{middle}{names[name]}.{role}"] = matrix
        else:
            found[key] = tensor
    return found


def vae_file(kind: str, folder: Path, other: Tensors) -> Path:
    vae = vae_of(other)
    if kind == "whole checkpoint":
        return folder / "other.safetensors"
    if kind == "pickle":
        path = folder / "v.vae.pt"
        torch.save(
            {"state_dict": vae | {"loss.logvar": torch.ones(1), "model_ema.decay": torch.ones(())}}, path
        )
        return path
    held = {
        "alone": vae,
        "diffusers": diffusers_vae(vae, old=False),
        "old diffusers": diffusers_vae(vae, old=True),
        "with prefix": {f"vae.{key}": t for key, t in vae.items()},
        "trainer": trainers_vae(vae),
    }[kind]
    return write_safetensors(folder / "v.safetensors", held)


KINDS = ("whole checkpoint", "alone", "pickle", "diffusers", "old diffusers", "with prefix", "trainer")


@pytest.mark.long
@pytest.mark.quick(2)
@pytest.mark.parametrize("kind", KINDS)
def test_a_vae_of_any_kind(folder: Path, a: Tensors, other: Tensors, kind: str) -> None:
    report = run(folder, vae=vae_file(kind, folder, other))
    found, plain = load_file(folder / "out.safetensors"), vae_of(other)
    run(folder, file=folder / "without.safetensors")
    without = load_file(folder / "without.safetensors")
    assert found.keys() == a.keys()
    for key, tensor in found.items():
        wanted = plain[key.removeprefix(VAE)] if key.startswith(VAE) else without[key]
        assert tensor.dtype == wanted.dtype
        assert torch.equal(tensor, wanted), key
    assert report.weights[0].buckets["baked VAE"] == len(plain)


@pytest.mark.quick(1)
@pytest.mark.parametrize("formula", ["0.75*A + 0.25*O", "0.75*O + 0.25*A"])
def test_sums_know_the_names_of_trainers(tmp_path: Path, a: Tensors, other: Tensors, formula: str) -> None:
    """The output has the names and shapes that every program reads, whichever model is the first."""
    held = {"A": vae_alone(a), "O": trainers_vae(vae_alone(other))}
    inputs = {name: write_safetensors(tmp_path / f"{name}.safetensors", held[name]) for name in held}
    save = Save("x", tmp_path / "out.safetensors", "fp32")
    run_recipe(make_recipe(inputs=inputs, steps={"x": formula}, saves=[save]), RunOptions(hash_inputs=False))
    found = load_file(save.file)
    assert found.keys() == held["A"].keys()
    share = 0.75 if formula.startswith("0.75*A") else 0.25
    for key in found:
        if key.startswith(VAE):
            wanted = share * a[key].double() + (1 - share) * other[key].double()
            assert found[key].shape == wanted.shape
            assert torch.allclose(found[key].double(), wanted, atol=1e-6)
    assert verify_file(save.file).ok


def vae_alone(tensors: Tensors) -> Tensors:
    """Without text encoders."""
    return {key: tensor for key, tensor in tensors.items() if not key.startswith("cond_stage_model.")}


def test_a_baked_vae_is_cast_with_the_rest_and_can_be_looked_at(folder: Path, other: Tensors) -> None:
    run(folder, vae=folder / "other.safetensors", dtype="fp16")
    found = load_file(folder / "out.safetensors")
    for key, tensor in vae_of(other).items():
        assert torch.equal(found[VAE + key], tensor.half()), key
    seen = evaluate_weights(
        recipe(folder), "x", dtype="fp16", vae=folder / "other.safetensors", options=OPTIONS
    )
    assert all(torch.equal(seen[key], tensor) for key, tensor in found.items())


@pytest.mark.long
def test_the_vae_is_recorded_and_counted(folder: Path) -> None:
    run(folder, vae=folder / "other.safetensors")
    with safe_open(folder / "out.safetensors", "pt") as file:
        record = json.loads(file.metadata()["loralathe"])
    assert record["options"]["vae"] == "x.vae"
    vae = record["inputs"]["x.vae"]
    assert vae["file"] == "other.safetensors"
    assert len(vae["sha256"]) == 64
    assert set(vae["sha256"]) != {"0"}
    with open_session(recipe(folder, vae=folder / "other.safetensors"), OPTIONS) as session:
        uses = {use.path.name: use for use in input_uses(session)}
    assert uses["other.safetensors"].tensors == 248
    assert not any("first_stage" in key for key in uses)


def test_vaes_that_do_not_fit(folder: Path, a: Tensors, other: Tensors) -> None:
    vae = vae_of(other)
    part = {key: t for key, t in vae.items() if not key.startswith("decoder.mid.attn_1.q.")}
    with pytest.raises(InputError, match=r"differ in 2 tensors\n.*decoder.mid.attn_1.q.bias"):
        run(folder, vae=write_safetensors(folder / "part.safetensors", part))
    wide = vae_of(tiny_checkpoint("sd1", seed=3, width_divisor=32))
    with pytest.raises(InputError, match="has different shapes"):
        run(folder, vae=write_safetensors(folder / "wide.safetensors", wide))
    with pytest.raises(InputError, match="has no VAE to bake in"):
        run(folder, vae=write_safetensors(folder / "none.safetensors", {"x": torch.ones(2)}))
    pruned = {key: t for key, t in a.items() if not key.startswith(VAE)}
    write_safetensors(folder / "a.safetensors", pruned)
    with pytest.raises(InputError, match="'A' has no VAE that could be replaced"):
        run(folder, vae=folder / "other.safetensors")
    with pytest.raises(InputError, match="this step is an adapter"):
        run(folder, "extract(B - A, rank=2)", vae=folder / "other.safetensors")


def test_a_part_of_a_vae_when_allowed(folder: Path, a: Tensors, other: Tensors) -> None:
    decoder = {key: t for key, t in vae_of(other).items() if key.startswith("decoder.")}
    path = write_safetensors(folder / "d.safetensors", decoder)
    run_recipe(recipe(folder, "A", vae=path), replace(OPTIONS, allow_unmatched=True))
    found = load_file(folder / "out.safetensors")
    assert torch.equal(found[f"{VAE}decoder.conv_in.weight"], decoder["decoder.conv_in.weight"])
    assert torch.equal(found[f"{VAE}encoder.conv_in.weight"], a[f"{VAE}encoder.conv_in.weight"])


@pytest.mark.long
@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("first", {"who": "a", "only a": "1"}),
        ("A", {"who": "a", "only a": "1"}),
        ("B", {"who": "b", "only b": "1"}),
        ("merge", {"who": "b", "only a": "1", "only b": "1"}),
        ("new", {"modelspec.title": "out"}),
        ("all", {"who": "a", "only a": "1", "sshs_cp0": '{"only a": "1", "who": "a"}',
                 "sshs_cp1": '{"only b": "1", "who": "b"}'}),
        ("none", {}),
    ],
)  # fmt: skip
def test_whose_metadata(folder: Path, choice: str, expected: dict[str, str]) -> None:
    run(folder, metadata_from=choice, metadata={"mine": "é"})
    with safe_open(folder / "out.safetensors", "pt") as file:
        found = file.metadata()
    record = json.loads(found.pop("loralathe"))
    assert found == {"format": "pt", "mine": "é", **expected}
    assert record["steps"] == {"x": "A + 0.5*(B - A)"}


def test_metadata_of_nobody(folder: Path) -> None:
    with pytest.raises(InputError, match="nothing called 'C' to copy metadata from"):
        run(folder, metadata_from="C")
    with pytest.raises(InputError, match="nothing called 'fist' to copy the config from"):
        run(folder, config_from="fist")


@pytest.mark.long
@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("choice", "there", "expected"),
    [
        ("any", "ab", "a"), ("any", "b", "b"), ("any", "", None), ("none", "ab", None),
        ("B", "ab", "b"), ("A", "ab", "a"),
    ],
)  # fmt: skip
def test_whose_config(folder: Path, choice: str, there: str, expected: str | None) -> None:
    for name in there:
        (folder / f"{name}.yaml").write_text(f"model: {name}")
    report = run(folder, config_from=choice)
    copied = folder / "out.yaml"
    assert (copied.read_text() if copied.exists() else None) == (expected and f"model: {expected}")
    notes = " ".join(report.weights[0].notes)
    assert (f"{expected}.yaml is copied to out.yaml" in notes) == (expected is not None)


def test_a_config_that_is_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match=r"there is no config to copy\n.*b\.yaml"):
        run(folder, config_from="B")


def test_a_config_is_never_replaced_unasked(folder: Path) -> None:
    (folder / "a.yaml").write_text("new")
    (folder / "out.yaml").write_text("old")
    with pytest.raises(InputError, match=r"the output exists\n.*out\.yaml"):
        run_recipe(recipe(folder), RunOptions(threads=1))
    assert not (folder / "out.safetensors").exists()
    assert (folder / "out.yaml").read_text() == "old"
    run(folder)
    assert (folder / "out.yaml").read_text() == "new"


def test_a_config_that_is_in_its_place_already(folder: Path) -> None:
    """`model.ckpt` with `model.yaml` becomes `model.safetensors`."""
    (folder / "a.yaml").write_text("same")
    torch.save(load_file(folder / "a.safetensors"), folder / "a.ckpt")
    (folder / "a.safetensors").unlink()
    inputs = {"A": folder / "a.ckpt"}
    made = make_recipe(inputs=inputs, steps={"x": "A"}, saves=[Save("x", folder / "a.safetensors")])
    run_recipe(made, RunOptions(threads=1))
    assert (folder / "a.yaml").read_text() == "same"


def test_all_or_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights cannot be named: the config, named before, goes too."""
    (folder / "a.yaml").write_text("x")
    before = sorted(path.name for path in folder.iterdir())
    real = os.link

    def link(source: str, target: str, **rest: object) -> None:
        if str(target).endswith(".safetensors"):
            raise OSError(errno.ENOSPC, "full")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(MachineError, match="disk is full"):
        run_recipe(recipe(folder), RunOptions(threads=1))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_discard(folder: Path, a: Tensors) -> None:
    report = run(folder, discard=r"^cond_stage|\.bias$")
    found = load_file(folder / "out.safetensors")
    gone = {key for key in a if key.startswith("cond_stage") or key.endswith(".bias")}
    assert found.keys() == a.keys() - gone
    assert report.weights[0].discarded == len(gone)
    for bad, what in (
        ("no such name", "matches no tensor"),
        (".", "matches every tensor"),
        ("(", "not a regular expression"),
    ):
        with pytest.raises(InputError, match=what):
            run(folder, discard=bad)
    with pytest.raises(InputError, match="this step is an adapter"):
        run(folder, "extract(B - A, rank=2)", discard="x")


def test_the_same_in_a_recipe_file(folder: Path, other: Tensors) -> None:
    (folder / "r.toml").write_text(
        '[inputs]\nA = "a.safetensors"\nB = "b.safetensors"\n[steps]\nx = "A + 0.5*(B - A)"\n'
        '[save]\nx = { file = "out.safetensors", vae = "other.safetensors", discard = "^cond_stage", '
        'metadata_from = "merge", config_from = "none", metadata = { n = "1" } }\n'
    )
    (save,) = read_recipe(folder / "r.toml").saves
    wanted = Save("x", folder / "out.safetensors", discard="^cond_stage", metadata={"n": "1"})
    assert save == replace(
        wanted, vae=folder / "other.safetensors", metadata_from="merge", config_from="none"
    )
    run_recipe(read_recipe(folder / "r.toml"), OPTIONS)
    found = load_file(folder / "out.safetensors")
    assert torch.equal(found[f"{VAE}quant_conv.bias"], other[f"{VAE}quant_conv.bias"])
    (folder / "r.toml").write_text('[save]\nx = { file = "o.safetensors", vaes = "v" }\n')
    with pytest.raises(InputError, match=r"no option 'vaes'\n.*\n.*'vae'"):
        read_recipe(folder / "r.toml")


@pytest.mark.long
def test_text_encoders_of_the_oldest_files(folder: Path, a: Tensors) -> None:
    """Keys without CLIP's inner `text_model.` meet those with it; the output has today's names."""
    inner = "cond_stage_model.transformer.text_model."
    old = {key.replace(inner, "cond_stage_model.transformer."): t for key, t in a.items()}
    assert old.keys() != a.keys()
    write_safetensors(folder / "old.safetensors", old)
    run(folder, file=folder / "plain.safetensors")
    for formula in ("A", "A + 0.5*(B - A)"):
        made = make_recipe(
            inputs={"A": folder / "old.safetensors", "B": folder / "b.safetensors"},
            steps={"x": formula},
            saves=[Save("x", folder / "out.safetensors")],
        )
        run_recipe(made, OPTIONS)
        found = load_file(folder / "out.safetensors")
        assert found.keys() == a.keys()
        wanted = a if formula == "A" else load_file(folder / "plain.safetensors")
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.quick(1)
@pytest.mark.parametrize("dtype", [None, "bf16"])
@pytest.mark.long
def test_made_again_and_verified_from_its_record(folder: Path, other: Tensors, dtype: str | None) -> None:
    vae = vae_file("pickle", folder, other)
    run(folder, vae=vae, dtype=dtype, metadata_from="merge", discard="^cond_stage")
    made, again = folder / "out.safetensors", folder / "again.safetensors"
    run_recipe(*rebuild(made, again))
    assert again.read_bytes() == made.read_bytes()
    assert verify_file(made, options=VerifyOptions(everything=True)).ok
    text = record_as_toml(made, read_record(made))
    assert 'vae = "v.vae.pt"' in text
    assert 'metadata_from = "merge"' in text
    tensors = load_file(made)
    tensors[f"{VAE}quant_conv.bias"][0] += 1
    with safe_open(made, "pt") as file:
        write_safetensors(made, tensors, file.metadata())
    found = verify_file(made, options=VerifyOptions(everything=True))
    assert [finding.place for finding in found.findings if "quant_conv" in finding.place]
