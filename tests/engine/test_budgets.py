"""Budgets over a whole file against full float64 decompositions of every module (numpy)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoints import manifest, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import RunOptions, evaluate_weights, open_session, run_recipe
from loralathe.engine.budgets import _BudgetAllocator
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe
from loralathe.lowrank import KnapsackItem

from .reference import as_float64, lora_delta, lora_names, targets

WIDTH = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A, and T = A + differences whose singular values fall like 1/k, each layer at a strength of its own."""
    place = tmp_path_factory.mktemp("budgets")
    base = tiny_checkpoint("sd1", seed=1, width_divisor=WIDTH, dtype="F32")
    generator = np.random.default_rng(5)
    tuned = dict(base)
    for target in targets("sd1").values():
        tensor = base[target.key]
        out = tensor.shape[0]
        width = tensor.numel() // out
        k = min(out, width)
        left, _ = np.linalg.qr(generator.standard_normal((out, k)))
        right, _ = np.linalg.qr(generator.standard_normal((width, k)))
        values = generator.uniform(0.01, 0.3) / np.arange(1, k + 1)
        delta = torch.from_numpy((left * values) @ right.T).reshape(tensor.shape)
        tuned[target.key] = (tensor.double() + delta).float()
    write_safetensors(place / "A.safetensors", base)
    write_safetensors(place / "T.safetensors", tuned)
    write_safetensors(
        place / "lora.safetensors", tiny_lora("sd1", rank=4, alpha=2, seed=3, width_divisor=WIDTH)
    )
    return place


@dataclass(frozen=True)
class Layer:
    """Bytes of a direction, bytes of its names in the header and its alpha, s² falling."""

    cost: int
    fixed: int
    energies: np.ndarray


def layer_of(name: str, matrix: np.ndarray, width: int) -> Layer:
    out, columns = matrix.shape
    entries = {
        f"{name}.alpha": [],
        f"{name}.lora_up.weight": [out, 9],
        f"{name}.lora_down.weight": [9, columns],
    }
    table = {
        key: {"dtype": f"F{8 * width}", "shape": shape, "data_offsets": [100_000, 100_000]}
        for key, shape in entries.items()
    }
    fixed = len(json.dumps(table, separators=(",", ":"))) - 1 + width
    return Layer(width * (out + columns), fixed, np.square(np.linalg.svd(matrix, compute_uv=False)))


@pytest.fixture(scope="module")
def deltas(folder):
    """kohya name → difference of every module as a matrix, float64."""
    A = as_float64(load_file(folder / "A.safetensors"))
    T = as_float64(load_file(folder / "T.safetensors"))
    return {name: (T[t.key] - A[t.key]).reshape(len(A[t.key]), -1) for name, t in targets("sd1").items()}


def layers(deltas, kind: str, width: int) -> list[Layer]:
    """What the modules of a kohya LoRA (linear, conv) have to sell in numbers of `width` bytes."""
    names = sorted({key.split(".")[0] for key in manifest(f"lora_kohya_sd15_{kind}")})
    return [layer_of(name, deltas[name], width) for name in names]


@pytest.fixture
def extract(folder, tmp_path):
    def run(formula: str, dtype: str | None = "fp32", threads: int = 2):
        file = tmp_path / f"x{len(list(tmp_path.iterdir()))}.safetensors"
        names = ("A", "T", "lora")
        recipe = make_recipe(
            inputs={name: folder / f"{name}.safetensors" for name in names if name in formula},
            steps={"x": formula},
            saves=[Save("x", file, dtype)],
        )
        report = run_recipe(recipe, RunOptions(hash_inputs=False, threads=threads))
        return file, load_file(file), report

    return run


def relaxed(rows):
    """(bytes, energy) of the relaxed optimum's steps, cumulative: a layer's first ranks go together."""
    steps = []
    for layer in rows:
        sums = np.cumsum(layer.energies)
        average = sums / (layer.fixed + layer.cost * np.arange(1, len(sums) + 1))
        first = int(np.argmax(average))
        steps.append((layer.fixed + layer.cost * (first + 1), sums[first]))
        steps += [(layer.cost, energy) for energy in layer.energies[first + 1 :]]
    steps.sort(key=lambda step: -step[1] / step[0])
    return np.cumsum(np.array(steps), axis=0)


