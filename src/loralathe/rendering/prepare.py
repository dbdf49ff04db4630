"""Requests, read: adapters looked up by name, tags taken out, prompts planned. All before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loralathe.adapters import ModelFolders
from loralathe.rendering.prompts import Issue, PromptPlan, lift_tags, plan_prompt
from loralathe.rendering.request import ImageRequest
from loralathe.rendering.samplers import canonical_names
from loralathe.strengths import AdapterUse, require_counted_once


@dataclass(frozen=True)
class Prompts:
    """Which text guides which step of one pass, and away from which."""

    plan: PromptPlan
    negative: PromptPlan

    def texts(self) -> tuple[str, ...]:
        return (*self.plan.distinct_texts(), *self.negative.distinct_texts())


@dataclass(frozen=True)
class Prepared:
    """A request and everything its words mean. Files of `uses` are paths."""

    index: int
    request: ImageRequest
    uses: tuple[AdapterUse, ...]
    passes: tuple[Prompts, ...]
    sampler: str
    schedule: str
    issues: tuple[Issue, ...]

    @property
    def guided(self) -> bool:
        """Whether a negative prompt takes part: CFG 1 without AND needs none and costs half."""
        return self.request.cfg != 1.0 or len(self.passes[0].plan.parts) > 1

    def texts(self) -> tuple[str, ...]:
        """What is encoded, in all steps."""
        return tuple(text for prompts in self.passes for text in prompts.texts())

    def encoded_texts(self) -> tuple[str, ...]:
        """Those that take part: the negative prompt does only where it guides."""
        if self.guided:
            return self.texts()
        return tuple(text for prompts in self.passes for text in prompts.plan.distinct_texts())

    def like(self) -> tuple[object, ...]:
        """Requests with equal values here can share a batch."""
        r = self.request
        return (r.width, r.height, r.steps, r.hires, self.sampler, self.schedule, self.guided)


def prepare(index: int, request: ImageRequest, folders: ModelFolders) -> Prepared:
    """Read one request. Raises InputError for unknown samplers, schedules and adapters."""
    sampler, schedule = canonical_names(request.sampler, request.schedule)
    tagged = lift_tags(request.prompt)
    named, given = (
        tuple(replace(use, file=str(folders.find(use.file))) for use in uses)
        for uses in (tagged.adapters, request.adapters)
    )
    require_counted_once(given, named)
    passes = tuple(_prompts(request, tagged.prompt, number) for number, _ in enumerate(request.passes))
    issues = (*tagged.issues, *passes[0].plan.issues, *passes[0].negative.issues)
    return Prepared(index, request, (*named, *given), passes, sampler, schedule, issues)


def _prompts(request: ImageRequest, prompt: str, number: int) -> Prompts:
    """Of the first pass (0) or the second (1)."""
    steps, after = request.passes[number].steps, request.steps if number else 0
    return Prompts(
        plan_prompt(prompt, steps, after=after),
        plan_prompt(request.negative, steps, composable=False, after=after),
    )


def in_order_of_work(
    prepared: Sequence[Prepared],
) -> list[tuple[tuple[str, str | None], list[list[Prepared]]]]:
    """[((checkpoint, VAE), [images that can share batches, …]), …]: every model is opened once."""
    by_model: dict[tuple[str, str | None], dict[tuple[object, ...], list[Prepared]]] = {}
    for one in sorted(prepared, key=lambda p: (_first_use(prepared, p), p.index)):
        groups = by_model.setdefault((one.request.checkpoint, one.request.vae), {})
        groups.setdefault(one.like(), []).append(one)
    return [(model, list(groups.values())) for model, groups in by_model.items()]


def _first_use(prepared: Sequence[Prepared], one: Prepared) -> int:
    """Where the checkpoint of `one` first occurs: its VAEs then follow one another."""
    return next(i for i, p in enumerate(prepared) if p.request.checkpoint == one.request.checkpoint)
