"""Every method from files to files: against its definition, in lists, recipes and extractions."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from safetensors.torch import load_file

from engine.reference import lora_delta, lora_names, targets
from loralathe.engine import RunOptions, evaluate_weights, open_session, run_recipe
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe, read_recipe
from loralathe.language.methods.drops import Breadcrumbs, Dare, Della
from loralathe.language.methods.smooth_add import Smooth

from .tensors import Spot, result
from .test_papers import cosine_by_definition, ties_by_definition

Q = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q"
CONV = "model.diffusion_model.middle_block.0.in_layers.2"
NORM = "model.diffusion_model.output_blocks.3.0.in_layers.0"
MODULES = {
    f"{Q}.weight": "unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q",
    f"{CONV}.weight": "unet.middle_block.0.in_layers.2",
    f"{CONV}.bias": "unet.middle_block.0.in_layers.2.bias",
    f"{NORM}.weight": "unet.output_blocks.3.0.in_layers.0",
}
"""Checkpoint key → the canonical name that seeds belong to; a matrix, a kernel, a bias, a norm."""

ELSEWHERE = r"^(?!model\.diffusion_model\.(input_blocks\.4|middle_block|output_blocks\.3)\.)"
"""Discards all but the blocks of MODULES, some 70 tensors: a method costs time in each."""


def slerp_by_definition(a, b, t):
    na, nb = np.linalg.norm(a), np.linalg.norm(b)
    theta = np.arccos(np.sum(a * b) / (na * nb))
    unit = np.sin((1 - t) * theta) * a / na + np.sin(t * theta) * b / nb
    return ((1 - t) * na + t * nb) * unit / np.sin(theta)


def trained_by_definition(a, b, c, alpha):
    with np.errstate(invalid="ignore"):
        return a + 1.8 * alpha * np.nan_to_num((b - c) * abs(b - a) / (abs(b - c) + abs(b - a)))


DEFINITIONS = {
    "ties(A, B, C, density=0.3, scale=0.5)": lambda a, b, c, name: (
        a + 0.5 * ties_by_definition([b - a, c - a], 0.3)
    ),
    "B + 0.5*ties(B - A, C - A, density=0.3)": lambda a, b, c, name: (
        b + 0.5 * ties_by_definition([b - a, c - a], 0.3)
    ),
    "slerp(A, B, 0.3)": lambda a, b, c, name: slerp_by_definition(a, b, 0.3),
    "A + slerp(B - A, C - A, 0.3)": lambda a, b, c, name: a + slerp_by_definition(b - a, c - a, 0.3),
    "cosine_a(A, B, 0.2, low=0.5)": lambda a, b, c, name: cosine_by_definition(a, b, 0.2, 0.5, 1, True),
    "cosine_b(A, B, 0.2, low=0.5)": lambda a, b, c, name: cosine_by_definition(a, b, 0.2, 0.5, 1, False),
    "train_difference(A, B, C, 0.7)": lambda a, b, c, name: trained_by_definition(a, b, c, 0.7),
    "smooth_add(A, B, C, 0.7)": lambda a, b, c, name: a + 0.7 * result(Smooth(), [b - c]),
    "A + dare(B - A, 0.5, seed=3)": lambda a, b, c, name: a + result(Dare(0.5, 3), [b - a], spot=Spot(name)),
    "A + della(B - A, 0.5, epsilon=0.4)": lambda a, b, c, name: (
        a + result(Della(0.5, 0.4, 0), [b - a], spot=Spot(name))
    ),
    "A + breadcrumbs(B - A, top=0.1)": lambda a, b, c, name: a + result(Breadcrumbs(0.1, 0.85), [b - a]),
    "fp16(slerp(A, B, 0.3))": lambda a, b, c, name: slerp_by_definition(a, b, 0.3).astype(np.float16),
    "A + ties(dare(B - A, 0.5), C - A, density=1)": lambda a, b, c, name: (
        a + ties_by_definition([result(Dare(0.5, 0), [b - a], spot=Spot(name)), c - a], 1.0)
    ),
}


@pytest.mark.long
@pytest.mark.quick(6)
@pytest.mark.parametrize("formula", DEFINITIONS)
def test_methods_through_files(sd1, run, formula):
    check(sd1, run, formula, discard=ELSEWHERE)


@pytest.mark.long
@pytest.mark.parametrize(
    "formula", [formula for formula in DEFINITIONS if formula.startswith(("ties", "slerp"))]
)
def test_methods_through_files_of_sdxl(sdxl, run, formula):
    check(sdxl, run, formula, discard=None if formula.startswith("slerp") else ELSEWHERE)


def check(models, run, formula, discard):
    """A tensor of each kind against the definition in float64; the keys are those of A."""
    found, _ = run(models, formula, discard=discard)
    A, B, C = models.exact("A"), models.exact("B"), models.exact("C")
    for key, name in MODULES.items():
        expected = DEFINITIONS[formula](A[key], B[key], C[key], name)
        tolerance = 1e-3 if "fp16" in formula else 1e-6
        np.testing.assert_allclose(
            found[key].double().numpy(), expected, rtol=tolerance, atol=1e-6, err_msg=key
        )
    kept = {key for key in models.tensors["A"] if not (discard and re.search(discard, key))}
    assert found.keys() == kept


ADJUSTED = {
    "input_blocks.0.0.weight": lambda x: x * (1 - 0.01 * 2),
    "input_blocks.0.0.bias": lambda x: x * (1 + 0.02 * 2),
    "out.0.weight": lambda x: x * (1 - 0.01 * 3),
    "out.0.bias": lambda x: x * (1 + 0.02 * 3),
    "out.2.weight": lambda x: x * (1 - 0.01 * 4),
}
LATENTS = {"sd1": (-1, 1 / 3, 2 / 3), "sdxl": (0, 0, 1)}


@pytest.mark.long
def test_adjust(models, run):
    """SuperMerger's fineman: IN=2, OUT=3, OUT2=4, CONT=1, BRI=0.5; all else is copied."""
    found, report = run(models, "adjust(A, '2,3,4,1,0.5')", dtype=None)
    A = models.exact("A")
    for key, tensor in models.tensors["A"].items():
        tail = key.removeprefix("model.diffusion_model.")
        if tail in ADJUSTED:
            expected = ADJUSTED[tail](A[key])
        elif tail == "out.2.bias":
            expected = A[key] + 0.02 * np.array([1.0, *(0.5 * part for part in LATENTS[models.family])])
        else:
            np.testing.assert_array_equal(found[key].numpy(), tensor.numpy(), err_msg=key)
            continue
        np.testing.assert_allclose(found[key].double().numpy(), expected, rtol=1e-3, atol=1e-7, err_msg=key)
    assert report.weights[0].buckets["changed"] == len(ADJUSTED) + 1
    by_name, _ = run(models, "adjust(A, 'bri=0.5, CONT=1, IN=2, OUT=3, OUT2=4')", dtype=None)
    for key, tensor in found.items():
        np.testing.assert_array_equal(by_name[key].numpy(), tensor.numpy(), err_msg=key)


