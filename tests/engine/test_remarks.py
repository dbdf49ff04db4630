"""Sentences at the end of a report: which number calls for which act (docs/semantics.md §8)."""

from __future__ import annotations

import numpy as np
import pytest

from checkpoints import tiny_checkpoint, write_safetensors
from loralathe.commands import as_flag
from loralathe.engine.energies import BlockEnergy
from loralathe.engine.remarks import extraction_remarks
from loralathe.families.sd1 import SD1
from loralathe.language import ExtractOptions

from .reference import as_float64


def sentences(remarks):
    """Kind of each sentence → how the command line says it."""
    return {found.kind: found.text.spelled(as_flag) for found in remarks}


def share_of(sd1, scope, component):
    """Share of ‖B − A‖² in some layers, in float64."""
    A, B = as_float64(sd1.tensors["A"]), as_float64(sd1.tensors["B"])
    modules = SD1.modules(sd1.tensors["A"]).values()
    keys = {module.key for module in modules if (module.scope, module.component) == (scope, component)}
    squares = {key: np.square(B[key] - A[key]).sum() for key in A if key in B}
    return sum(squares[key] for key in keys) / sum(squares.values())


def test_convolutions_that_were_not_asked_for(sd1, evaluate):
    _, report = evaluate(sd1, "extract(B - A, rank=2, te1=False)")
    total, remarks = report.extractions[0].total(), report.extractions[0].remarks
    share = share_of(sd1, "conv", "unet")
    assert total.convolutions / total.energy == pytest.approx(share, rel=1e-3)
    assert total.encoders / total.energy == pytest.approx(share_of(sd1, "linear", "te1"), rel=1e-3)
    assert total.unheld == pytest.approx(total.outside - total.convolutions - total.encoders)
    found = next(one for one in remarks if one.kind == "convolutions")
    text = f"{100 * share:.0f} % of the difference lies in convolutions: add --conv-rank 1"
    assert (found.numbers["share"], found.text.spelled(as_flag)) == (pytest.approx(share, rel=1e-3), text)
    assert str(found.text) == text.replace("--conv-rank 1", "conv_rank=1"), "as formulas spell it"


def energy(**parts):
    """A difference of 100 whose parts are given, the rest kept."""
    outside = sum(parts.get(name, 0.0) for name in ("convolutions", "encoders", "unheld"))
    parts.pop("unheld", None)
    kept = 100.0 - outside - parts.get("truncated", 0.0) - parts.get("noise", 0.0)
    parts = {"truncated": 0.0, "noise": 0.0, "weights": 1e4, **parts}
    return BlockEnergy("total", 100.0, kept, outside=outside, modules=9, **parts)


OF = "of the difference"
SENTENCES = [
    ({"convolutions": 57.0}, {"rank": 64}, "57 % of the difference lies in convolutions: add --conv-rank 32"),
    ({"convolutions": 57.0}, {"rank": None}, "57 % of the difference lies in convolutions: add --conv"),
    ({"encoders": 8.0}, {"te1": False},
     f"8 % {OF} lies in text encoders: leave out --no-te1 to keep it"),
    ({"unheld": 7.0}, {}, f"7 % {OF} lies in biases, norms, embeddings and other layers that no LoRA holds: "
     "add-difference carries them over, too"),
    ({"truncated": 9.0}, {"rank": 16}, f"9 % {OF} lies beyond rank 16: --rank 32 keeps more of it"),
    ({"noise": 6.0}, {}, f"6 % {OF} is no larger than the rounding of the files, and was left out: "
     "--keep-noise keeps it"),
    ({"truncated": 4.0, "noise": 4.0, "convolutions": 4.0}, {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "options", "sentence"), SENTENCES)
def test_each_part_has_its_act(parts, options, sentence):
    found = extraction_remarks(energy(**parts), {"requested": 9}, 64, ExtractOptions(**options))
    assert list(sentences(found).values()) == ([sentence] if sentence else [])


def test_a_rank_that_was_more_than_enough(sd1, evaluate):
    _, large = evaluate(sd1, "resize(lora, rank=128)")
    assert sentences(large.extractions[0].remarks) == {"enough": "asked for rank 128, 4 were enough"}
    _, fitting = evaluate(sd1, "resize(lora, rank=4)")
    assert fitting.extractions[0].remarks == ()


def test_a_difference_as_large_as_the_models(tmp_path, sd1, evaluate):
    """Random models stand √2 of their length apart; a fine-tune stands near."""
    other = {key: tensor for key, tensor in tiny_checkpoint("sd1", seed=9).items() if key in sd1.tensors["A"]}
    inputs = {"A": sd1.path("A"), "X": write_safetensors(tmp_path / "x.safetensors", other)}
    _, report = evaluate(None, "extract(X - A, rank=1)", inputs=inputs)
    assert report.extractions[0].total().relative == pytest.approx(1.4, abs=0.15)
    said = sentences(report.extractions[0].remarks)["unrelated"]
    assert "neither model is a fine-tune of the other" in said
