"""Block lists as text: names, selectors (`IN04-OUT00`, `NOT BASE`), and replacing some entries of a list.

Values stay text, so the tokens that only a renderer understands (R, U, X) pass through untouched.
What a weight does to a module is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loralathe.errors import InputError, did_you_mean, spelling_hint
from loralathe.families import block_lists
from loralathe.strengths import show_number
from loralathe.studies.presets import find_preset

BLOCK_LISTS: Mapping[int, tuple[str, ...]] = block_lists()
ENCODERS = ("TE1", "TE2")
REST = "*"


def canonical_block(name: str) -> str:
    """`m00`, `MID00` and `mid` are MID; names in any case."""
    upper = name.strip().upper()
    return "MID" if upper in ("M00", "MID00") else upper


def select_blocks(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Blocks that a selector names, in list order: ids and `A-B` ranges, blanks between, leading NOT inverts.

    Raises InputError for an id that is not in `names` (TE1 and TE2 are always known).
    """
    tokens = text.split()
    inverted = bool(tokens) and tokens[0].upper() == "NOT"
    chosen: set[str] = set()
    for token in tokens[1:] if inverted else tokens:
        chosen.update(_expand(token, names))
    if inverted:
        return tuple(name for name in names if name not in chosen)
    return tuple(name for name in (*names, *(e for e in ENCODERS if e not in names)) if name in chosen)


def _expand(token: str, names: Sequence[str]) -> Sequence[str]:
    first, dash, last = token.partition("-")
    if not dash:
        return [_known(token, names)]
    ends = sorted(names.index(_known(end, names, ranged=True)) for end in (first, last))
    return names[ends[0] : ends[1] + 1]


def _known(name: str, names: Sequence[str], *, ranged: bool = False) -> str:
    block = canonical_block(name)
    if block in names or (block in ENCODERS and not ranged):
        return block
    raise InputError(
        f"there is no block '{name}' here",
        where=f"the blocks are {' '.join(names)}",
        fix=spelling_hint(name) or did_you_mean(name, (*names, *ENCODERS)) or None,
    )


@dataclass(frozen=True, slots=True)
class BlockText:
    """Block weights: a whole list (`names` in list order) or by name with a value for the `rest`."""

    names: tuple[str, ...] | None
    values: tuple[tuple[str, str], ...]
    rest: str = "1"

    def replaced(self, blocks: Iterable[str], value: float) -> BlockText:
        """The same weights with `value` at `blocks`."""
        shown = show_number(value)
        new = dict(self.values)
        for block in blocks:
            if self.names is not None and block not in self.names:
                raise InputError(
                    f"block {block} is not in the list of {len(self.names)} that it should change",
                    where=" ".join(self.names),
                    fix=f"give a list that has {block}, or name the blocks: {block}={shown}",
                )
            new[block] = shown
        return replace(self, values=tuple(new.items()))

    def complement(self) -> BlockText:
        """1 − weight for every number; tokens stay (LoRA Block Weight's ZYX)."""
        values = tuple((name, _one_minus(value)) for name, value in self.values)
        return replace(self, values=values, rest=_one_minus(self.rest))

    def text(self) -> str | None:
        """As it is written in a tag; None when it changes nothing."""
        if self.names is not None:
            values = dict(self.values)
            return ",".join(values[name] for name in self.names)
        entries = [f"{name}={value}" for name, value in self.values if value != self.rest or name in ENCODERS]
        if self.rest != "1":
            entries.insert(0, f"{REST}={self.rest}")
        return ",".join(entries) or None


def _one_minus(value: str) -> str:
    try:
        return show_number(1 - float(value))
    except ValueError:
        return value


def read_block_text(text: str | None, presets: Mapping[str, str]) -> BlockText:
    """A preset name, a list of a known length, or `IN04=0.3,*=0`; None and "" weigh every block 1."""
    if not text:
        return BlockText(None, ())
    name = find_preset(text, presets)
    text = text if name is None else presets[name]
    entries = [entry.strip() for entry in text.split(",")]
    if all("=" in entry for entry in entries):
        pairs = [
            (canonical_block(name), value.strip()) for name, _, value in (e.partition("=") for e in entries)
        ]
        values = {name: value for name, value in pairs if name != REST}
        return BlockText(None, tuple(values.items()), dict(pairs).get(REST, "1"))
    if len(entries) == 1:
        raise InputError(f"there is no block preset '{text}'", fix=did_you_mean(text, presets) or None)
    if len(entries) not in BLOCK_LISTS:
        *known, last = map(str, sorted(BLOCK_LISTS))
        counts = f"{', '.join(known)} or {last}"
        raise InputError(f"a block list has {counts} entries; this one has {len(entries)}", where=text)
    names = BLOCK_LISTS[len(entries)]
    return BlockText(names, tuple(zip(names, (_shown(entry) for entry in entries), strict=True)))


def _shown(entry: str) -> str:
    try:
        return show_number(float(entry))
    except ValueError:
        return entry