def best_for_bytes(rows, nbytes):
    """No choice of whole directions in so many bytes keeps more energy."""
    path = relaxed(rows)
    return np.interp(nbytes, np.concatenate([[0], path[:, 0]]), np.concatenate([[0], path[:, 1]]))


def least_bytes(rows, energy):
    path = relaxed(rows)
    return np.interp(energy, np.concatenate([[0], path[:, 1]]), np.concatenate([[0], path[:, 0]]))


def bytes_of_layers(file: Path) -> int:
    """The file without its metadata and the padding of its header."""
    data = file.read_bytes()
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    table = json.loads(header)
    metadata = json.dumps(
        {"__metadata__": table.pop("__metadata__")}, ensure_ascii=False, separators=(",", ":")
    )
    return len(data) - 8 - (len(header) - len(header.rstrip())) - len(metadata.encode())


def tensor_bytes(lora):
    return sum(4 * value.numel() for key, value in lora.items() if not key.endswith(".alpha"))


def kept_in(lora):
    return sum(float(np.square(lora_delta(lora, name)).sum()) for name in lora_names(lora))


@pytest.mark.quick(1)
@pytest.mark.parametrize("depth", [64, 3])
@pytest.mark.long
def test_a_size_is_kept_and_spent_best(extract, deltas, monkeypatch, depth):
    """Within 0.1 % of the optimum of the same bytes, whether spectra are known at once or bit by bit."""
    monkeypatch.setattr("loralathe.engine.budgets.FIRST_DEPTH", depth)
    limit = 400_000
    file, lora, report = extract(f"extract(T - A, size={limit}, keep_noise=True)")
    assert limit - 400 <= os.path.getsize(file) <= limit
    best = best_for_bytes(layers(deltas, "linear", 4), bytes_of_layers(file))
    assert best / 1.001 <= kept_in(lora) <= best * 1.001
    total = report.extractions[0].total()
    assert total.kept == pytest.approx(kept_in(lora), rel=1e-4)
    assert total.nbytes == tensor_bytes(lora)
    assert report.extractions[0].reasons["budget"] > 200