@pytest.mark.long
def test_loras_as_arguments_work_per_module_and_copy_the_rest(models, run):
    """ties() of two LoRAs is TIES of their dense deltas, q, k and v of a fused tensor one by one."""
    found, _ = run(models, "A + ties(lora, other, density=0.4)")
    A, touched = models.exact("A"), set()
    for name in lora_names(models.tensors["lora"]):
        place = targets(models.family)[name]
        touched.add(place.key)
        if place.third is None and "attn2_to_k" not in name:
            continue  # a sample: the definition is a slow loop
        deltas = [lora_delta(models.tensors[which], name) for which in ("lora", "other")]
        merged = ties_by_definition(deltas, 0.4)
        rows = merged.shape[0]
        first = (place.third or 0) * rows
        base = A[place.key].reshape(A[place.key].shape[0], -1)[first : first + rows]
        mine = found[place.key].double().numpy().reshape(A[place.key].shape[0], -1)[first : first + rows]
        # Elements at the very threshold may fall on either side in fp32.
        wrong = np.abs(mine - base - merged) > 1e-5
        assert wrong.mean() < 5e-3, name
    for key in found.keys() - touched:
        np.testing.assert_array_equal(found[key].float().numpy(), models.tensors["A"][key].float().numpy())


def test_block_weights_attach_to_what_a_method_makes(sd1, run):
    found, _ = run(
        sd1, "A + ties(B - A, C - A, density=0.3)@X", blocks={"X": "IN04=0.5,MID=0"}, discard=ELSEWHERE
    )
    plain, _ = run(sd1, "A + ties(B - A, C - A, density=0.3)", discard=ELSEWHERE)
    A = sd1.exact("A")
    for key, weight in ((f"{Q}.weight", 0.5), (f"{CONV}.weight", 0.0), (f"{NORM}.weight", 1.0)):
        expected = A[key] + weight * (plain[key].double().numpy() - A[key])
        np.testing.assert_allclose(found[key].double().numpy(), expected, rtol=1e-6, atol=1e-8, err_msg=key)


