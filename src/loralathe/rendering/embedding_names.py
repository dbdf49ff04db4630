"""Which embeddings a prompt names. A name is looked for among tokens, so case does not matter. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from loralathe.rendering.clip_tokens import encode_text, with_names
from loralathe.rendering.prompts import PromptPlan, lift_tags, parse_emphasis, plan_prompt
from loralathe.rendering.request import ImageRequest


def with_embeddings(request: ImageRequest, known: Mapping[str, str]) -> ImageRequest:
    """The request with the files of the embeddings that its prompts name. known: name → path."""
    if not known:
        return request
    prompt, prompts = lift_tags(request.prompt).prompt, list[PromptPlan]()
    for number, one in enumerate(request.passes):
        after = request.steps if number else 0
        prompts.append(plan_prompt(prompt, one.steps, after=after))
        prompts.append(plan_prompt(request.negative, one.steps, composable=False, after=after))
    names = [(tuple(encode_text(name)), path) for name, path in known.items()]
    texts = dict.fromkeys(text for plan in prompts for text in plan.distinct_texts())
    pieces = (piece.text for text in texts for piece in parse_emphasis(text)[0] if piece.text)
    used = dict.fromkeys(path for piece in pieces for _, path in with_names(piece, names) if path is not None)
    return replace(request, embeddings=tuple(used))
