"""In which order extractions must be done when one uses the result of another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from loralathe.engine.forms import ExtractLeaf, Form, Leaf, RoundLeaf
from loralathe.engine.local import in_scope
from loralathe.engine.units import Slice


def level_of(form: Form) -> int:
    """How many extractions, one inside the other, must be done before this form."""
    return max((level(term.leaf) for term in form.terms), default=0)


def level(leaf: Leaf) -> int:
    """The same for a leaf: an extraction counts itself."""
    if isinstance(leaf, ExtractLeaf):
        return level_of(leaf.form) + 1
    if isinstance(leaf, RoundLeaf):
        return level_of(leaf.form)
    return 0


def unrounded(leaf: ExtractLeaf) -> ExtractLeaf:
    """The extraction itself, shared by its rounded forms."""
    if leaf.options.round_to is None:
        return leaf
    return replace(leaf, options=replace(leaf.options, round_to=None))


def extractions_at(form: Form, piece: Slice) -> Iterator[ExtractLeaf]:
    """Extractions inside a form whose factors reach this slice, inner ones first."""
    for term in form.terms:
        if isinstance(term.leaf, RoundLeaf):
            yield from extractions_at(term.leaf.form, piece)
        elif isinstance(term.leaf, ExtractLeaf) and in_scope(piece, term.leaf.options):
            yield from extractions_at(term.leaf.form, piece)
            yield unrounded(term.leaf)
