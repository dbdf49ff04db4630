"""The demo's base as a network that can be differentiated: what triggers and likeness do to its layers.

`Studio` draws with loralathe's own sampler, guidance and text encoders, but with gradients. From it come

    trigger statistics   covariances of a layer's inputs, and of their change when the trigger word is there
    likeness gradients   of the judge's probabilities, by the layers' outputs and weights
    distillation         factors whose predictions are those of the whole difference

Seeds and prompts are not those of any table: expressions, shirts and backgrounds are drawn at random, and
the scenes of the tables are left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.lowrank_deltas import Deltas, Pairs
from loralathe.demo.family import find_family
from loralathe.demo.settings import CFG, NEGATIVE, SCENES, SIDE
from loralathe.likeness.portraits import Judge, open_judge
from loralathe.rendering.encoding import Conditioning, TextJob, encode_texts
from loralathe.rendering.guidance import Guide, GuidedNetwork
from loralathe.rendering.latent_space import for_decoder
from loralathe.rendering.loading import Model, Rows
from loralathe.rendering.model_cache import LoadSettings, ModelCache
from loralathe.rendering.sampling import SeededNoise, latent_shape, sample

CPU = torch.device("cpu")
STEPS = 8
FIRST_SEED = 300_000
BATCH = 4


@dataclass
class Moments:
    """Sums of x xᵀ over the rows of a layer's inputs or outputs: (n, n), float64."""

    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        rows = values.detach().reshape(-1, values.shape[-1]).double()
        self.sums[name] = self.sums.get(name, torch.zeros(())) + rows.T @ rows


def prompts(judge: Judge, count: int, trigger: str, seed: int = 0) -> list[str]:
    """Random scenes that no table uses, the trigger word in front."""
    words, rng, found = judge.knowledge.phrases, random.Random(seed), []
    while len(found) < count:
        scene = ", ".join(
            rng.choice(list(words[name].values())) for name in ("expression", "shirt", "background")
        )
        if scene not in SCENES:
            found.append(f"{trigger}, {scene}")
    return found


@dataclass(frozen=True, eq=False)
class Studio:
    """A base in fp32 with the layers that a LoRA changes.

    layers: module → its torch layer;  weights: their own weights.
    """

    model: Model
    judge: Judge
    trigger: str
    deltas: Deltas
    layers: Mapping[str, nn.Linear]
    weights: Mapping[str, Tensor]

    @classmethod
    def open(cls, base: Path, deltas: Deltas, trigger: str) -> Studio:
        settings = LoadSettings(CPU, torch.float32, None, low_vram=False)
        model = ModelCache({}, settings, 1).get(str(base), None).model
        family = find_family()
        layers: dict[str, nn.Linear] = {}
        for name in deltas.of:
            ((layer, rows),) = model.modules[name].slices
            assert isinstance(layer, nn.Linear)
            assert rows is None
            layers[name] = layer
        own = {name: layer.weight.detach().clone() for name, layer in layers.items()}
        judge = open_judge(family.part(family.judge))
        judge.network.requires_grad_(False)
        return cls(model, judge, trigger, deltas, layers, own)

    def set_strength(self, strength: float, *, learn: bool = False) -> None:
        """The base with `strength` of the whole difference in its weights."""
        for name, layer in self.layers.items():
            with torch.no_grad():
                layer.weight.copy_(self.weights[name] + strength * self.deltas.of[name].float())
            layer.weight.requires_grad_(learn)
            layer.weight.grad = None

    def encode(self, texts: Sequence[str]) -> list[Conditioning]:
        return encode_texts(self.model, [TextJob(text, ()) for text in texts], 1, CPU)

    def latents(
        self, texts: Sequence[str], seeds: Sequence[int], watch: Callable[[Tensor, float], None] | None = None
    ) -> Tensor:
        """(n, 4, 16, 16); `watch` sees what the network is given in each step, (latents, time)."""
        *parts, negative = self.encode([*texts, NEGATIVE])
        guides = [Guide(CFG, ((1.0, [part] * STEPS),), [negative] * STEPS, ((),) * STEPS) for part in parts]
        noise = SeededNoise(list(seeds), latent_shape(self.model, SIDE, SIDE), CPU)
        with GuidedNetwork(self.model, guides, SIDE, SIDE, CPU) as network:
            told = _Telling(network, watch) if watch else network
            return sample(self.model, told, noise, sampler="DPM++ 2M", schedule="Karras", steps=STEPS)  # type: ignore[arg-type]

    def path(self, texts: Sequence[str], seeds: Sequence[int]) -> list[tuple[Tensor, float]]:
        """What the network is given in the steps of these pictures: (latents, time)."""
        seen: list[tuple[Tensor, float]] = []
        self.latents(texts, seeds, lambda latents, time: seen.append((latents.clone(), time)))
        return seen

    def predict(self, latents: Tensor, time: float, given: Sequence[Conditioning]) -> Tensor:
        """The network's output for rows of one time."""
        context = torch.stack([one.context for one in given])
        pooled = torch.stack([one.pooled for one in given if one.pooled is not None])
        rows = Rows(latents, torch.tensor(time), context, pooled, None, (SIDE, SIDE))
        return self.model.kind.predict(self.model.denoiser, rows)

    def likeness(self, latents: Tensor) -> Tensor:
        """Mean log probability of the subject's traits, (n,)."""
        decoded = self.model.vae.decode(for_decoder(self.model.vae, latents), return_dict=False)[0]
        found = self.judge.network(decoded.clamp(-1, 1))
        knowledge = self.judge.knowledge
        traits = knowledge.subjects[self.trigger].items()
        rows = [
            found[name].log_softmax(1)[:, knowledge.questions[name].index(value)] for name, value in traits
        ]
        return torch.stack(rows).mean(0)

    @contextmanager
    def hooked(self, hook: Callable[[str], Callable[..., object]], *, before: bool = False) -> Iterator[None]:
        """A forward hook on each layer, or one before it."""
        with ExitStack() as stack:
            for name, layer in self.layers.items():
                add = layer.register_forward_pre_hook if before else layer.register_forward_hook
                stack.callback(add(hook(name)).remove)
            yield


