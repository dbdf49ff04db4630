"""lathe verify: a sound file passes; a changed bit, a wrong record, swapped inputs do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from loralathe import Verification
from loralathe.errors import InputError
from loralathe.progress import CallableSink, Event, Progress
from loralathe.tensorfiles import read_header
from loralathe.verification.reference import ulp

from .conftest import FACE, FEW, Workshop


def check(shop: Workshop, path: Path, **options: object) -> Verification:
    return loralathe.verify(path, search=[shop.folder], threads=1, **({"everything": True} | options))


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda path: Path(shutil.copyfile(path, tmp_path / path.name))


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        (old,) = file.read(1)
        file.seek(at)
        file.write(bytes([old ^ (1 << bit)]))


def with_record(path: Path, change: Callable[[dict], None], target: Path) -> Path:
    """The same tensors under a changed record."""
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    record = json.loads(metadata["loralathe"])
    change(record)
    metadata["loralathe"] = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    save_file(load_file(path), target, metadata)
    return target


def test_what_the_file_holds_of_what_is_added(tmp_path):
    """By the verifier's own arithmetic it is what the report of the merge says."""
    base = tiny_checkpoint("flux-alone", seed=1, width_divisor=64)
    coarse = {key: value.to(torch.float8_e4m3fn) for key, value in base.items()}
    write_safetensors(tmp_path / "A.safetensors", coarse)
    write_safetensors(
        tmp_path / "lora.safetensors", tiny_lora("flux-alone", rank=4, alpha=4, seed=2, width_divisor=64)
    )
    made = loralathe.merge(
        tmp_path / "A.safetensors",
        f"{tmp_path / 'lora.safetensors'}:0.02",
        output=tmp_path / "out.safetensors",
    )
    rounding = made.weights[0].rounding
    found = loralathe.verify(tmp_path / "out.safetensors", everything=True, threads=1)
    assert found.total.held == pytest.approx(rounding.total.held, abs=1e-4)
    assert found.total.error == pytest.approx(rounding.total.error, rel=1e-4)
    worst = next(block for block in found.blocks if block.block == rounding.worst.block)
    assert worst.held == pytest.approx(rounding.worst.held, abs=1e-4)
    assert found.total.held < 0.9


@pytest.mark.long
def test_a_sound_checkpoint(shop):
    found = check(shop, shop.checkpoint)
    assert found.ok, found.findings[:5]
    assert found.total.checked == found.total.tensors == len(read_header(shop.checkpoint).tensors)
    assert found.total.copied >= 1
    assert 0.3 < found.total.ulps <= 1.0
    assert found.inputs == {name: shop.path(name) for name in ("A", "B", "lora")}
    assert "extractions inside the recipe" in found.notes[0]


def test_a_sound_adapter(shop):
    found = check(shop, shop.adapter, everything=False)
    assert found.ok, found.findings[:5]
    assert found.kind == "adapter"
    assert 2 * (len(found.blocks) - 1) <= found.total.checked < found.total.tensors
    assert 0.0 <= found.total.excess < 0.01
    assert found.notes == ()


@pytest.mark.slow
def test_every_module_of_an_adapter(shop):
    found = check(shop, shop.adapter)
    assert found.ok, found.findings[:5]
    assert found.total.checked >= found.total.tensors


def test_the_sample_follows_the_seed(sd1):
    counts = [check(sd1, sd1.checkpoint, everything=False, seed=seed, least=1) for seed in (0, 0, 1)]
    assert counts[0] == counts[1]
    assert counts[0].total.checked == counts[2].total.checked < counts[0].total.tensors


@pytest.mark.long
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bit_of_a_checkpoints_data(sd1, copy, data):
    path = copy(sd1.checkpoint)
    header = read_header(path)
    at = data.draw(st.integers(header.data_start, header.file_size - 1))
    flip(path, at, data.draw(st.integers(0, 7)))
    found = check(sd1, path)
    hit = next(
        info.name for info in header.tensors.values() if info.begin <= at - header.data_start < info.end
    )
    assert {finding.place for finding in found.findings} == {hit}


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bit_of_an_adapters_data(sd1, copy, data):
    """Whatever is sampled: the file has a hash of its tensors."""
    path = copy(sd1.adapter)
    header = read_header(path)
    flip(path, data.draw(st.integers(header.data_start, header.file_size - 1)), data.draw(st.integers(0, 7)))
    try:
        found = check(sd1, path, everything=False, least=0, share=1e-9)
    except InputError as error:
        assert "alpha" in error.what  # noqa: PT017 -- an alpha that is no number
    else:
        assert any(finding.place == "metadata 'sshs_model_hash'" for finding in found.findings)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bit_of_a_header(sd1, copy, data):
    """Keys, shapes, offsets, the record, every other entry, spaces at the end: an error or a finding.

    Not what leaves the record as true: a pattern of `discard` that finds the same names, a weight of a block
    that the file has no tensors of, another version (which a note tells).
    """
    path = copy(sd1.checkpoint)
    at = data.draw(st.integers(0, read_header(path).data_start - 1))
    header = path.read_bytes()
    # In JSON within JSON a backslash is four.
    for text in (loralathe.__version__, FACE["sd1"], FEW.replace("\\", "\\" * 4)):
        assume(not 0 <= at - header.index(text.encode()) < len(text))
    flip(path, at, data.draw(st.integers(0, 7)))
    try:
        found = check(sd1, path, everything=False, least=0, share=1e-9)
    except InputError:
        return
    assert not found.ok, at


