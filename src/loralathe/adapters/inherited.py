"""What a file says of itself that is not true of another file made of it."""

from __future__ import annotations

from collections.abc import Mapping

OURS = "loralathe"
"""Begins what this program wrote: how the file was made, what was measured of it, what it was cured of."""
OF_THE_FILE = ("modelspec.hash_sha256", "modelspec.date", "sshs_model_hash", "sshs_legacy_hash")
"""Its hashes and its date."""


def inherited(metadata: Mapping[str, str]) -> dict[str, str]:
    """What still holds of a file that is made of this one: the trainer's notes, no record and no numbers."""
    return {
        key: text for key, text in metadata.items() if not key.startswith(OURS) and key not in OF_THE_FILE
    }