class _Telling:
    """A network that says what it is asked."""

    def __init__(self, network: GuidedNetwork, watch: Callable[[Tensor, float], None]) -> None:
        self._network, self._watch = network, watch

    def __call__(self, latents: Tensor, time: float, step: int) -> Tensor:
        self._watch(latents, time)
        return self._network(latents, time, step)


@dataclass(frozen=True)
class Statistics:
    """By module: covariances of the inputs (with the trigger word), of their change by it, of the gradient of
    likeness by the outputs; and −∂likeness/∂W of the weights, averaged along the path from the base to the
    whole difference: its product with Δ sums up to what Δ gains (the fundamental theorem of calculus).
    """

    inputs: Mapping[str, Tensor]
    trigger: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    slopes: Mapping[str, Tensor]


def statistics(studio: Studio, pictures: int, path: Sequence[float] = (0.3, 0.65, 1.0)) -> Statistics:
    """Of `pictures` seeds in each place of the path."""
    inputs, trigger = _activations(studio, pictures)
    outputs = Moments()
    slopes = {name: torch.zeros_like(weight) for name, weight in studio.weights.items()}

    def watch(name: str) -> Callable[..., object]:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            if output.requires_grad:
                output.register_hook(lambda gradient: outputs.add(name, gradient))

        return hook

    for strength in path:
        studio.set_strength(strength, learn=True)
        with studio.hooked(watch):
            for texts, seeds in _batches(studio, pictures):
                gain = studio.likeness(studio.latents(texts, seeds)).sum()
                torch.autograd.backward(gain)
        for name, layer in studio.layers.items():
            if layer.weight.grad is not None:
                slopes[name] += layer.weight.grad / (pictures * len(path))
    studio.set_strength(0)
    doubled = {name: slope.double() for name, slope in slopes.items()}
    return Statistics(inputs.sums, trigger.sums, outputs.sums, doubled)