def test_a_wrong_strength(sd1, tmp_path):
    """The record says 0.8 where 0.7 was merged."""
    made = tmp_path / "made.safetensors"
    loralathe.merge(sd1.path("A"), f"{sd1.path('lora')}:0.7", output=made)
    assert check(sd1, made, everything=False).ok

    def stronger(record: dict) -> None:
        record["steps"]["merged"] = record["steps"]["merged"].replace("0.7", "0.8")

    lying = with_record(made, stronger, tmp_path / "lying.safetensors")
    found = check(sd1, lying, everything=False, exact=False)
    assert not found.ok
    assert any("are not what the recipe gives" in finding.what for finding in found.findings)


def test_a_wrong_strength_among_tensors_without_any(sd1, tmp_path):
    """All text-encoder tensors are computed, and the LoRA reaches one of them: it is sampled, too."""
    lora, made, lying = (tmp_path / f"{name}.safetensors" for name in ("lora", "made", "lying"))
    held = load_file(sd1.path("lora"))
    save_file({key: held[key] for key in held if "_te_" not in key or "layers_1_mlp_fc1" in key}, lora)
    inputs = {"A": sd1.path("A"), "B": sd1.path("B"), "lora": lora}
    loralathe.evaluate("0.5*A + 0.5*B + lora(te=0)", inputs, output=made, threads=1)

    def stronger(record: dict) -> None:
        record["steps"]["result"] = record["steps"]["result"].replace("te=0", "te=1")

    found = check(sd1, with_record(made, stronger, lying), everything=False, exact=False, least=1)
    assert {finding.place for finding in found.findings} & set(read_header(lying).tensors)


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [("variables", "M", 0.71), ("blocks", "Face", "*=0.5"), ("options", "dtype", "fp16")],
)
def test_other_lies_in_a_record(sd1, tmp_path, table, name, value):
    lying = with_record(
        sd1.checkpoint, lambda record: record[table].update({name: value}), tmp_path / "x.safetensors"
    )
    found = check(sd1, lying, exact=False)
    assert {finding.place for finding in found.findings} & set(read_header(lying).tensors)


@pytest.mark.parametrize(("old", "new"), [("rank=rank", "rank=2"), ("0.3*", "0.4*"), ("@Face", "@MIDD")])
def test_lies_about_an_extraction(sd1, tmp_path, old, new):
    def change(record: dict) -> None:
        record["steps"] = {name: text.replace(old, new) for name, text in record["steps"].items()}

    lying = with_record(sd1.adapter, change, tmp_path / "x.safetensors")
    found = check(sd1, lying, exact=False, everything=False)
    assert any(finding.place.startswith("lora_") for finding in found.findings)


