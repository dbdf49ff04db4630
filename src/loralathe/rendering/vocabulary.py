"""The words that a model was taught, where its table of tokens tells them.

A small model is trained on few words, and every other token gets one and the same row of the table: a word of
such tokens says nothing. Large models have a row for each token, and know every word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from loralathe.errors import few
from loralathe.rendering.clip_tokens import encode_text, text_of_token
from loralathe.rendering.prepare import Prepared
from loralathe.rendering.prompts import parse_emphasis, told
from loralathe.tensorfiles import TensorFile, TensorInfo, in_memory, open_tensorfile

TABLE = "token_embedding.weight"
TOKENS = 49_408
"""Rows of CLIP's table."""
SAMPLES = 16
"""Rows that are looked at first: in a table that tells nothing, no two of them are equal."""
LISTED = 200
_WORD = re.compile(r"[^\W\d_]+")
_WORDS = re.compile(r"['’][^\W\d_]+|([^\W\d_]+)")
"""Words, without the `s` of `girl's`."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a model knows, and the words among them, in order of the alphabet."""

    tokens: frozenset[int]
    words: tuple[str, ...]

    def lacks(self, text: str) -> list[str]:
        """Words of a prompt's text with a token that the model never learned."""
        plain = " ".join(part.text or "" for part in parse_emphasis(text)[0])
        words = (found for found in _WORDS.findall(plain) if found)
        return [word for word in words if not self.tokens.issuperset(encode_text(word))]

    def remark(self, texts: Iterable[str]) -> str | None:
        """What to tell about words that say nothing; None where the model knows all of them."""
        lacking = {word.casefold(): word for text in texts for word in self.lacks(text)}
        if not lacking:
            return None
        named = few([f"'{word}'" for word in lacking.values()], 10)
        known = few(self.words, LISTED)
        return (
            f"these words say nothing to this model: {named}\nit knows these, one by one or together: {known}"
        )


def vocabulary_in(checkpoint: str, held: Mapping[str, Mapping[str, Tensor]]) -> Vocabulary | None:
    """That of a file, or of weights held in memory under that name; what is not there yet tells nothing."""
    if checkpoint in held:
        tensors = held[checkpoint]
        return vocabulary_of(in_memory({name: tensors[name] for name in tensors if name.endswith(TABLE)}))
    return vocabulary_of(Path(checkpoint)) if Path(checkpoint).is_file() else None


def remarks_on(prepared: Sequence[Prepared], held: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """What to tell of requests before a model is loaded: what is odd in prompts, words that say nothing."""
    words = []
    for checkpoint in dict.fromkeys(one.request.checkpoint for one in prepared):
        if (vocabulary := vocabulary_in(checkpoint, held)) is not None:
            same = (one for one in prepared if one.request.checkpoint == checkpoint)
            words.append(vocabulary.remark(text for one in same for text in one.texts()))
    return told(issue for one in prepared for issue in one.issues) + [text for text in words if text]


def vocabulary_of(path: Path) -> Vocabulary | None:
    """The vocabulary of a checkpoint; None for one without a table that tells."""
    with open_tensorfile(path) as file:
        name = next((name for name in file.header.tensors if name.endswith(TABLE)), None)
        if name is None or file.info(name).shape[:1] != (TOKENS,):
            return None
        shared = _shared_row(file, file.info(name))
        if shared is None:
            return None
        table, size = bytes(file.read_bytes(name)), len(shared)
    own = [token for token in range(TOKENS) if table[token * size : (token + 1) * size] != shared]
    texts = [text_of_token(token) for token in own]
    words = {text.strip() for text in texts if text.endswith(" ") and _WORD.fullmatch(text.strip())}
    return Vocabulary(frozenset(own), tuple(sorted(words)))


def _shared_row(file: TensorFile, table: TensorInfo) -> bytes | None:
    """The bytes of the row that most tokens have; None where no row is shared."""
    size = table.nbytes // TOKENS
    rows = []
    for sample in range(SAMPLES):
        row = bytearray(size)
        file.readinto(table, memoryview(row), (2 * sample + 1) * TOKENS // (2 * SAMPLES) * size)
        rows.append(bytes(row))
    shared, count = Counter(rows).most_common(1)[0]
    return shared if 2 * count > SAMPLES else None
