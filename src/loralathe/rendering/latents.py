"""The strengths, texts and latents of a batch of requests, on one open model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from loralathe.rendering.decoding import Tell
from loralathe.rendering.embeddings import Embedding
from loralathe.rendering.encoding import Conditioning, TextJob, encode_texts
from loralathe.rendering.guidance import Guide, GuidedNetwork, Watch
from loralathe.rendering.model_cache import OpenModel
from loralathe.rendering.prepare import Prepared, Prompts
from loralathe.rendering.prompts import PartPlan
from loralathe.rendering.runtime import Presets, RowShares, Share, share_of, strength_of
from loralathe.rendering.sampling import OnStep, SeededNoise, Start, latent_shape, sample
from loralathe.rendering.upscaling import enlarge
from loralathe.strengths import AdapterUse

TextKey = tuple[object, ...]


@dataclass(frozen=True)
class RenderSettings:
    """Settings of a renderer that hold for all images; see `LocalRenderer`."""

    device: torch.device
    presets: Presets
    allow_unmatched: bool
    zero_empty_negative: bool


class LatentRenderer:
    """Turns prepared requests into latents on one open model. watch: see `guidance.Watch`."""

    def __init__(
        self,
        opened: OpenModel,
        settings: RenderSettings,
        tell: Tell = lambda text: None,
        watch: Watch | None = None,
    ) -> None:
        self._opened = opened
        self._settings = settings
        self._tell = tell
        self._watch = watch

    def shares(self, one: Prepared) -> tuple[Share, ...]:
        """The adapters of an image. InputError for files and block lists that do not fit the model."""
        return tuple(self._share(use, one.request.seed) for use in one.uses)

    def embeddings(self, one: Prepared) -> tuple[Embedding, ...]:
        """Those that an image's prompts name. InputError for files that do not fit the model."""
        return tuple(self._opened.embeddings.of(file) for file in one.request.embeddings)

    def latents(self, batch: Sequence[Prepared], on_step: OnStep = lambda: None) -> torch.Tensor:
        """(batch, channels, h, w) float32. All requests must be alike in `Prepared.like`."""
        request, texts = batch[0].request, self._texts(batch)
        made = self._run(batch, texts, 0, None, on_step)
        if (hires := request.hires) is None:
            return made
        large = enlarge(self._opened.model.vae, made, hires.upscaler, request.size, self._tell)
        if hires.denoising == 0:
            return large
        return self._run(batch, texts, 1, Start(large, hires.denoising), on_step)

    def read_prompts(self, batch: Sequence[Prepared]) -> None:
        """Encode the prompts alone, whatever was encoded before: for hooks on the text encoders."""
        by_skip: dict[int, list[TextJob]] = {}
        for one in batch:
            shares = tuple(share for share in self.shares(one) if share.te)
            texts = one.passes[0].plan.distinct_texts()
            jobs = [TextJob(text, shares, self.embeddings(one)) for text in texts]
            by_skip.setdefault(one.request.clip_skip, []).extend(jobs)
        opened = self._opened
        for clip_skip, jobs in by_skip.items():
            encode_texts(opened.model, jobs, clip_skip, self._settings.device, opened.embeddings)

    def _run(
        self,
        batch: Sequence[Prepared],
        texts: dict[TextKey, Conditioning],
        number: int,
        start: Start | None,
        on_step: OnStep,
    ) -> torch.Tensor:
        """The first pass (0) or the second (1), each with the noise of its seed from the beginning."""
        first, device, model = batch[0], self._settings.device, self._opened.model
        one_pass = first.request.passes[number]
        width, height = one_pass.width, one_pass.height
        guides = [self._guide(one, texts, one.passes[number]) for one in batch]
        seeds = [one.request.seed for one in batch]
        noise = SeededNoise(seeds, latent_shape(model, width, height), device)
        with GuidedNetwork(model, guides, width, height, device, watch=self._watch) as network:
            return sample(
                model,
                network,
                noise,
                sampler=first.sampler,
                schedule=first.schedule,
                steps=one_pass.steps,
                start=start,
                on_step=on_step,
            )

    def _share(self, use: AdapterUse, seed: int) -> Share:
        adapter = self._opened.adapter(use.file, allow_unmatched=self._settings.allow_unmatched)
        strength = strength_of(use, self._opened.model.family, self._settings.presets, seed)
        key = (id(adapter), strength)
        if key not in self._opened.shares:
            self._opened.shares[key] = share_of(adapter, strength)
        return self._opened.shares[key]

    def _guide(self, one: Prepared, texts: dict[TextKey, Conditioning], prompts: Prompts) -> Guide:
        def steps_of(part: PartPlan) -> list[Conditioning]:
            return [texts[self._key(one, text)] for text in part.texts]

        negative = None
        if one.guided:
            (only,) = prompts.negative.parts
            negative = steps_of(only)
            if self._reads_as_zeros(one):
                negative = [negative[0].blank()] * len(negative)
        parts = tuple((part.weight, steps_of(part)) for part in prompts.plan.parts)
        steps = len(prompts.plan.parts[0].texts)
        usual = self._opened.model.usual.guidance
        own = one.request.guidance
        guidance = usual if own is None or usual is None else own
        return Guide(one.request.cfg, parts, negative, self._shares_by_step(one, steps), guidance)

    def _reads_as_zeros(self, one: Prepared) -> bool:
        return (
            self._settings.zero_empty_negative
            and self._opened.model.pictures.empty_is_zeros
            and one.request.negative == ""
        )

    def _shares_by_step(self, one: Prepared, steps: int) -> list[RowShares]:
        pairs = [(use, share) for use, share in zip(one.uses, self.shares(one), strict=True) if share.unet]
        return [tuple(share for use, share in pairs if use.active_at(step)) for step in range(steps)]

    def _texts(self, batch: Sequence[Prepared]) -> dict[TextKey, Conditioning]:
        """The conditioning of every text of a batch; texts of earlier batches are not encoded again.

        Those of one image go through the encoders together and apart from all others: what an image reads
        does not depend on the images before it or beside it, to the last bit.
        """
        found: dict[TextKey, Conditioning] = {}
        for one in batch:
            keys = {self._key(one, text): text for text in one.encoded_texts()}
            known = {key: self._opened.recall(key) for key in keys}
            if None in known.values():
                shares = tuple(share for share in self.shares(one) if share.te)
                embeddings = self.embeddings(one)
                encoded = encode_texts(
                    self._opened.model,
                    [TextJob(text, shares, embeddings) for text in keys.values()],
                    one.request.clip_skip,
                    self._settings.device,
                    self._opened.embeddings,
                )
                known = dict(zip(keys, encoded, strict=True))
            for key, conditioning in known.items():
                assert conditioning is not None
                found[key] = conditioning
                self._opened.remember(key, conditioning)
        return found

    def _key(self, one: Prepared, text: str) -> TextKey:
        """The key of an encoding: text, those beside it, clip skip, strengths in encoders, embeddings."""
        strengths = tuple((id(share.adapter), share.te_key) for share in self.shares(one) if share.te)
        vectors = tuple(embedding.ids for embedding in self.embeddings(one))
        return (text, one.encoded_texts(), one.request.clip_skip, strengths, vectors)