def test_slerp_takes_a_block_list(sd1, run):
    found, _ = run(sd1, "slerp(A, B, 'IN04=0.5,MID=0')", discard=ELSEWHERE)
    A, B = sd1.exact("A"), sd1.exact("B")
    for key, t in ((f"{Q}.weight", 0.5), (f"{CONV}.weight", 0.0), (f"{NORM}.weight", 1.0)):
        expected = slerp_by_definition(A[key], B[key], t)
        np.testing.assert_allclose(found[key].double().numpy(), expected, rtol=1e-6, atol=1e-7, err_msg=key)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "delta", ["ties(A, B, C, density=0.3) - A", "ties(B - A, C - A, density=0.3)", "dare(lora, 0.5)"]
)
@pytest.mark.long
def test_extraction_of_a_method(sd1, run, delta):
    """A full rank extraction gives the method's delta back, with or without a base in the formula."""
    full = 160
    lora, report = run(sd1, f"extract({delta}, rank={full}, keep_noise=True, exact=True)")
    base = "A"
    changed, _ = run(sd1, f"{base} + ({delta})", discard=ELSEWHERE)
    A = sd1.exact(base)
    sample = [name for name in lora_names(lora) if targets("sd1")[name].key in changed]
    assert len(sample) > 20
    for name in sample:
        place = targets("sd1")[name]
        change = (changed[place.key].double().numpy() - A[place.key]).reshape(A[place.key].shape[0], -1)
        error = np.linalg.norm(lora_delta(lora, name) - change)
        assert error <= 2e-6 * np.linalg.norm(A[place.key]) + 1e-5 * np.linalg.norm(change), name
    assert report.extractions[0].written == len(lora_names(sd1.tensors["lora"]))


@pytest.mark.long
def test_an_extraction_as_an_argument(sd1, run):
    """The method waits for the factors; merging them by ties with nothing else is merging them."""
    low, _ = run(sd1, "A + extract(B - A, rank=4)")
    through, _ = run(sd1, "A + ties(extract(B - A, rank=4), density=1)")
    for key, value in low.items():
        np.testing.assert_allclose(through[key].numpy(), value.numpy(), rtol=1e-6, atol=1e-7, err_msg=key)


def digest(tensors):
    text = hashlib.sha256()
    for key in sorted(tensors):
        text.update(key.encode())
        text.update(tensors[key].numpy().tobytes())
    return text.hexdigest()


@pytest.mark.long
def test_any_number_of_threads_gives_the_same_bytes(sd1, run):
    formula = "ties(A, A + dare(B - A, 0.5, seed=1), A + della(C - A, 0.5), slerp(A, B, 0.3), density=0.3)"
    one, _ = run(sd1, formula, threads=1, discard=ELSEWHERE)
    three, _ = run(sd1, formula, threads=3, discard=ELSEWHERE)
    other, _ = run(sd1, formula.replace("seed=1", "seed=2"), threads=3, discard=ELSEWHERE)
    assert digest(one) == digest(three) != digest(other)


def test_what_cancels_beside_a_method_is_not_read(sd1):
    recipe = make_recipe(
        inputs=sd1.paths,
        steps={"x": "extract(ties(A, A + lora, A + other) - A, rank=4)"},
        saves=[Save("x", sd1.folder / "never.safetensors")],
    )
    with open_session(recipe, RunOptions(hash_inputs=False)) as session:
        assert {unit.key for unit in session.plan.outputs[0].units} == {None}