def prediction_slopes(
    studio: Studio, pictures: int, path: Sequence[float] = (1 / 6, 1 / 2, 5 / 6)
) -> dict[str, Tensor]:
    """−∂L/∂W along the path from the base to the whole difference, where L is half the squared distance to
    the guided predictions of the whole: its product with Δ sums up to L of the base. No judge takes part, and
    nothing is differentiated through the sampler.
    """
    slopes = {name: torch.zeros_like(weight) for name, weight in studio.weights.items()}
    for texts, seeds in _batches(studio, pictures):
        rows = [*texts, *[NEGATIVE] * len(texts)]
        studio.set_strength(1)
        with torch.no_grad():
            steps = [(torch.cat([latents] * 2), time) for latents, time in studio.path(texts, seeds)]
            given = studio.encode(rows)
            wanted = [_guided(studio.predict(latents, time, given)) for latents, time in steps]
        for strength in path:
            studio.set_strength(strength, learn=True)
            for (latents, time), goal in zip(steps, wanted, strict=True):
                gap = _guided(studio.predict(latents, time, studio.encode(rows))) - goal
                torch.autograd.backward(gap.square().sum() / 2)
            for name, layer in studio.layers.items():
                if layer.weight.grad is not None:
                    slopes[name] -= layer.weight.grad / (pictures * len(path))
    studio.set_strength(0)
    return {name: slope.double() for name, slope in slopes.items()}


def _guided(rows: Tensor) -> Tensor:
    """Of the rows with the prompt, and those with the negative prompt."""
    told, bare = rows.chunk(2)
    return bare + CFG * (told - bare)


def _batches(studio: Studio, pictures: int) -> Iterator[tuple[list[str], list[int]]]:
    texts = prompts(studio.judge, pictures, studio.trigger)
    for start in range(0, pictures, BATCH):
        part = texts[start : start + BATCH]
        yield part, [FIRST_SEED + start + n for n in range(len(part))]


@torch.no_grad()
def _activations(studio: Studio, pictures: int) -> tuple[Moments, Moments]:
    """Inputs of the layers in the merged model, and their change when the trigger word replaces the word
    that says nothing, on the same latents.
    """
    inputs, change = Moments(), Moments()
    studio.set_strength(1)
    for texts, seeds in _batches(studio, pictures):
        seen = studio.path(texts, seeds)
        bare = [text.replace(studio.trigger, NEGATIVE, 1) for text in texts]
        half = len(texts)

        def watch(name: str, half: int = half) -> Callable[..., object]:
            def hook(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
                (x,) = given
                inputs.add(name, x[:half])
                change.add(name, x[:half] - x[half:])

            return hook

        with studio.hooked(watch):
            both = studio.encode([*texts, *bare])
            for latents, time in seen:
                studio.predict(torch.cat([latents, latents]), time, both)
    studio.set_strength(0)
    return inputs, change


def distilled(studio: Studio, start: Pairs, pictures: int, steps: int, rate: float) -> Pairs:
    """Factors that begin as `start` and are fitted to the predictions of the whole difference.

    What is fitted: the network's output on latents of the merged model's own pictures, in all steps, with
    the prompt, with the negative prompt, and with the trigger word taken out; text encoders included. Adam,
    the rate falling to 0. No picture and no judge takes part.
    """
    cases = _cases(studio, pictures)
    factors = {name: tuple(part.float().clone() for part in pair) for name, pair in start.items()}
    learned = [part.requires_grad_() for pair in factors.values() for part in pair]
    adam = torch.optim.Adam(learned, lr=rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    rng = random.Random(0)

    def add(name: str) -> Callable[..., object]:
        up, down = factors[name]
        return lambda layer, given, output: output + given[0] @ down.T @ up.T

    with studio.hooked(add):
        for _ in range(steps):
            case = rng.choice(cases)
            given = studio.encode(case.texts)
            found = studio.predict(case.latents, case.time, given)
            loss = (found - case.wanted).square().mean()
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
            falling.step()
    return {name: (up.detach().double(), down.detach().double()) for name, (up, down) in factors.items()}


@dataclass(frozen=True, eq=False)
class _Case:
    """Rows of one time, and what the merged model predicts for them."""

    texts: tuple[str, ...]
    latents: Tensor
    time: float
    wanted: Tensor


@torch.no_grad()
def _cases(studio: Studio, pictures: int) -> list[_Case]:
    studio.set_strength(1)
    found = []
    for texts, seeds in _batches(studio, pictures):
        seen = studio.path(texts, seeds)
        bare = [text.replace(f"{studio.trigger}, ", "", 1) for text in texts]
        rows = (*texts, *bare, *[NEGATIVE] * len(texts))
        given = studio.encode(rows)
        for latents, time in seen:
            tripled = torch.cat([latents] * 3)
            found.append(_Case(rows, tripled, time, studio.predict(tripled, time, given)))
    studio.set_strength(0)
    return found
