"""What files, samplers, schedules, upscalers and embeddings are called in other programs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType

from loralathe.errors import InputError, close_matches, few
from loralathe.rendering.clip_tokens import encode_text
from loralathe.rendering.hires import UPSCALERS
from loralathe.rendering.samplers import SAMPLERS

COMFY_SAMPLERS: Mapping[str, str] = MappingProxyType({
    "DPM++ 2M": "dpmpp_2m", "DPM++ SDE": "dpmpp_sde", "DPM++ 2M SDE": "dpmpp_2m_sde",
    "DPM++ 2S a": "dpmpp_2s_ancestral", "DPM++ 3M SDE": "dpmpp_3m_sde", "Euler a": "euler_ancestral",
    "Euler": "euler", "LMS": "lms", "Heun": "heun", "DPM2": "dpm_2", "DPM2 a": "dpm_2_ancestral",
    "DDIM": "ddim", "UniPC": "uni_pc", "LCM": "lcm",
})  # fmt: skip
"""A1111's label → ComfyUI's name. PLMS has no counterpart there."""
COMFY_SCHEDULES: Mapping[str, str] = MappingProxyType({
    "Uniform": "normal", "Normal": "normal", "Karras": "karras", "Exponential": "exponential",
    "SGM Uniform": "sgm_uniform", "KL Optimal": "kl_optimal", "Simple": "simple", "DDIM": "ddim_uniform",
})  # fmt: skip
"""A1111's label → ComfyUI's name. Polyexponential and Align Your Steps have none."""
COMFY_UPSCALERS: Mapping[str, str] = MappingProxyType({
    "Latent": "bilinear", "Latent (bicubic)": "bicubic", "Latent (nearest-exact)": "nearest-exact",
    "None": "lanczos", "Lanczos": "lanczos", "Nearest": "nearest-exact",
})  # fmt: skip
"""A1111's label → ComfyUI's method, of latents or of pixels as ours. It has no antialiased ones."""
EMBEDDING = "embedding:"
"""How ComfyUI's prompts begin the name of an embedding; a blank ends it."""
AUTOMATIC = "Automatic"


def comfy_sampler(label: str, known: Sequence[str]) -> str:
    """ComfyUI's name of a sampler. InputError for one that it lacks."""
    return _translated(label, "sampler", COMFY_SAMPLERS, known)


def comfy_schedule(label: str, sampler: str, known: Sequence[str], *, flow: bool) -> str:
    """ComfyUI's name of a schedule; flow: of a model that predicts flow, whose own is `simple`."""
    if label == AUTOMATIC:
        label = "Simple" if flow else SAMPLERS[sampler].schedule
    return _translated(label, "schedule", COMFY_SCHEDULES, known)


def comfy_upscaler(label: str) -> tuple[str, bool]:
    """(ComfyUI's method, whether it enlarges latents). InputError for one that it lacks."""
    known = list(COMFY_UPSCALERS.values())
    return _translated(label, "upscaler", COMFY_UPSCALERS, known), UPSCALERS[label].latents


def comfy_embeddings(text: str, names: Mapping[str, str]) -> str:
    """The text with `embedding:NAME` in place of the embeddings that it names. names: ours → the server's.

    A name is what A1111 and we find: tokens, whatever their case, and nothing inside of a word.
    """
    if not names:
        return text
    own = {name.casefold(): name for name in names}
    longest = "|".join(re.escape(name) for name in sorted(own, key=len, reverse=True))
    said, start = "", 0
    for match in re.finditer(longest, text, re.IGNORECASE):
        before, rest = text[start : match.start()], text[match.end() :]
        apart = [token for part in (before, match.group(), rest) for token in encode_text(part)]
        if apart == encode_text(text[start:]):
            name = names[own[match.group().casefold()]]
            said += f"{before.removesuffix(EMBEDDING)} {EMBEDDING}{name} "
            start = match.end()
    return said + text[start:]


def _translated(label: str, what: str, table: Mapping[str, str], known: Sequence[str]) -> str:
    name = table.get(label)
    if name is None or name not in known:
        there = [own for own, other in table.items() if other in known]
        raise InputError(
            f"ComfyUI has no {what} '{label}'", fix=f"it has {', '.join(dict.fromkeys(there))}", about=what
        )
    return name


def of_server(file: str, known: Iterable[str], what: str, where: str, *, folder: str) -> str:
    """What a server calls a file of ours: the one of its list with the same name.

    Of several in subfolders, the one whose path agrees longest with ours. Raises InputError, with close
    names, for a file that the server does not have, and for several that agree alike.
    folder: where the server keeps such files, for the advice.
    """
    path = _parts(file)
    names = list(dict.fromkeys(known))
    same = [name for name in names if _parts(name)[-1] == path[-1]]
    if not same:
        stem = _stem(path[-1])
        same = [name for name in names if "." not in _parts(name)[-1] and _parts(name)[-1] == stem]
    if not same:
        stems = {_stem(name): _last(name) for name in reversed(names)}
        near = [stems[stem] for stem in close_matches(_stem(file), stems)]
        fix = "it has " + " or ".join(f"'{name}'" for name in near) if near else _advice(names, folder)
        raise InputError(f"the server has no {what} '{_last(file)}'", where=where, fix=fix)
    best = max(_agree(_parts(name), path) for name in same)
    found = [name for name in same if _agree(_parts(name), path) == best]
    if len(found) > 1:
        raise InputError(
            f"the server has several files called '{_last(file)}'",
            where=f"{where}: {few(found)}",
            fix="give them different names",
        )
    return found[0]


def _advice(names: Sequence[str], folder: str) -> str:
    return f"put the file into its folder {folder}; it has {few([_last(name) for name in names]) or 'none'}"


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(re.sub(r"[\\/]+", "/", name).casefold()).parts or ("",)


def _last(name: str) -> str:
    return re.split(r"[\\/]", name)[-1]


def _stem(name: str) -> str:
    return re.sub(r"\.\w{1,12}\Z", "", _last(name))


def _agree(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many parts at the end are equal."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
