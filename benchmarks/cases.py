"""What is timed, and against what: a recipe in a process of its own, in turns with its baseline."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.bench import BLOCKS, EXTRACT_BOUND, MERGE_BOUND, RANK, Bench, Row
from benchmarks.machine import read_seconds
from benchmarks.measure import Run, cool, middle, repeat, run_process, settle, warm
from benchmarks.svd import least_operations, module_shapes, svd_seconds


def checkpoint_cases(bench: Bench) -> Iterator[Row]:
    """Jobs that write a checkpoint, against copying one."""
    for state, prepare in (("warm", warm), ("cold", cool)):
        yield _against_copy(bench, "merge", f"merge a LoRA, {state}", ("A", "lora"), prepare)
    yield _against_copy(bench, "weighted-sum", "weighted sum, warm", ("A", "B"), warm)
    yield _against_copy(bench, "add-difference", "add difference, three files, cold", ("A", "B", "C"), cool)
    yield _against_copy(bench, "convert", "convert to bf16, warm", ("A",), warm, ', dtype = "bf16"')


def _against_copy(
    bench: Bench, job: str, title: str, inputs: tuple[str, ...], prepare: Callable[..., None], save: str = ""
) -> Row:
    recipe = bench.recipe(job, save)
    paths = [bench.path(name) for name in inputs]

    def run() -> Run:
        prepare(*paths)
        return bench.child(recipe, "--no-hash")

    def baseline() -> float:
        prepare(bench.files.A)
        return bench.copy(bench.files.A)

    found, count, seconds = bench.turns(run, baseline)
    limit = bench.size("A") / bench.machine.write
    return Row(
        bench.label, title, found, count, "cp + fsync", seconds, limit, "writing the output", MERGE_BOUND
    )


def hashing_cases(bench: Bench) -> Iterator[Row]:
    """A merge that records the SHA-256 of its inputs: computed beside the work, then remembered."""
    recipe = bench.recipe("merge")

    def run() -> Run:
        warm(bench.files.A)
        return bench.child(recipe)

    def fresh() -> Run:
        for path in (bench.folder / "cache").rglob("*.json"):
            path.unlink()
        return run()

    def plain() -> Run:
        warm(bench.files.A)
        return bench.child(recipe, "--no-hash")

    turns = repeat(bench.rounds, bench.seconds, lambda: (plain(), fresh(), run()))
    without, computed, known = zip(*turns, strict=True)
    seconds = statistics.median(item.whole for item in without)
    limit = bench.size("A") / bench.machine.write
    for title, runs in (("hashes computed", computed), ("hashes remembered", known)):
        yield Row(
            bench.label,
            f"merge a LoRA, {title}",
            middle(runs),
            len(runs),
            "the same without hashes",
            seconds,
            limit,
            "writing the output",
            MERGE_BOUND,
        )


def rounding_cases(bench: Bench) -> Iterator[Row]:
    """What it costs to say how much of what is added the file holds; see `benchmarks.told`."""
    for job, title in (("merge", "merge a LoRA"), ("weighted-sum", "weighted sum")):
        recipe = bench.recipe(job)
        settle()
        found = run_process(["-m", "benchmarks.told", str(recipe)], bench.folder / "cache")
        for unit in ("", " processor"):
            run = replace(found, whole=found.facts[f"told{unit}"], work=found.facts[f"told{unit}"])
            yield Row(
                bench.label,
                f"{title}, rounding told,{unit} seconds of one thread",
                run,
                1,
                "the same in turns, rounding not told",
                found.facts[f"plain{unit}"],
                bench.size("A") / bench.machine.write,
                "writing the output",
                MERGE_BOUND,
            )


def extraction_cases(bench: Bench) -> Iterator[Row]:
    """Extraction at rank 64 against full SVDs of the same modules, and against reading both files."""
    recipe = bench.recipe("extract")
    shapes = module_shapes(bench.files.A)
    paths = (bench.files.A, bench.files.B)

    def run() -> Run:
        warm(*paths)
        return bench.child(recipe, "--no-hash")

    def read() -> float:
        warm(*paths)
        return read_seconds(*paths)

    found, count, seconds = bench.turns(run, read)
    peak = max(bench.machine.matmul.values())
    limit = least_operations(shapes, RANK) / peak
    title = f"extract at rank {RANK}, {100 * found.facts['kept']:.1f} % of the energy"
    by = "two products of each delta with 64 columns"
    full = svd_seconds(shapes, bench.machine.cores)
    yield Row(bench.label, title, found, count, "full SVDs", full, limit, by, EXTRACT_BOUND)
    yield Row(bench.label, title, found, count, "reading both files", seconds, limit, by, EXTRACT_BOUND)


def gpu_cases(bench: Bench) -> Iterator[Row]:
    """The same extraction with the decompositions on a GPU, against the processor; no rows without one."""
    if not torch.cuda.is_available():
        return
    recipe = bench.recipe("extract")
    paths = (bench.files.A, bench.files.B)

    def run(device: str) -> Run:
        warm(*paths)
        return bench.child(recipe, "--no-hash", "--device", device)

    found, count, seconds = bench.turns(lambda: run("cuda"), lambda: run("cpu").whole)
    title = f"extract at rank {RANK} on {torch.cuda.get_device_name()}"
    limit = bench.size("A", "B") / bench.machine.read
    yield Row(
        bench.label, title, found, count, "the same on the processor", seconds, limit, "reading both files"
    )


def recipe_cases(bench: Bench) -> Iterator[Row]:
    """The recipe of the design against its parts: one extraction with its reading, one checkpoint written."""
    both = _article(bench, ("B2", "lora2"))
    only = _article(bench, ("lora2",))

    def run() -> Run:
        warm(bench.files.A, bench.files.B)
        return bench.child(both, "--no-hash")

    def parts() -> float:
        warm(bench.files.A, bench.files.B)
        extraction = bench.child(only, "--no-hash")
        warm(bench.files.B)
        return extraction.whole + bench.copy(bench.files.B)

    found, count, seconds = bench.turns(run, parts)
    shapes = module_shapes(bench.files.A)
    peak = max(bench.machine.matmul.values())
    limit = least_operations(shapes, RANK) / peak + bench.size("A") / bench.machine.write
    yield Row(
        bench.label,
        "the recipe: checkpoint and LoRA",
        found,
        count,
        "its LoRA alone, then cp + fsync",
        seconds,
        limit,
        "extraction's products, then writing",
        EXTRACT_BOUND,
    )


def _article(bench: Bench, saved: tuple[str, ...]) -> Path:
    """The recipe of the README with its outputs, or some of them."""
    lines = ["[inputs]"]
    lines += [
        f'{name} = "{bench.path(file).name}"' for name, file in (("A", "A"), ("B", "B"), ("hina", "lora"))
    ]
    lines += [
        "[variables]",
        "M = 0.7",
        f"rank = {RANK}",
        "[blocks]",
        f'HinaBlock = "{BLOCKS[bench.family]}"',
        "[steps]",
        'A1 = "A + 0.7*hina@HinaBlock"',
        'lora1 = "extract(A1 - A, rank=rank)"',
        'B1 = "B + 0.8*lora1"',
        'B2 = "B1 - M*(B - A)"',
        'lora2 = "extract(B2 - B, rank=rank)"',
        "[save]",
    ]
    lines += [f'{step} = {{ file = "out-{step}.safetensors", dtype = "fp16" }}' for step in saved]
    return bench.write_recipe("recipe-" + "-".join(saved), lines)


def inspect_cases(bench: Bench) -> Iterator[Row]:
    """`lathe inspect` of a checkpoint, from its header alone, against Python starting and stopping."""
    main = "import sys; from loralathe.cli import main; sys.exit(main())"
    cache = bench.folder / "cache"

    def run() -> Run:
        return run_process(["-c", main, "inspect", str(bench.files.A)], cache)

    def python() -> float:
        return run_process(["-c", "import click, rich"], cache).whole

    found, count, seconds = bench.turns(run, python, rounds=5)
    yield Row(
        bench.label,
        "inspect a checkpoint",
        found,
        count,
        "`python -c 'import click, rich'`",
        seconds,
        seconds,
        "Python",
    )


CASES: Mapping[str, Callable[[Bench], Iterator[Row]]] = {
    "inspect": inspect_cases,
    "checkpoint": checkpoint_cases,
    "hashes": hashing_cases,
    "rounding": rounding_cases,
    "extract": extraction_cases,
    "gpu": gpu_cases,
    "recipe": recipe_cases,
}
"""By name, in the order of the table."""