def test_tensors_missing_and_too_many(sd1, tmp_path):
    with safe_open(sd1.checkpoint, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(sd1.checkpoint)
    first, second, *_ = tensors
    tensors["stranger"] = tensors.pop(first)
    tensors[second] = tensors[second].half()
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    found = {finding.place: finding.what for finding in check(sd1, tmp_path / "x.safetensors").findings}
    assert found[first] == "the tensor is missing"
    assert found["stranger"] == "the recipe gives no such tensor"
    assert found[second].startswith("it is F16 [")


def test_modules_missing_and_too_many(sd1, tmp_path):
    with safe_open(sd1.adapter, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(sd1.adapter)
    gone = sorted({key.partition(".")[0] for key in tensors if "_up_" in key})[0]
    for key in [key for key in tensors if key.startswith(f"{gone}.")]:
        del tensors[key]
    tensors["lora_unet_stranger.alpha"] = torch.tensor(1.0)
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    found = {finding.place: finding.what for finding in check(sd1, tmp_path / "x.safetensors").findings}
    assert found[gone].startswith("it is missing, though the difference has ")
    assert found["lora_unet_stranger.alpha"] == "the recipe gives no such tensor"


def test_a_factor_changed_beyond_rounding(sd1, tmp_path):
    """Seen without the hash and without the engine: by the rest of the factors."""
    with safe_open(sd1.adapter, "pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(sd1.adapter)
    name = next(key for key in tensors if key.endswith("mid_block_attentions_0_proj_in.lora_down.weight"))
    down = tensors[name]
    down[0, 0] = down[0, 0] + 0.1 * down[0].abs().mean()
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    found = check(sd1, tmp_path / "x.safetensors", exact=False)
    assert name.partition(".")[0] in {finding.place for finding in found.findings}


def test_last_bits_count_only_when_exact(sd1, copy):
    """A flipped last bit is within rounding: another machine may differ so, this one may not."""
    path = copy(sd1.checkpoint)
    header = read_header(path)
    name = next(key for key in header.tensors if key.endswith("input_blocks.1.1.proj_in.weight"))
    flip(path, header.data_start + header.tensors[name].begin)
    strict = check(sd1, path)
    assert [finding.place for finding in strict.findings] == [name]
    assert "in the last bit" in strict.findings[0].what
    assert check(sd1, path, exact=False).ok


def test_inputs(sd1, copy, tmp_path):
    path = copy(sd1.checkpoint)
    with pytest.raises(InputError, match="3 of the recipe's 3 inputs are not in"):
        loralathe.verify(path)
    swapped = {"A": sd1.path("B"), "B": sd1.path("A"), "lora": sd1.path("lora")}
    with pytest.raises(InputError, match="'A' is another file") as caught:
        loralathe.verify(path, swapped)
    assert "were two swapped?" in str(caught.value.fix)
    damaged = Path(shutil.copyfile(sd1.path("A"), tmp_path / "A.safetensors"))
    flip(damaged, damaged.stat().st_size - 1)
    with pytest.raises(InputError, match="'A' is another file"):
        loralathe.verify(path, {"A": damaged}, search=[sd1.folder])


def test_swapped_inputs_without_hashes(sd1, tmp_path):
    """Nothing tells the files apart but the numbers."""
    made = tmp_path / "made.safetensors"
    inputs = {"A": sd1.path("A"), "B": sd1.path("B")}
    loralathe.evaluate("A + 0.3*(B - A)", inputs, output=made, hash_inputs=False)
    assert loralathe.verify(made, inputs, threads=1).ok
    found = loralathe.verify(made, {"A": sd1.path("B"), "B": sd1.path("A")}, threads=1)
    assert not found.ok
    assert found.by_name == ("A", "B")


def test_no_record_and_a_damaged_one(sd1, tmp_path):
    with pytest.raises(InputError, match="no record"):
        loralathe.verify(sd1.path("A"))
    save_file(load_file(sd1.path("lora")), tmp_path / "x.safetensors", {"loralathe": '{"version": 1}'})
    with pytest.raises(InputError, match="record of how the file was made is damaged"):
        loralathe.verify(tmp_path / "x.safetensors")


def test_adapters_alone(sd1, tmp_path):
    """No checkpoint takes part: the modules are the units."""
    made = tmp_path / "made.safetensors"
    inputs = {"x": sd1.path("lora"), "y": sd1.adapter}
    loralathe.evaluate("fp16(extract(0.5*x - 0.25*y(te=0.5), rank=4))", inputs, output=made)
    found = loralathe.verify(made, inputs, threads=1)
    assert found.ok, found.findings[:3]


def test_formulas_of_all_kinds(sd1, tmp_path):
    """Rounding inside, element rules with block weights, keys that cancel, fp32 output."""
    made = tmp_path / "made.safetensors"
    inputs = {"A": sd1.path("A"), "B": sd1.path("B"), "h": sd1.path("lora")}
    rules = "elements='IN04-OUT05:attn2:0.25,BASE:mlp:0'"
    formula = f"bf16(A + 0.5*h(te=0.3, {rules})@OUTALL) + (B - A)@'IN01=0.5,*=0.2' + 2*B - 2*B"
    loralathe.evaluate(formula, inputs, output=made, dtype="fp32", threads=1)
    found = loralathe.verify(made, inputs, least=6, threads=1)
    assert found.ok, found.findings[:3]


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "formula",
    [
        "weighted_sum(A, h - h + B, 0.3, elements='IN04-IN08:attn2:0.5') + 0*h",
        "weighted_sum(A + h, B, alpha=Face)",
        "add_difference(A, B, A + h, 'BASE=0.2,IN00=0.3,OUT11=0.4,*=0.1')",
        "triple_sum(A, B, A + h, Face, beta=M)",
        "sum_twice(A, B, A + h, 0.3, 'TE1=0.2,*=0.6')",
        "A + 0.5*extract(weighted_sum(h, B - A, M), rank=2)",
    ],
)
@pytest.mark.long
def test_sums_by_name_have_a_reference_of_their_own(sd1, tmp_path, formula):
    """Nothing is replayed, and another amount in the record is found without the engine's own result."""
    made = tmp_path / "made.safetensors"
    inputs = {"A": sd1.path("A"), "B": sd1.path("B"), "h": sd1.path("lora")}
    numbers = ",".join(str(round(0.03 * place, 2)) for place in range(26))
    names = {"variables": {"M": 0.25}, "blocks": {"Face": numbers}}
    loralathe.evaluate(formula, inputs, output=made, threads=1, **names)
    found = check(sd1, made, everything=False, least=4)
    assert found.ok, found.findings[:3]
    assert not any("no float64 reference" in note for note in found.notes)

    def other(record: dict) -> None:
        step = record["steps"]["result"]
        record["steps"]["result"] = step.replace("0.3", "0.4").replace("(h,", "(2*h,")
        record["variables"] = dict.fromkeys(record.get("variables", {}), 0.5)
        record["blocks"] = {name: numbers.replace("0.0,", "0.9,", 1) for name in record.get("blocks", {})}

    lying = with_record(made, other, tmp_path / "lying.safetensors")
    found = check(sd1, lying, everything=False, least=4, exact=False)
    assert {finding.place for finding in found.findings} & set(read_header(lying).tensors)


@pytest.mark.parametrize(("dtype", "kind"), [("F16", np.float16), ("F32", np.float32)])
def test_ulp_is_numpys_spacing(dtype, kind):
    values = np.array([0.0, 1.0, 0.999, -3.7, 2.0**-20, 1e-8, 65000.0], kind)
    expected = np.abs(np.spacing(np.abs(values)).astype(np.float64))
    np.testing.assert_array_equal(ulp(torch.from_numpy(values.astype(np.float64)), dtype).numpy(), expected)


def test_factors_of_another_shape_or_dtype(sd1, tmp_path):
    """Forged consistently, so that no header check sees it."""
    with safe_open(sd1.adapter, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(sd1.adapter)
    first, second = sorted({key.partition(".")[0] for key in tensors if "_mid_block_" in key})[:2]
    up = tensors[f"{first}.lora_up.weight"]
    tensors[f"{first}.lora_up.weight"] = torch.cat([up, up])
    for part in ("up", "down"):
        tensors[f"{second}.lora_{part}.weight"] = tensors[f"{second}.lora_{part}.weight"].float()
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    found = check(sd1, tmp_path / "x.safetensors", exact=False, everything=False, least=99)
    said = {finding.place: finding.what for finding in found.findings}
    assert " do not fit [" in said[first]
    assert said[second] == "its factors are F32 and F32, the recipe gives F16"


def test_terms_that_cancel_are_measured_by_the_sum(sd1, tmp_path):
    """0.7·3 − 0.3·7 is 0 but for the last place of fp32, which is far above that of bf16 at 0."""
    inputs = {}
    for name, number in (("A", 3.0), ("B", -7.0)):
        tensors = load_file(sd1.path(name))
        tensors["model.diffusion_model.out.2.bias"][:] = number
        inputs[name] = tmp_path / f"{name}.safetensors"
        save_file(tensors, inputs[name])
    made = tmp_path / "made.safetensors"
    loralathe.evaluate("0.7*A + 0.3*B", inputs, output=made, dtype="bf16", threads=1)
    found = check(sd1, made, everything=False, least=8)
    assert found.ok
    assert found.total.ulps is not None
    assert found.total.ulps < 4


def test_a_device_that_is_not_here(sd1, tmp_path):
    """What a GPU made can be checked without one: against the formulas, though not byte for byte."""
    path = made_on("nowhere", sd1.adapter, tmp_path)
    events: list[Event] = []
    found = check(sd1, path, everything=False, progress=Progress(CallableSink(events.append)))
    # The header is safetensors' own, since this test changed it; nothing else is amiss.
    assert [finding.place for finding in found.findings] == ["header"]
    assert not found.exact
    assert any('device="nowhere", which is not here' in event.text for event in events)


def made_on(device: str, path: Path, folder: Path) -> Path:
    def change(record: dict) -> None:
        options = record["options"]
        later = {name: options.pop(name) for name in ("allow_unmatched", "missing_blocks")}
        options |= {"device": device, **later}

    return with_record(path, change, folder / path.name)


def test_blocks_that_a_short_list_lacks_are_copied_and_sound(sd1, tmp_path):
    """A 17-list says nothing of IN00; no module of the LoRA is there, so its tensors are the base's."""
    made = tmp_path / "short.safetensors"
    short = ",".join(["0.5"] * 17)
    loralathe.merge(sd1.path("A"), f"{sd1.path('lora')}:0.8:{short}", output=made)
    found = check(sd1, made)
    assert found.ok, found.findings[:5]
    assert any(block.block == "IN00" and block.copied for block in found.blocks)
