"""Metadata of a written adapter: its own notes, and what it takes over from the adapters it was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping

from loralathe.engine.outputs import AdapterOutput
from loralathe.engine.session import Session
from loralathe.engine.sidecars import whole_copies
from loralathe.errors import InputError, did_you_mean, whole
from loralathe.families import AdapterNotes, adapter_metadata
from loralathe.language import ADAPTER_METADATA, FIRST, Save

TAGS = "ss_tag_frequency"


def adapter_notes(session: Session, output: AdapterOutput) -> dict[str, str]:
    """What an adapter says about itself, by its [save] entry: `adapter_metadata`, or a `metadata_from`.

    new: our notes alone;  minimal: of them only kohya's `ss_*`;  first: all of the first input's, with our
    notes where they would be false;  all: also each input's whole, as JSON;  merge: also their tag folders.
    Raises InputError for another word, and for first, all or merge when no adapter takes part.
    """
    mode = _mode(output.save)
    if mode not in ADAPTER_METADATA:
        raise InputError(
            f"a LoRA has no metadata called '{mode}'",
            where=f"step '{output.save.step}'",
            fix=did_you_mean(mode, ADAPTER_METADATA) or "one of " + ", ".join(ADAPTER_METADATA),
        )
    own = _own(session, output)
    if mode == "new":
        return own
    if mode == "minimal":
        return {key: text for key, text in own.items() if key.startswith("ss_")}
    names = output.expression.adapters
    sources = [
        dict(session.sources.adapters[name].metadata) for name in session.recipe.inputs if name in names
    ]
    if not sources:
        raise InputError(
            f"no LoRA takes part whose metadata could be taken over ({mode})",
            where=f"step '{output.save.step}'",
            fix="use new or minimal",
        )
    return _inherited(mode, sources, title_of(output)) | own


def _mode(save: Save) -> str:
    """A formula may make an adapter or a checkpoint: what was chosen for either holds for what it makes."""
    return save.adapter_metadata if save.metadata_from == FIRST else save.metadata_from


def title_of(output: AdapterOutput) -> str:
    """What an adapter calls itself."""
    return output.save.title or whole(output.save.file.stem)


def _own(session: Session, output: AdapterOutput) -> dict[str, str]:
    options = output.leaf.options
    notes = AdapterNotes(
        rank=output.one_rank,
        alpha=float(output.nominal),
        conv_rank=options.conv_rank if options.is_fixed else None,
        prediction=output.prediction,
        title=title_of(output),
    )
    return adapter_metadata(session.sources.require_family().words, notes)


def _inherited(mode: str, sources: list[dict[str, str]], title: str) -> dict[str, str]:
    found = dict(sources[0])
    if "ss_output_name" in found:
        found["ss_output_name"] = title
    if mode in ("all", "merge"):
        found |= whole_copies(sources)
    if mode == "merge" and (tags := _merged_tags(sources)):
        found[TAGS] = json.dumps(tags, ensure_ascii=False)
    return found


def _merged_tags(sources: list[dict[str, str]]) -> Mapping[str, object]:
    """Folders of training tags of all inputs; where a folder's name is taken, the first one's stays."""
    found: dict[str, object] = {}
    for source in sources:
        try:
            folders = json.loads(source.get(TAGS, "{}"))
        except ValueError:
            # Somebody else's free text; losing what nobody can read loses nothing.
            continue
        if isinstance(folders, dict):
            found = {**folders, **found}
    return found
