"""A few steps of training without photos: a LoRA's factors, taught by what the models predict themselves.

Pictures are sampled as they should be: some with a LoRA and its trigger word, some by the base without both.
Each call of the network is kept with what it predicted. Then the factors learn to predict the same from the
same noisy latents: with the word as that LoRA does, without it as the base. Names, ranks and alpha stay.

loss = mean ‖pupil − teacher‖² with the word + the same without it, by Adam (Kingma & Ba 2015) at a rate that
falls to 0. Text encoders are part of the pupil: their factors are trained through the context. Where a layer
has its rows apart in the file (q, k and v), `up` stays, since zeros between them have to stay.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from loralathe.adapters.damped import has_plain_factors
from loralathe.errors import InputError
from loralathe.lowrank import Factors, moved
from loralathe.rendering.encoding import TextJob, encode_texts
from loralathe.rendering.latents import LatentRenderer, RenderSettings
from loralathe.rendering.loading import Model, Rows
from loralathe.rendering.model_cache import OpenModel
from loralathe.rendering.prepare import Prepared
from loralathe.rendering.runtime import Fitting, LoadedAdapter, RowShares, Share, terms_of_batch
from loralathe.rendering.runtime.layers import Change, cut, shaped_for
from loralathe.rendering.sampling import OnStep
from loralathe.strengths import is_text_encoder

WARM_UP = 10
LARGEST_GRADIENT = 1.0
SCALE = 1024.0
"""Of the loss in fp16, whose gradients would round to 0."""


@dataclass(frozen=True)
class Schooling:
    """How factors are refined. rows: pictures with the word in a step, and as many without it.

    strength: of the LoRA in them.
    """

    steps: int
    strength: float = 1.0
    rate: float = 1e-3
    rows: int = 4
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Lesson:
    """One picture at one step: what the network was given but for the text, and what it predicted.

    latents, prediction: (channels, h, w);  guidance: ()
    """

    latents: Tensor
    time: Tensor
    guidance: Tensor | None
    prediction: Tensor


@dataclass(eq=False)
class Recorder:
    """Keeps what each call of a single picture's network was given and predicted, its prompt's row alone."""

    lessons: list[Lesson] = field(default_factory=list)
    _rows: Rows | None = None
    _place: int | None = None

    def before(self, factors: Sequence[float], rows: Rows) -> None:
        self._rows = rows
        self._place = next((i for i, factor in enumerate(factors) if factor > 0), None)

    def after(self, prediction: Tensor) -> None:
        rows, at = self._rows, self._place
        if rows is None or at is None:
            return
        self.lessons.append(
            Lesson(
                rows.latents[at].clone(),
                rows.time.clone(),
                None if rows.guidance is None else rows.guidance[at].clone(),
                prediction[at].float().clone(),
            )
        )


@dataclass(frozen=True, eq=False)
class Pupil:
    """What is trained, of one file: the factors of each module that has plain ones. The others stay."""

    model: Model
    adapter: LoadedAdapter
    trained: Mapping[str, Factors]

    @classmethod
    def of(cls, model: Model, adapter: LoadedAdapter, device: torch.device) -> Pupil:
        trained = {}
        for name, module in adapter.modules.items():
            if has_plain_factors(module):
                one = moved(adapter.raw_factors(name), device)
                one.down.requires_grad_()
                one.up.requires_grad_(not module.pieces and not module.swapped)
                trained[name] = one
        return cls(model, adapter, trained)

    @property
    def numbers(self) -> list[Tensor]:
        """All that is trained."""
        both = [tensor for one in self.trained.values() for tensor in (one.down, one.up)]
        return [tensor for tensor in both if tensor.requires_grad]

    def factors(self, name: str, device: torch.device) -> tuple[Change, ...]:
        """As those of a `LoadedAdapter`, with gradients."""
        if name not in self.trained:
            return self.adapter.factors(name, device)
        slices = self.model.modules[name].slices
        whole = shaped_for(slices[0][0], self.trained[name], self.model.dtype, device)
        return tuple(cut(whole, rows) for _, rows in slices)

    def share(self, strength: float) -> Share:
        """All modules at one strength."""
        names = dict.fromkeys(self.adapter.modules, strength)
        texts = {name: value for name, value in names.items() if is_text_encoder(name)}
        return Share(self, texts, {name: value for name, value in names.items() if name not in texts})


@dataclass(frozen=True, eq=False)
class Pictures:
    """Lessons of pictures, for each of them one of each call of the network; its text and other adapters.

    size: (width, height)
    """

    lessons: Sequence[Sequence[Lesson]]
    texts: Sequence[TextJob]
    shares: Sequence[RowShares]
    clip_skip: int
    size: tuple[int, int]


def refine(
    opened: OpenModel,
    settings: RenderSettings,
    with_word: Sequence[Prepared],
    without: Sequence[Prepared],
    start: LoadedAdapter,
    schooling: Schooling,
    on_step: OnStep,
) -> dict[str, Factors]:
    """Module → its trained factors, on the CPU, alpha inside; see the module.

    with_word: its last adapter is the teacher, and `start` stands in its place for the pupil.
    on_step is called for each step of the sampler and of the training.
    """
    model, device = opened.model, settings.device
    for network in (model.denoiser, *(encoder.network for encoder in model.encoders)):
        network.requires_grad_(False)
    with torch.no_grad():
        taught = [
            _record(opened, settings, some, drop, on_step) for some, drop in ((with_word, 1), (without, 0))
        ]
    pupil = Pupil.of(model, start, device)
    school = _School(model, pupil, pupil.share(schooling.strength), device)
    if device.type != "cpu":  # memory is what a GPU lacks
        model.denoiser.enable_gradient_checkpointing()
    try:
        school.teach(taught, schooling, on_step)
    finally:
        if device.type != "cpu":
            model.denoiser.disable_gradient_checkpointing()
    return {
        name: replace(one, up=one.up.detach().cpu(), down=one.down.detach().cpu())
        for name, one in pupil.trained.items()
    }


def _record(
    opened: OpenModel, settings: RenderSettings, some: Sequence[Prepared], drop: int, on_step: OnStep
) -> Pictures:
    """drop: so many adapters, the last ones, are the teacher's; the pupil does without them."""
    lessons: list[list[Lesson]] = []
    texts: list[TextJob] = []
    others: list[RowShares] = []
    for one in some:
        recorder = Recorder()
        renderer = LatentRenderer(opened, settings, watch=recorder)
        renderer.latents([one], on_step)
        lessons.append(recorder.lessons)
        shares = renderer.shares(one)
        shares = shares[: len(shares) - drop]
        te = tuple(share for share in shares if share.te)
        texts.append(TextJob(only_text(one), te, renderer.embeddings(one)))
        others.append(tuple(share for share in shares if share.unet))
    request = some[0].request
    return Pictures(lessons, texts, others, request.clip_skip, (request.width, request.height))


