"""PEFT's other kinds of adapter, recognised only to say what they are.

By the `peft_type` of an adapter_config.json, and by how the words in the names of their tensors start.
tests/interop/test_peft_kinds.py compares the table with PEFT's own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

from loralathe.errors import InputError

OTHERS = {
    "ADALORA": ("AdaLoRA", "lora_E"),
    "ADAMSS": ("AdaMSS", "adamss_"),
    "ADAPTION_PROMPT": ("LLaMA-Adapter", "adaption_"),
    "BEFT": ("BEFT", "beft_"),
    "BONE": ("Bone", "bone_"),
    "C3A": ("C3A", "c3a_"),
    "DEFT": ("DEFT", "deft_"),
    "DELORA": ("DeLoRA", "delora_"),
    "FOURIERFT": ("FourierFT", "fourierft_"),
    "FROD": ("FROD", "frod_"),
    "GLORA": ("GLoRA", "glora_"),
    "GRALORA": ("GraLoRA", "gralora_"),
    "HIRA": ("HiRA", "hira_"),
    "HRA": ("HRA", "hra_"),
    "LILY": ("Lily", "lily_"),
    "LN_TUNING": ("LN tuning (whole norms)", "ln_tuning_"),
    "MISS": ("MiSS", "miss_"),
    "OSF": ("OSF", "osf_"),
    "PEANUT": ("PEANuT", "peanut_"),
    "POLY": ("Poly", "poly_"),
    "PSOFT": ("PSOFT", "psoft_"),
    "PVERA": ("PVeRA", "pvera_"),
    "RANDLORA": ("RandLoRA", "randlora_"),
    "ROAD": ("RoAd", "road_"),
    "SHADOW": ("Shadow", "shadow_"),
    "SHIRA": ("SHiRA", "shira_"),
    "SUPERTUNING": ("SuperTuning", "supertuning_"),
    "TINYLORA": ("TinyLoRA", "tinylora_"),
    "TRAINABLE_TOKENS": ("trained tokens", "trainable_tokens_"),
    "UNILORA": ("UniLoRA", "unilora_"),
    "VBLORA": ("VB-LoRA", "vblora_"),
    "VERA": ("VeRA", "vera_"),
    "WAVEFT": ("WaveFT", "waveft_"),
    "XLORA": ("X-LoRA", "xlora_"),
}
"""peft_type → in the words of people; start of a word in names of tensors, as a regular expression."""
PROMPTS = {
    "PROMPT_TUNING": "prompt tuning",
    "MULTITASK_PROMPT_TUNING": "multitask prompt tuning",
    "P_TUNING": "P-tuning",
    "PREFIX_TUNING": "prefix tuning",
    "CPT": "CPT",
    "CARTRIDGE": "Cartridge",
}
"""Those that learn what stands before the prompt."""
PROMPT = "prompt_embeddings"
"""Last word of the name of what they all learn."""
TUNED_PROMPT = "a tuned prompt"


@cache
def _starts() -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{kind}>{start})" for kind, (_, start) in OTHERS.items()))


def foreign_kind(keys: Collection[str]) -> str | None:
    """What PEFT calls an adapter with these tensors, if it is of a kind that is not read."""
    words = dict.fromkeys(word for key in keys for word in key.split("."))  # thousands of names, few words
    found = next(filter(None, map(_starts().match, words)), None)
    if found is not None and found.lastgroup is not None:
        return OTHERS[found.lastgroup][0]
    return TUNED_PROMPT if any(key.split(".")[-1] == PROMPT for key in keys) else None


def label_of_type(peft_type: object) -> str | None:
    """The same by the word of a config; None for the types that are read, and for none that is known."""
    if not isinstance(peft_type, str):
        return None
    return OTHERS[peft_type][0] if peft_type in OTHERS else PROMPTS.get(peft_type)


def refusal(label: str, where: str | None) -> InputError:
    prompt = label == TUNED_PROMPT or label in PROMPTS.values()
    return InputError(
        f"the kind of this adapter is not read: {label} (PEFT)",
        where=where,
        fix="it changes the prompt and no weights, so there is nothing to merge"
        if prompt
        else "merge it into its base with PEFT, then use the difference of the two checkpoints, "
        "or extract a LoRA from it",
    )