@pytest.mark.parametrize("step", [149, pytest.param(37, marks=pytest.mark.slow)])
def test_more_bytes_never_keep_less(step):
    """Steps of many bytes, and a header that no offer knows: what fits into less must be found again."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.rand(60, 1, generator=generator) + 0.5
    energies = sizes * torch.rand(60, 8, generator=generator).sort(descending=True).values
    offers = [KnapsackItem(row, 48, 300) for row in energies]

    class Shop:
        def _file_size(self, modules, ranks):
            return 900 + sum(290 + 48 * rank for rank in ranks if rank)

    kept = [_BudgetAllocator._fitting(Shop(), [], offers, limit).kept for limit in range(4000, 12000, step)]
    assert kept == sorted(kept)


@pytest.mark.long
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_an_energy_is_reached_with_the_fewest_bytes(extract, deltas, share):
    file, lora, report = extract(f"extract(T - A, energy={share}, keep_noise=True)", dtype=None)
    rows = layers(deltas, "linear", 2)
    energy = share * sum(layer.energies.sum() for layer in rows)
    assert kept_in(lora) >= energy * (1 - 1e-4)
    assert bytes_of_layers(file) <= 1.001 * least_bytes(rows, energy) + 400
    assert report.extractions[0].budget.share == pytest.approx(share, abs=1e-3)
    assert not report.extractions[0].budget.missed


@pytest.mark.long
def test_deepening_finds_what_full_decompositions_find(extract, monkeypatch):
    formula = "extract(T - A, energy=0.97, keep_noise=True)"
    _, whole, _ = extract(formula)
    monkeypatch.setattr("loralathe.engine.budgets.FIRST_DEPTH", 2)
    _, deepened, _ = extract(formula)
    assert whole.keys() == deepened.keys()
    assert all(whole[key].shape == deepened[key].shape for key in whole)


def test_a_cap_holds_and_a_missed_energy_is_said(extract):
    _, lora, report = extract("extract(T - A, energy=0.99, rank=2, keep_noise=True)")
    assert {value.shape[0] for key, value in lora.items() if "lora_down" in key} == {2}
    budget = report.extractions[0].budget
    assert budget.missed
    assert budget.share < 0.99
    assert float(lora[next(key for key in lora if key.endswith("alpha"))]) == 2.0


@pytest.mark.long
def test_convolutions_share_the_budget_when_asked(extract, deltas):
    file, lora, _ = extract("extract(T - A, size='300kB', conv=True, keep_noise=True)")
    conv = [key for key, value in lora.items() if value.ndim == 4 and value.shape[2] == 3]
    assert conv
    rows = layers(deltas, "conv", 4)
    assert kept_in(lora) * 1.001 >= best_for_bytes(rows, bytes_of_layers(file))


def test_metadata_does_not_claim_one_rank(extract):
    file, _, _ = extract("extract(T - A, size='200kB')", dtype=None)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    assert metadata["ss_network_dim"] == "Dynamic"
    assert metadata["ss_network_alpha"] == "64.0"


@pytest.mark.long
def test_same_bytes_on_any_number_of_threads(extract):
    """And on deepened searches: modules are sorted by name before anything is shared out."""
    _, one, _ = extract("extract(T - A, size='150kB')", dtype=None, threads=1)
    _, four, _ = extract("extract(T - A, size='150kB')", dtype=None, threads=4)
    assert one.keys() == four.keys()
    assert all(torch.equal(one[key], four[key]) for key in one)


def test_a_size_counts_the_hashes_in_the_metadata(folder, tmp_path):
    file = tmp_path / "x.safetensors"
    recipe = make_recipe(
        inputs={name: folder / f"{name}.safetensors" for name in ("A", "T")},
        steps={"x": "extract(T - A, size='120kB')"},
        saves=[Save("x", file)],
    )
    run_recipe(recipe)
    assert 119_500 <= file.stat().st_size <= 120_000


def test_a_file_too_small_for_anything(extract, tmp_path):
    with pytest.raises(InputError, match="holds no direction") as caught:
        extract("extract(T - A, size=1000)")
    assert "the smallest that holds one" in str(caught.value)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.long
def test_inside_a_sum_and_in_a_chain(folder, tmp_path, extract):
    """A budgeted step used by a merge is the adapter that it would be saved as; budgets may stand in line."""
    recipe = make_recipe(
        inputs={name: folder / f"{name}.safetensors" for name in ("A", "T")},
        steps={
            "first": "extract(T - A, energy=0.8)",
            "B": "A + 0.5*first",
            "second": "extract(B - A, energy=0.8)",
        },
        saves=[
            Save("first", tmp_path / "1.safetensors", "fp32"),
            Save("second", tmp_path / "2.safetensors", "fp32"),
        ],
    )
    run_recipe(recipe, RunOptions(hash_inputs=False))
    first, second = (load_file(tmp_path / f"{i}.safetensors") for i in (1, 2))
    assert kept_in(second) == pytest.approx(0.25 * 0.8 * kept_in(first), rel=0.02)
    merged = evaluate_weights(recipe, "B", dtype="fp32")
    A = load_file(folder / "A.safetensors")
    for name in list(lora_names(first))[:20]:
        key = targets("sd1")[name].key
        expected = A[key].double().numpy().reshape(len(A[key]), -1) + 0.5 * lora_delta(first, name)
        np.testing.assert_allclose(merged[key].double().numpy().reshape(expected.shape), expected, atol=2e-6)


def test_adapters_alone_are_resized_to_a_size(extract, folder):
    source = load_file(folder / "lora.safetensors")
    file, lora, report = extract("resize(lora, size='60kB')", dtype=None)
    assert os.path.getsize(file) <= 60_000
    rows = [layer_of(name, lora_delta(source, name), 2) for name in lora_names(source)]
    assert report.extractions[0].total().kept * 1.005 >= best_for_bytes(rows, bytes_of_layers(file))
    assert lora


def test_dry_run_tells_of_two_passes(folder, tmp_path):
    recipe = make_recipe(
        inputs={name: folder / f"{name}.safetensors" for name in ("A", "T")},
        steps={"x": "extract(T - A, size='120kB')"},
        saves=[Save("x", tmp_path / "x.safetensors")],
    )
    with open_session(recipe) as session:
        assert session.plan.outputs[0].max_nbytes == 120_000