def test_models_that_cancel_inside_a_method_are_not_asked_for_their_rounding(sd1, run):
    """What the plan leaves unread, the noise floor of the extraction must not read, either."""
    through_models, _ = run(sd1, "extract(ties(A, A + lora, A + other) - A, rank=4)")
    of_deltas, _ = run(sd1, "extract(ties(lora, other), rank=4)")
    assert through_models.keys() == of_deltas.keys()
    for key, value in through_models.items():
        np.testing.assert_array_equal(value.numpy(), of_deltas[key].numpy(), err_msg=key)


@pytest.mark.long
def test_recipe_with_variables_and_its_record(sd1, tmp_path):
    """A sweep sets variables; the record holds the formula, its variables and its block lists."""
    import json

    from safetensors import safe_open

    path = tmp_path / "recipe.toml"
    lines = "\n".join(f'{name} = "{file}"' for name, file in sd1.paths.items())
    path.write_text(
        f"[inputs]\n{lines}\n[variables]\nD = 0.3\nT = 0.5\n[blocks]\nX = 'IN04=0.5'\n[steps]\n"
        "merged = 'ties(A, B, C, density=D)'\nresult = 'weighted_sum(merged, slerp(A, B, T), X)'\n"
        '[save]\nresult = "result.safetensors"\n'
    )
    recipe = read_recipe(path)
    run_recipe(recipe, RunOptions(hash_inputs=False))
    with safe_open(tmp_path / "result.safetensors", "pt") as file:
        record = json.loads(file.metadata()["loralathe"])
    assert record["steps"]["result"] == "weighted_sum(merged, slerp(A, B, T), X)"
    assert record["variables"] == {"D": 0.3, "T": 0.5}
    assert record["blocks"] == {"X": "IN04=0.5"}

    saved = load_file(tmp_path / "result.safetensors")
    again = evaluate_weights(recipe.with_variables({"T": 0.5}), "result")
    swept = evaluate_weights(recipe.with_variables({"T": 0.1}), "result")
    assert digest(saved) == digest(again) != digest(swept)
    whole = recipe.with_variables({"T": 1})  # a whole number is a number, too
    assert digest(evaluate_weights(whole, "result")) not in (digest(saved), digest(swept))
    with pytest.raises(InputError, match="the variable 'T' is much"):
        recipe.with_variables({"T": "much"})


def test_a_method_needs_no_whole_tensor(sd1):
    """The memory plan of the largest tensor: bands, not tensors, and more of them than without a method."""
    from loralathe.engine import make_jobs
    from loralathe.engine.job import BAND_BYTES

    def most(formula):
        recipe = make_recipe(
            inputs=sd1.paths, steps={"x": formula}, saves=[Save("x", sd1.folder / "never.safetensors")]
        )
        with open_session(recipe, RunOptions(hash_inputs=False)) as session:
            return max(job.nbytes for job in make_jobs(session.plan))

    plain, method = most("0.5*A + 0.5*B"), most("ties(A, B, C)")
    assert plain < method < plain + 32 * BAND_BYTES


@pytest.mark.long
def test_a_component_that_one_model_lacks_is_taken_from_the_first(sd1, tmp_path):
    from checkpoints import write_safetensors

    without = {k: v for k, v in sd1.tensors["B"].items() if not k.startswith("first_stage_model.")}
    write_safetensors(tmp_path / "B.safetensors", without)
    for formula in ("slerp(A, B, 0.5)", "ties(A, B, C)", "A + dare(B - A, 0.5)"):
        recipe = make_recipe(
            inputs={**sd1.paths, "B": tmp_path / "B.safetensors"},
            steps={"x": formula},
            saves=[Save("x", tmp_path / "x.safetensors")],
        )
        found = evaluate_weights(recipe, "x")
        for key, tensor in sd1.tensors["A"].items():
            if key.startswith("first_stage_model."):
                np.testing.assert_array_equal(found[key].numpy(), tensor.numpy(), err_msg=key)
