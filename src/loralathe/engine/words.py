"""Words for prompts that are bundled into an adapter: kept where it is resized or combined."""

from __future__ import annotations

from loralathe.engine.outputs import AdapterOutput
from loralathe.engine.session import Session
from loralathe.tensorfiles import TensorFile, TensorInfo, TensorSpec


def bundled_words(session: Session, output: AdapterOutput) -> list[tuple[TensorFile, TensorInfo]]:
    """Their tensors. Of two words with one name the first input's stays.

    A LoRA that is extracted from models is none of its inputs rewritten: it gets no words.
    """
    if output.expression.checkpoints:
        return []
    words: dict[str, list[tuple[TensorFile, TensorInfo]]] = {}
    for name in session.recipe.inputs:
        if name in output.expression.adapters:
            adapter = session.sources.adapters[name]
            for word, keys in adapter.embeddings.items():
                words.setdefault(word, [(adapter.file, adapter.file.header.tensors[key]) for key in keys])
    return [tensor for tensors in words.values() for tensor in tensors]


def bundled_specs(session: Session, output: AdapterOutput) -> list[TensorSpec]:
    """The same as shapes, for the size of a file."""
    return [TensorSpec(info.name, info.dtype, info.shape) for _, info in bundled_words(session, output)]
