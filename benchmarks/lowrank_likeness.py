"""Which cut keeps most likeness at a low rank? `python -m benchmarks.lowrank_likeness --case hina --rank 1`.

A LoRA of the demo's family is merged into base A at strength 1, and taken out again at a low rank: by
`lathe extract` (*plain*), and by other cuts that take no more bytes. Each is drawn with the same seeds and
prompts. *likeness* is the judge's mean probability of the subject's traits, *bleed* the same for people who
are drawn without the trigger word, less what the base gives them. Differences to plain are paired, with 95 %
t-intervals, in points of 100.

    --part search   on seeds from 600,000: for choosing numbers such as a share or a strength
    --part held     on seeds from 900,000, which no number was chosen by
    --part fresh    on seeds from 1,000,000, for what won there among many

Nothing that a cut learns from (activations, gradients, predictions) uses the seeds or the scenes of the
tables. Files and pictures stay in `--out`: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

import loralathe
from benchmarks.lowrank_deltas import (
    Deltas,
    Pairs,
    mixed,
    norm_kept,
    plain,
    read_deltas,
    shares,
    stretched,
    weighted,
    write_pairs,
)
from benchmarks.lowrank_network import Statistics, Studio, distilled, prediction_slopes, statistics
from benchmarks.soups import Bench, Uses, Values, table, tell, use
from loralathe.demo.family import unpack_family
from loralathe.demo.judge import CAPTION, IS_HINA, IS_SAILOR
from loralathe.demo.settings import BASE_A, BASE_B, PEOPLE, SCENES
from loralathe.progress import BarSink, Progress
from loralathe.rendering import LocalRenderer

FIRST_SEEDS = {"search": 600_000, "held": 900_000, "fresh": 1_000_000}
BLOCK_SEED, BLOCK_PICTURES = 500_000, 5
LEARNED_FROM = 12
"""Pictures that statistics and predictions are taken from."""


@dataclass(frozen=True)
class Case:
    """A LoRA, the base that pictures are drawn on, and the score that counts."""

    trigger: str
    base: str
    score: str


CASES = {
    "hina": Case("hina", BASE_A, IS_HINA),
    "hina-on-b": Case("hina", BASE_B, IS_HINA),
    "sailor": Case("sailor", BASE_A, IS_SAILOR),
}


@dataclass(frozen=True)
class Lab:
    """The merged model, and all that cuts may know of it."""

    folder: Path
    case: Case
    bench: Bench

    @cached_property
    def lora(self) -> Path:
        return self.folder / f"{self.case.trigger}.safetensors"

    @cached_property
    def merged(self) -> Path:
        path = self.folder / f"merged-{self.case.trigger}.safetensors"
        if not path.is_file():
            loralathe.merge(self.folder / BASE_A, self.lora, output=path, threads=1)
        return path

    def extracted(self, name: str, **ranks: float | str) -> Path:
        path = self.made(name)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            dtype = "fp32" if name == "whole" else "fp16"
            loralathe.extract(
                self.merged, self.folder / BASE_A, ranks=ranks, output=path, dtype=dtype, threads=1
            )
        return path

    def made(self, name: str) -> Path:
        return self.folder / f"cuts-{self.case.trigger}" / f"{name.replace(' ', '-')}.safetensors"

    @cached_property
    def deltas(self) -> Deltas:
        """All that rises above the rounding of the merged file."""
        return read_deltas(self.extracted("whole", rank=64))

    @cached_property
    def studio(self) -> Studio:
        return Studio.open(self.folder / BASE_A, self.deltas, self.case.trigger)

    @cached_property
    def statistics(self) -> Statistics:
        path = self.folder / f"statistics-{self.case.trigger}.pt"
        if not path.is_file():
            torch.save(vars(statistics(self.studio, LEARNED_FROM)), path)
        return Statistics(**torch.load(path))

    @cached_property
    def predictions(self) -> Mapping[str, torch.Tensor]:
        """What the predictions gain by each weight."""
        path = self.folder / f"predictions-{self.case.trigger}.pt"
        if not path.is_file():
            torch.save(prediction_slopes(self.studio, LEARNED_FROM), path)
        found: Mapping[str, torch.Tensor] = torch.load(path)
        return found

    @cached_property
    def gains(self) -> Mapping[str, float]:
        """Block → mean of what it gains alone, and of what is lost without it, in likeness."""
        prompts = [f"{self.case.trigger}, {scene}" for scene in SCENES]
        bench = self.bench.on(BLOCK_SEED, BLOCK_PICTURES)
        score = self.case.score

        def mean(name: str, keep: Callable[[str], bool]) -> float:
            cut = {n: plain(d, 64) for n, d in self.deltas.of.items() if keep(self.deltas.blocks[n])}
            write_pairs(self.made(name), cut, self.lora)
            found = bench.draw((use(self.made(name)),), prompts, score)[score]
            return sum(found) / len(found)

        path = self.folder / f"gains-{self.case.trigger}.json"
        if not path.is_file():
            nothing = bench.draw((), prompts, score)[score]
            base, whole = sum(nothing) / len(nothing), mean("all blocks", lambda _: True)
            gains = {}
            for block in sorted(set(self.deltas.blocks.values())):
                alone = mean(f"alone {block}", lambda one, own=block: one == own)  # type: ignore[misc]
                without = mean(f"without {block}", lambda one, own=block: one != own)  # type: ignore[misc]
                gains[block] = ((alone - base) + (whole - without)) / 2
                print(f"{block}: alone {alone:.3f}, without {without:.3f}", flush=True)
            path.write_text(json.dumps(gains), encoding="utf-8")
        found: Mapping[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def each(self, cut: Callable[[str, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> Pairs:
        return {name: cut(name, delta) for name, delta in self.deltas.of.items()}


def by_segments(lab: Lab, rank: int) -> Pairs:
    """Energy of a direction, times what a unit of its block's energy gains."""
    energies: dict[str, float] = {}
    for name, delta in lab.deltas.of.items():
        block = lab.deltas.blocks[name]
        energies[block] = energies.get(block, 0.0) + float(delta.square().sum())
    rates = {block: max(gain, 0.002) / energies[block] for block, gain in lab.gains.items()}
    return shares(lab.deltas, rank, lambda name, u, s, vh: s.square() * rates[lab.deltas.blocks[name]])


