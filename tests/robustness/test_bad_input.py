"""Damaged, foreign and mismatched inputs: the exact message, and the folder as it was before."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from checkpoints import tiny_checkpoint, write_safetensors
from loralathe.engine import RunOptions, run_recipe
from loralathe.errors import InputError
from loralathe.families import supported_families
from loralathe.progress import CallableSink, Event, Progress
from robustness.workdir import (
    DIVISOR,
    MERGE,
    Says,
    contents,
    edit_header,
    recipe_in,
    refused,
    run_in,
    sd1_lora,
)

WEIGHT = "model.diffusion_model.input_blocks.1.1.proj_in.weight"
UP = "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"
AGAIN = "download or copy the file again"
DAMAGED = AGAIN + "; it is damaged or was written by a faulty program"
BROKEN = "that file is damaged, or was saved by an overflowing fp16 merge; get it again"
Damage = Callable[[Path], object]


def cut(size: int) -> Damage:
    """Keep so many bytes of A; a negative size drops that many from its end."""

    def damage(folder: Path) -> None:
        file = folder / "A.safetensors"
        file.write_bytes(file.read_bytes()[:size])

    return damage


def header_of_length(length: int) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "A.safetensors"
        file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])

    return damage


def moved(by: int) -> Damage:
    def edit(table: dict[str, dict[str, object]]) -> None:
        begin, end = table[WEIGHT]["data_offsets"]  # type: ignore[misc]
        table[WEIGHT]["data_offsets"] = [begin + by, end + by]

    return lambda folder: edit_header(folder / "A.safetensors", edit)


def as_dtype(name: str) -> Damage:
    return lambda folder: edit_header(
        folder / "A.safetensors", lambda table: table[WEIGHT].update(dtype=name)
    )


def text_file(folder: Path) -> None:
    (folder / "A.safetensors").write_text("Thank you for downloading.\nSee README.\n" * 9)


UNREADABLE: dict[str, tuple[Damage, Says]] = {
    "truncated": (
        cut(-1000),
        (
            "truncated: the tensors need 528,316 bytes, the file has 527,316 after its header",
            "DIR/A.safetensors, tensor 'model.diffusion_model.time_embed.0.weight' ends at 527,476",
            AGAIN,
        ),
    ),
    "truncated in the header": (
        cut(500),
        ("truncated: the header needs 143,520 bytes, the file has 500", "DIR/A.safetensors", AGAIN),
    ),
    "empty": (cut(0), ("the file is empty", "DIR/A.safetensors", "download or copy it again")),
    "text": (
        text_file,
        ("a text file, not a model", "DIR/A.safetensors", "download the model file itself"),
    ),
    "header length beyond the file": (
        header_of_length(50_000_000),
        (
            "truncated: the header needs 50,000,008 bytes, the file has 671,836",
            "DIR/A.safetensors",
            AGAIN,
        ),
    ),
    "header length absurd": (
        header_of_length(1 << 60),
        (
            "not a safetensors file, or a damaged one: "
            "its header would be 1,152,921,504,606,846,976 bytes long",
            "DIR/A.safetensors",
            "the format allows 100,000,000; check that this is a safetensors model",
        ),
    ),
    "overlapping offsets": (
        moved(-2),
        (
            "tensor data overlaps the tensor before it: starts at 95,826, expected 95,828",
            f"DIR/A.safetensors, tensor '{WEIGHT}'",
            DAMAGED,
        ),
    ),
    "offsets beyond the file": (
        moved(10**9),
        (
            "the tensor's data lies beyond the file: it ends at 1,000,095,878 of 528,316 bytes",
            f"DIR/A.safetensors, tensor '{WEIGHT}'",
            DAMAGED,
        ),
    ),
    "unknown dtype": (
        as_dtype("F17"),
        ("unknown dtype 'F17'", f"DIR/A.safetensors, tensor '{WEIGHT}'", "did you mean 'F16'?"),
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_read(folder: Path, name: str) -> None:
    damage, says = UNREADABLE[name]
    damage(folder)
    with refused(folder, InputError) as fault:
        run_in(folder)
    assert fault.says(folder) == says


def poison(folder: Path, file: str, key: str, value: float) -> None:
    tensors = load_file(folder / file)
    tensors[key].view(-1)[3] = value
    write_safetensors(folder / file, tensors)


@pytest.mark.parametrize(
    ("file", "formula", "value"),
    [
        ("A.safetensors", "A + 0.7*lora", float("nan")),
        ("B.safetensors", "A + 0.5*(B - A)", float("inf")),
        ("B.safetensors", "extract(B - A, rank=2)", float("-inf")),
        ("B.safetensors", "fp16(A + 0.5*(B - A)) + 0.1*lora", float("nan")),
    ],
)
def test_nan_in_what_is_computed(folder: Path, file: str, formula: str, value: float) -> None:
    poison(folder, file, WEIGHT, value)
    with refused(folder, InputError) as fault:
        run_in(folder, formula)
    assert fault.says(folder) == (f"NaN or Inf in the tensor '{WEIGHT}'", f"DIR/{file}", BROKEN)


def test_nan_outside_of_what_is_extracted(folder: Path) -> None:
    poison(folder, "B.safetensors", "model.diffusion_model.out.2.weight", float("nan"))
    with refused(folder, InputError) as fault:
        run_in(folder, "extract(B - A, rank=2)")
    assert fault.says(folder)[:2] == (
        "NaN or Inf in the tensor 'model.diffusion_model.out.2.weight'",
        "DIR/B.safetensors",
    )


def test_nan_in_a_lora(folder: Path) -> None:
    poison(folder, "lora.safetensors", UP, float("nan"))
    with refused(folder, InputError) as fault:
        run_in(folder)
    assert fault.says(folder) == (
        "the tensor holds NaN or infinity",
        f"DIR/lora.safetensors, tensor '{UP}'",
        "the training or its save went wrong; use another epoch of the LoRA",
    )


def test_nan_in_a_copied_tensor_is_looked_for_when_asked(folder: Path) -> None:
    key = "first_stage_model.decoder.conv_in.bias"
    poison(folder, "A.safetensors", key, float("nan"))
    with refused(folder, InputError) as fault:
        run_in(folder, options=RunOptions(threads=1, check_finite=True))
    assert fault.says(folder) == (f"NaN or Inf in the tensor '{key}'", "DIR/A.safetensors", BROKEN)
    run_in(folder)
    assert load_file(folder / "out.safetensors")[key].isnan().sum() == 1


def test_what_overflows_the_output(folder: Path) -> None:
    with refused(folder, InputError) as fault:
        run_in(folder, "A + 1e30*lora")
    what, where, fix = fault.says(folder)
    assert "more than float16 can hold" in what
    assert str(where).startswith("the tensor '")
    assert fix == 'save with dtype="bf16" or dtype="fp32"'


def test_models_of_two_families(folder: Path) -> None:
    xl = write_safetensors(folder / "XL.safetensors", tiny_checkpoint("sdxl", seed=1, width_divisor=DIVISOR))
    with refused(folder, InputError) as fault:
        run_in(folder, "A + 0.5*(XL - A)", XL=xl)
    assert fault.says(folder) == (
        "the checkpoints are of different families",
        "A.safetensors is SD 1.5, XL.safetensors is SDXL",
        "arithmetic needs models of one family",
    )
    with refused(folder, InputError) as fault:
        run_in(folder, "XL + lora", XL=xl)
    what, where, fix = fault.says(folder)
    assert what == "the shapes of 46 of 96 modules differ from the base's (SDXL)"
    module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    assert str(where).startswith(f"DIR/lora.safetensors: {module}: [10, 12], the base has [10, 32]; ")
    assert str(fix).endswith("use a LoRA made for SDXL")


def test_models_of_two_shapes(folder: Path) -> None:
    wide = tiny_checkpoint("sd1", seed=1, width_divisor=DIVISOR // 2)
    write_safetensors(folder / "W.safetensors", wide)
    with refused(folder, InputError) as fault:
        run_in(folder, "A + 0.5*(W - A)", W="W.safetensors")
    first = "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"
    assert fault.says(folder) == (
        f"the tensor '{first}' has different shapes, and so have 1,122 others",
        "A.safetensors: [77, 12], W.safetensors: [77, 24]",
        "the two models have different structure and cannot be combined",
    )
    with refused(folder, InputError) as fault:
        run_in(folder, "W + lora", W="W.safetensors")
    assert fault.says(folder)[0] == "the shapes of 264 of 264 modules differ from the base's (SD 1.5)"


def unrecognized_keys(count: int) -> dict[str, torch.Tensor]:
    parts = ("lora_up.weight", "lora_down.weight")
    return {f"lora_unet_strange_{i}.{part}": torch.ones(2, 2) for i in range(count) for part in parts}


def test_a_lora_that_matches_nothing(folder: Path) -> None:
    write_safetensors(folder / "lora.safetensors", unrecognized_keys(2))
    for allow in (False, True):
        with refused(folder, InputError) as fault:
            run_in(folder, options=RunOptions(threads=1, allow_unmatched=allow))
        assert fault.says(folder) == (
            "this LoRA is for no family known here",
            "DIR/lora.safetensors: lora_unet_strange_0, lora_unet_strange_1",
            f"LoRAs for {supported_families()} are supported",
        )


def test_a_lora_that_matches_partly(folder: Path) -> None:
    write_safetensors(folder / "lora.safetensors", sd1_lora() | unrecognized_keys(2))
    with refused(folder, InputError) as fault:
        run_in(folder)
    assert fault.says(folder) == (
        "2 of the LoRA's 266 modules have no place in the base (SD 1.5)",
        "DIR/lora.safetensors: lora_unet_strange_0, lora_unet_strange_1",
        "use a LoRA made for SD 1.5, or allow_unmatched=True to leave them out",
    )
    report = run_in(folder, options=RunOptions(threads=1, allow_unmatched=True))
    assert report.coverage["lora"].unmatched == ("lora_unet_strange_0", "lora_unet_strange_1")
    assert report.coverage["lora"].used == 264


def test_what_has_strength_0_needs_no_place(folder: Path) -> None:
    """A base without a text encoder."""
    tensors = load_file(folder / "A.safetensors")
    tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith("cond_stage_model.")}
    write_safetensors(folder / "A.safetensors", tensors)
    with refused(folder, InputError) as fault:
        run_in(folder, "A + lora")
    assert fault.says(folder)[0] == "72 of the LoRA's 264 modules have no place in the base (SD 1.5)"
    report = run_in(folder, "A + lora(te=0)")
    coverage = report.coverage["lora"]
    assert (coverage.used, coverage.zero_strength, coverage.unmatched) == (192, 72, ())


def test_what_has_strength_0_may_have_another_shape(folder: Path) -> None:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    odd = {f"{name}.lora_up.weight": torch.ones(7, 2), f"{name}.lora_down.weight": torch.ones(2, 7)}
    write_safetensors(folder / "lora.safetensors", sd1_lora() | odd)
    with refused(folder, InputError) as fault:
        run_in(folder, "A + lora")
    assert fault.says(folder)[0] == "the shapes of 1 of 264 modules differ from the base's (SD 1.5)"
    report = run_in(folder, "A + lora(elements='IN01:to_q:0')")
    assert report.coverage["lora"].unmatched == ()
    assert report.coverage["lora"].zero_strength > 0


def test_a_checkpoint_with_a_hole(folder: Path) -> None:
    tensors = load_file(folder / "A.safetensors")
    attention = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1"
    for name in ("to_q", "to_k"):
        del tensors[f"{attention}.{name}.weight"]
    write_safetensors(folder / "A.safetensors", tensors)
    with refused(folder, InputError) as fault:
        run_in(folder)
    assert fault.says(folder) == (
        "this SD 1.5 checkpoint is incomplete: 2 tensors of its U-Net are missing",
        f"DIR/A.safetensors: {attention}.to_q.weight, {attention}.to_k.weight",
        "get the file again, or the tool that wrote it dropped them",
    )


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("name", ["A.ckpt", "A.pt", "A.pth", "A.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_loaded(folder: Path, name: str, zipped: bool) -> None:
    bomb = {"state_dict": Bomb(folder / "boom")}
    if zipped:
        torch.save(bomb, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(bomb))
    with refused(folder, InputError) as fault:
        run_in(folder, A=name)
    what, where, fix = fault.says(folder)
    assert what.startswith("the pickle asks for '")
    assert what.endswith("', which a model does not need: the file may be malicious")
    assert str(where).startswith(f"DIR/{name}, byte ")
    assert str(fix).startswith("do not open it in programs that run pickles")


@pytest.mark.parametrize(
    ("given", "where", "fix"),
    [
        ("lora_.safetensors", "DIR/lora_.safetensors", "did you mean 'lora.safetensors'"),
        ("nope/A.safetensors", "DIR/nope/A.safetensors", "the folder DIR/nope does not exist"),
    ],
)
def test_a_missing_file(folder: Path, given: str, where: str, fix: str) -> None:
    with refused(folder, InputError) as fault:
        run_in(folder, A=given)
    what, place, hint = fault.says(folder)
    assert (what, place) == ("no such file", where)
    assert str(hint).startswith(fix)


def test_an_input_that_no_saved_step_needs_is_not_opened(folder: Path) -> None:
    run_in(folder, MERGE, B="nothing here.safetensors")
    assert (folder / "out.safetensors").exists()


def written_to(folder: Path) -> None:
    with (folder / "B.safetensors").open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"xy")


def replaced(folder: Path) -> None:
    shutil.copy(folder / "A.safetensors", folder / "new")
    os.replace(folder / "new", folder / "B.safetensors")


@pytest.mark.quick(1)
@pytest.mark.parametrize("change", [written_to, replaced, lambda folder: (folder / "B.safetensors").unlink()])
def test_a_file_that_changes_while_it_is_read(folder: Path, change: Damage) -> None:
    """Mixed bytes under the hash of one of the two files would be worse than an error."""

    def seen(event: Event) -> None:
        if event.kind == "advance" and event.task == "computing" and (folder / "B.safetensors").exists():
            change(folder)

    recipe = recipe_in(folder, "A + 0.5*(B - A)")
    with pytest.raises(InputError, match="changed while it was read") as caught:
        run_recipe(recipe, RunOptions(threads=1), Progress(CallableSink(seen)))
    assert "B.safetensors" in str(caught.value)
    assert sorted(contents(folder)) == sorted(
        {"A.safetensors", "B.safetensors", "lora.safetensors"} & {path.name for path in folder.iterdir()}
    )