def only_text(one: Prepared) -> str:
    """The text of a picture. InputError where it changes from step to step, or AND joins several."""
    found = one.passes[0].plan.distinct_texts()
    if len(found) != 1:
        raise InputError(
            "refining needs prompts of one text",
            where=one.request.prompt,
            fix="write them without AND and [from:to:when]",
        )
    return found[0]


@dataclass(frozen=True, eq=False)
class _School:
    model: Model
    pupil: Pupil
    share: Share
    device: torch.device

    def teach(self, taught: Sequence[Pictures], schooling: Schooling, on_step: OnStep) -> None:
        numbers = self.pupil.numbers
        optimizer = torch.optim.Adam(numbers, lr=schooling.rate)
        rng = random.Random(schooling.seed)
        scale = SCALE if self.model.dtype == torch.float16 else 1.0
        calls = min(len(own) for pictures in taught for own in pictures.lessons)
        for n in range(schooling.steps):
            for group in optimizer.param_groups:
                falling = (1 - n / schooling.steps) ** 0.5
                group["lr"] = schooling.rate * min((n + 1) / WARM_UP, 1.0) * falling
            optimizer.zero_grad()
            call = rng.randrange(calls)
            for pictures in taught:  # one after the other: half the memory
                count = min(schooling.rows, len(pictures.lessons))
                self._learn(pictures, rng.sample(range(len(pictures.lessons)), count), call, scale)
            for one in numbers:
                if one.grad is not None:  # the last layer of a text encoder may be read by nobody
                    one.grad /= scale
            torch.nn.utils.clip_grad_norm_(numbers, LARGEST_GRADIENT, error_if_nonfinite=True)
            optimizer.step()
            on_step()

    def _learn(self, pictures: Pictures, chosen: Sequence[int], call: int, scale: float) -> None:
        """Adds the gradient of some pictures at one call of the network."""
        model, lessons = self.model, [pictures.lessons[i][call] for i in chosen]
        jobs = [pictures.texts[i] for i in chosen]
        jobs = [replace(job, shares=(*job.shares, self.share)) for job in jobs]
        contexts = encode_texts(model, jobs, pictures.clip_skip, self.device)
        pooled = [one.pooled for one in contexts if one.pooled is not None]
        guidance = [one.guidance for one in lessons if one.guidance is not None]
        shares = [(*pictures.shares[i], self.share) for i in chosen]
        with Fitting(model) as fitting:
            fitting.fit(terms_of_batch(shares, text_side=False, device=self.device))
            made = model.kind.predict(
                model.denoiser,
                Rows(
                    torch.stack([one.latents for one in lessons]),
                    lessons[0].time,
                    torch.stack([one.context for one in contexts]).to(model.dtype),
                    torch.stack(pooled).to(model.dtype) if pooled else None,
                    torch.stack(guidance) if guidance else None,
                    pictures.size,
                ),
            )
            wanted = torch.stack([one.prediction for one in lessons])
            loss: Tensor = (made.float() - wanted).square().mean() * scale
            torch.autograd.backward(loss)