def by_energy_and_segments(lab: Lab, rank: int) -> Pairs:
    """A direction's share of the energy, and its share of its block's gain, half and half."""
    energies: dict[str, float] = {}
    for name, delta in lab.deltas.of.items():
        block = lab.deltas.blocks[name]
        energies[block] = energies.get(block, 0.0) + float(delta.square().sum())
    gains = {block: max(gain, 0.0) for block, gain in lab.gains.items()}
    all_gains, total = sum(gains.values()), sum(energies.values())
    rates = {block: 1 / total + gains[block] / (energies[block] * all_gains) for block in energies}
    return shares(lab.deltas, rank, lambda name, u, s, vh: s.square() * rates[lab.deltas.blocks[name]])


def by_slopes(lab: Lab, rank: int, slopes: Mapping[str, torch.Tensor]) -> Pairs:
    """What a direction gains along the path from the base to the whole difference."""
    return shares(lab.deltas, rank, lambda name, u, s, vh: ((u.T @ slopes[name]) * vh).sum(1) * s)


def by_energy_and_slopes(lab: Lab, rank: int, slopes: Mapping[str, torch.Tensor]) -> Pairs:
    """The same beside its share of the energy, half and half."""
    total = sum(float(d.square().sum()) for d in lab.deltas.of.values())
    gained = sum(abs(float((slopes[name] * delta).sum())) for name, delta in lab.deltas.of.items())

    def worth(name: str, u: torch.Tensor, s: torch.Tensor, vh: torch.Tensor) -> torch.Tensor:
        gain = (((u.T @ slopes[name]) * vh).sum(1) * s).clamp_min(0) / gained
        return gain + s.square() / total

    return shares(lab.deltas, rank, worth)


