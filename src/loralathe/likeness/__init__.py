"""Who is in a picture: models that make a vector of a face or a character, and the identity card.

A card holds the vectors of a person's pictures and says which model made them; it gives other pictures a
likeness. Importing this package imports no torch, numpy or Pillow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names

if TYPE_CHECKING:
    from loralathe.likeness.card import Card, Reference, make_card
    from loralathe.likeness.card_file import CardFacts, read_card, read_card_facts, write_card
    from loralathe.likeness.embedders import WholePicture, open_embedder
    from loralathe.likeness.model_files import ModelFile
    from loralathe.likeness.portraits import Judge, open_judge
    from loralathe.likeness.preparation import Preparation
    from loralathe.likeness.vectors import Embedder

__all__ = [
    "Card", "CardFacts", "Embedder", "Judge", "ModelFile", "Preparation", "Reference", "WholePicture",
    "make_card", "open_embedder", "open_judge", "read_card", "read_card_facts", "write_card",
]  # fmt: skip

__getattr__ = lazy_names(
    __name__,
    {
        "card": ("Card", "Reference", "make_card"),
        "card_file": ("CardFacts", "read_card", "read_card_facts", "write_card"),
        "embedders": ("WholePicture", "open_embedder"),
        "model_files": ("ModelFile",),
        "portraits": ("Judge", "open_judge"),
        "preparation": ("Preparation",),
        "vectors": ("Embedder",),
    },
)
