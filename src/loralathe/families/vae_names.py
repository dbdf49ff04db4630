"""The VAE of any file under a checkpoint's own names: a VAE alone or a whole model, original or diffusers."""

from __future__ import annotations

from collections.abc import Iterable

from loralathe.families.family import Family

PREFIXES = ("first_stage_model.", "vae.", "")
"""Where a VAE stands: in a checkpoint, in a diffusers model in one file, alone."""
DIFFUSERS_MARK = "decoder.mid_block."
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of diffusers before 0.18 for the VAE's attention."""
NO_WEIGHTS = ("loss", "model_ema.")
"""What training leaves in VAE files; as web UIs skip it."""


def vae_keys(family: Family, keys: Iterable[str]) -> dict[str, str]:
    """Checkpoint key of each VAE tensor → its key in a file with these keys; empty when it has no VAE."""
    keys = list(keys)
    for prefix in PREFIXES:
        own = [
            key for key in keys if key.startswith(prefix) and not key[len(prefix) :].startswith(NO_WEIGHTS)
        ]
        diffusers = any(key.startswith(prefix + DIFFUSERS_MARK) for key in own)
        found = {_original(family, key[len(prefix) :], diffusers): key for key in own}
        found.pop(None, None)
        if found:
            return {key: name for key, name in found.items() if key is not None}
    return {}


def _original(family: Family, name: str, diffusers: bool) -> str | None:
    """The checkpoint key of a VAE's tensor; None for what no VAE has."""
    if not diffusers:
        key = family.components["vae"] + name
        return key if family.knows_key(key) else None
    path, _, role = name.rpartition(".")
    stem, _, last = path.rpartition(".")
    piece = family.piece_of_diffusers(
        "vae", f"{stem}.{OLD_ATTENTION.get(last, last)}.{role}" if stem else name
    )
    return piece.key if piece else None