def weighing(what: str, share: float) -> Callable[[Lab, int], Pairs]:
    """Weighted by the inputs, by what the trigger changes of them, by gradients of the outputs, or both."""

    def make(lab: Lab, rank: int) -> Pairs:
        known = lab.statistics

        def cut(name: str, delta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            inputs = {"inputs": known.inputs, "trigger": known.trigger, "both": known.trigger}.get(what, {})
            outputs = known.outputs if what in ("gradient", "both") else {}
            a, b = (
                mixed(found[name], share) if name in found and float(found[name].trace()) > 0 else None
                for found in (inputs, outputs)
            )
            return weighted(delta, rank, a, b)

        return lab.each(cut)

    return make


def distilling(steps: int, rate: float, pictures: int = LEARNED_FROM) -> Callable[[Lab, int], Pairs]:
    def make(lab: Lab, rank: int) -> Pairs:
        start = lab.each(lambda _, delta: plain(delta, rank))
        return distilled(lab.studio, start, pictures, steps, rate)

    return make


def by_energy_norm_kept(lab: Lab, rank: int) -> Pairs:
    """What `--size` keeps, each layer made as long as it was; a layer that is left out stays so."""
    kept = read_deltas(lab.made(f"ranks by energy r{rank}"))
    held = {name: delta for name, delta in kept.of.items() if bool(delta.any())}
    return {name: stretched(plain(delta, 64), lab.deltas.of[name]) for name, delta in held.items()}


METHODS: Mapping[str, Callable[[Lab, int], Pairs]] = {
    "norm kept": lambda lab, rank: lab.each(lambda _, delta: norm_kept(delta, rank)),
    "ranks by energy norm kept": by_energy_norm_kept,
    **{
        f"by {what} {share:g}": weighing(what, share)
        for what in ("inputs", "trigger", "gradient", "both")
        for share in (0.1, 0.3, 0.6)
    },
    "ranks by segments": by_segments,
    "ranks by energy and segments": by_energy_and_segments,
    "ranks by slopes": lambda lab, rank: by_slopes(lab, rank, lab.statistics.slopes),
    "ranks by energy and slopes": lambda lab, rank: by_energy_and_slopes(lab, rank, lab.statistics.slopes),
    "ranks by predictions": lambda lab, rank: by_slopes(lab, rank, lab.predictions),
    "ranks by energy and predictions": lambda lab, rank: by_energy_and_slopes(lab, rank, lab.predictions),
    "distilled 100": distilling(100, 2e-3),
    "distilled 300": distilling(300, 2e-3),
}


def uses_of(lab: Lab, method: str, rank: int) -> Uses:
    """The LoRA of a method, and its strength. InputError never: a misspelt method is a KeyError."""
    name, _, strength = method.partition(" × ")
    if name == "no LoRA":
        return ()
    amount = float(strength or 1)
    if name == "whole":
        return (use(lab.lora, amount),)
    baseline = lab.extracted(f"plain r{rank}", rank=rank)
    if name == "plain":
        return (use(baseline, amount),)
    size = baseline.stat().st_size
    by_energy = lab.extracted(f"ranks by energy r{rank}", size=f"{size}B")
    if name == "ranks by energy":
        return (use(by_energy, amount),)
    path = lab.made(f"{name} r{rank}")
    if not path.is_file():
        write_pairs(path, METHODS[name](lab, rank), lab.lora)
    found = path.stat().st_size
    if found > 1.01 * size:
        raise ValueError(f"{method} takes {found:,} bytes, plain {size:,}")
    return (use(path, amount),)


def rows(lab: Lab, methods: Sequence[str], rank: int, *, bleed: bool) -> dict[str, Values]:
    trigger, score = lab.case.trigger, lab.case.score
    with_word = [f"{trigger}, {scene}" for scene in SCENES]
    bare = lab.bench.draw((), PEOPLE, score)[score] if bleed else []
    found: dict[str, Values] = {}
    for method in methods:
        uses = uses_of(lab, method, rank)
        values = lab.bench.draw(uses, with_word, score, CAPTION)
        if bleed:
            own = lab.bench.draw(uses, PEOPLE, score)[score]
            values["bleed"] = [one - other for one, other in zip(own, bare, strict=True)]
        found[method] = values
        tell(method, values)
    return found


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", choices=tuple(CASES), default="hina")
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--part", choices=tuple(FIRST_SEEDS), default="search")
    parser.add_argument("--count", type=int, default=60, help="pictures of a row (default 60)")
    parser.add_argument("--methods", help=f"plain, whole, ranks by energy, {', '.join(METHODS)}; × STRENGTH")
    parser.add_argument("--bleed", action="store_true", help="twice the pictures")
    parser.add_argument("--out", type=Path, default=Path("build/lowrank"))
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    progress = Progress(BarSink())
    unpack_family(given.out, None, progress)
    case = CASES[given.case]
    methods = [one.strip() for one in given.methods.split(",")] if given.methods else list(METHODS)
    with LocalRenderer("cpu", progress=progress) as renderer:
        bench = Bench(given.out, given.count, renderer, progress, FIRST_SEEDS[given.part], case.base)
        found = rows(Lab(given.out, case, bench), ["plain", *methods], given.rank, bleed=given.bleed)
    name = f"{given.part}-{given.case}-r{given.rank}.json"
    kept = given.out / name
    earlier = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    kept.write_text(json.dumps({**earlier, **found}), encoding="utf-8")
    print(f"\n{given.case}, rank {given.rank}, {given.part}, {given.count} pictures")
    print(table(found, "plain"))


if __name__ == "__main__":
    main()
