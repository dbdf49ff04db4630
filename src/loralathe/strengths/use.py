"""One adapter in use, and its spellings: command-line argument, prompt tag, term of a formula.

    hina.safetensors:0.7:te=0.5:lbw=HinaBlock:lbwe=IN05-OUT05:attn:0     argument   (SEMANTICS §1)
    <lora:hina:0.5:0.7:lbw=HinaBlock:start=3:stop=9:x=0.5>               tag
    0.7*hina(te=0.5, elements='IN05-OUT05:attn:0')@HinaBlock             term; the language reads it

Items after the name come in any order. Blocks and element rules stay text here: what they mean depends on the
model, which is not known yet.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from keyword import iskeyword
from pathlib import Path

from loralathe.errors import InputError, did_you_mean, spelling_hint, visible
from loralathe.families import is_block_word
from loralathe.strengths.text import looks_like_number, number_text, parse_number, parse_whole
from loralathe.tensorfiles import MODEL_SUFFIXES, stored_path

GRAMMAR = "PATH[:STRENGTH][:BLOCKS][:te=X][:unet=Y][:lbw=B][:lbwe=E]"
ARGUMENT_ITEMS = ("te", "unet", "lbw", "lbwe")
TAG_ITEMS = ("te", "unet", "lbw", "w", "lbwe", "x", "start", "stop", "step", "dyn")

_TAG = re.compile(r"<(?:lora|lyco):([^<>]+)>", re.IGNORECASE)
_STRENGTH = re.compile(r"[+-]?(\d?[.,]\d+|[01])", re.ASCII)
_DRIVE = re.compile(r"[A-Za-z]")
_JOINTS = re.compile(r"\s*[,，、]\s*")
_RULE_ENDS = re.compile(r"[,\n]")


@dataclass(frozen=True, slots=True)
class AdapterUse:
    """One adapter, and how strongly it is used: linear, sign kept (see `strength`).

    file:     a path, or a name that is looked up in the person's folders.
    te, unet: strength of the text-encoder modules and of the rest.
    blocks:   block weights: a list, a preset's name or `IN04=0.3`; None is 1 everywhere.
    elements: element rules or the name of a set of them.
    start, stop: pictures only: the U-Net part acts in sampler steps start ≤ i < stop, counted from 0; the
              text is encoded once, before the first step, so the text-encoder part is not scheduled.
    x:        pictures only: what an `X` in a block list stands for.
    """

    file: str
    te: float = 1.0
    unet: float = 1.0
    blocks: str | None = None
    elements: str | None = None
    start: int | None = None
    stop: int | None = None
    x: float | None = None

    def __post_init__(self) -> None:
        # Equal uses shall have one name: 1 and 1.0 are two in JSON, a path and its text as well.
        object.__setattr__(self, "file", os.fspath(self.file))
        object.__setattr__(self, "te", float(self.te))
        object.__setattr__(self, "unet", float(self.unet))

    @property
    def path(self) -> Path:
        return Path(self.file)

    def active_at(self, step: int) -> bool:
        """Whether the U-Net part acts in sampler step `step` (0-based)."""
        return (self.start is None or step >= self.start) and (self.stop is None or step < self.stop)


def _is_file(path: Path) -> bool:
    return os.path.isfile(stored_path(path))


def read_argument(text: str, exists: Callable[[Path], bool] = _is_file) -> AdapterUse:
    """Reads one adapter argument; raises InputError for duplicate, unknown, empty or unusable items.

    The longest beginning of `text` that is an existing file is the path, so colons in folder names and
    `C:\\…` work. Without an existing file it is the longest beginning with a model suffix, else all
    before the first item.
    """
    parts = text.split(":")
    n = _parts_of_path(parts, exists)
    if not exists(Path(":".join(parts[:n]))) or len(_apart(text)) > 1:
        _refuse_what_is_no_path(text, exists)
    if not ":".join(parts[:n]).strip():
        raise InputError("an adapter without a path", where=f"'{text}'", fix=f"write {GRAMMAR}")
    items = _Items(ARGUMENT_ITEMS, f"'{text}'", f"write {GRAMMAR}")
    for item in _joined_rules(parts[n:]):
        items.add(item)
    return items.use(str(stored_path(Path(":".join(parts[:n])))))


def argument_text(use: AdapterUse) -> str:
    """`PATH:STRENGTH` or `PATH:te=X:unet=Y`, then `[:lbw=B][:lbwe=E]`; steps and x have no place in it."""
    if use.te == use.unet:
        items = [use.file, number_text(use.te)]
    else:
        items = [use.file, f"te={number_text(use.te)}", f"unet={number_text(use.unet)}"]
    return ":".join(items + _named_texts({"lbw": use.blocks, "lbwe": use.elements}))


def given_uses(given: Iterable[str | os.PathLike[str] | AdapterUse]) -> list[AdapterUse]:
    """Adapters for weights, as arguments or uses. Raises InputError for steps: weights have none."""
    uses = [one if isinstance(one, AdapterUse) else read_argument(os.fspath(one)) for one in given]
    for use in uses:
        if use.start is not None or use.stop is not None:
            raise InputError(
                "start and stop are for pictures; weights hold at every step",
                where=use.file,
                fix="leave them out",
            )
    return uses


class TagError(InputError):
    """A tag that cannot be read; `offset` is where in its arguments, in characters."""

    def __init__(self, offset: int, what: str, fix: str | None = None) -> None:
        super().__init__(what, fix=fix)
        self.offset = offset


def read_tag(arguments: str) -> AdapterUse:
    """The use that `<lora:ARGUMENTS>` means; raises TagError.

    Numbers in turn are the strength (both parts) and the U-Net's; a further one, or the second when `lbw=`
    stands before it, is `x`. Words and lists in turn are block weights and element rules. `te=0` zeroes the
    text encoders and nothing else, and `stop=1` gives one step.
    """
    name, *parts = arguments.split(":")
    if not name.strip():
        raise TagError(0, "it names no adapter")
    items = _Items(TAG_ITEMS, "", None)
    offset = len(name) + 1
    for item in _joined_rules(parts):
        try:
            items.add(item)
        except InputError as error:
            raise TagError(offset, error.what, error.fix) from None
        offset += len(item) + 1
    return items.use(name.strip())


def tag_text(use: AdapterUse) -> str:
    """The tag that is read back as `use` (named by file stem by the caller when it is a path)."""
    items = [use.file, number_text(use.te)]
    if use.unet != use.te:
        items.append(number_text(use.unet))
    named = {"lbw": use.blocks, "lbwe": use.elements, "x": use.x, "start": use.start, "stop": use.stop}
    return f"<lora:{':'.join(items + _named_texts(named))}>"


def _named_texts(named: dict[str, str | float | None]) -> list[str]:
    texts = {key: number_text(v) if isinstance(v, float) else v for key, v in named.items()}
    return [f"{key}={text}" for key, text in texts.items() if text is not None]


def term_text(name: str, use: AdapterUse) -> str:
    """` + 0.7*hina@Face`, ` - hina`, ` + hina(te=0.0, unet=0.7)@'1,0,…'`: to be added to a formula."""
    arguments = []
    sign, strength = "+", ""
    if use.te == use.unet:
        sign = "-" if use.unet < 0 else "+"
        strength = "" if abs(use.unet) == 1 else f"{abs(use.unet)!r}*"
    else:
        arguments = [f"te={use.te!r}", f"unet={use.unet!r}"]
    if use.elements:
        arguments.append(f"elements={use.elements!r}")
    call = f"({', '.join(arguments)})" if arguments else ""
    at = ""
    if use.blocks:  # a list goes by its name where formulas can say it; anything else is quoted
        is_name = use.blocks.isidentifier() and not iskeyword(use.blocks)
        at = f"@{use.blocks}" if is_name else f"@{use.blocks!r}"
    return f" {sign} {strength}{name}{call}{at}"


def require_counted_once(given: Iterable[AdapterUse], tagged: Iterable[AdapterUse]) -> None:
    """InputError for a file that is given and named by a tag as well; all files are paths that were found."""
    known = list(given)
    for use in tagged:
        for twice in known:
            if same_adapter(use.file, twice.file):
                raise InputError(
                    "an adapter is used twice, once by the prompt's tag and once beside the prompt",
                    where=" and ".join(dict.fromkeys((twice.file, use.file))),
                    fix=f"drop one of them: {tag_text(use)} in the prompt, or {argument_text(twice)}",
                )


def same_adapter(one: str, other: str) -> bool:
    """Whether two paths are one file, or two with the same content; a name that is no file is only itself."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    # Files of other sizes are not read, others to the first difference; what was found is remembered.
    return os.path.isfile(one) and os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)


def _refuse_what_is_no_path(text: str, exists: Callable[[Path], bool]) -> None:
    """InputError for a tag, several adapters, a strength, and full-width colons: no file has such a name."""
    if tag := _TAG.search(text):
        raise InputError(
            "a tag belongs in a prompt",
            where=f"'{text}'",
            fix=f"here it is written {_argument_of_tag(tag[1])}",
        )
    if len(apart := _apart(text)) > 1:
        raise InputError(
            "several adapters are joined by a comma; each is a word of its own",
            where=f"'{text}'",
            fix=f"write them apart: {' '.join(apart)}",
            instead={text: apart},
        )
    if _STRENGTH.fullmatch(visible(text)):
        raise InputError(
            f"'{text}' is a strength, not a file",
            where="among the adapters",
            fix=f"it belongs to its adapter: hina.safetensors:{visible(text).replace(',', '.')}",
        )
    parts = text.replace("：", ":").split(":")
    if "：" in text and exists(Path(":".join(parts[: _parts_of_path(parts, exists)]))):
        raise InputError("no such file", where=text, fix=spelling_hint(text))


def _apart(text: str) -> list[str]:
    """`a:0.7,b:0.4` as two adapters; weights of a list and rules of elements stay with their adapter."""
    found: list[str] = []
    for piece in _JOINTS.split(text):
        if found and not _begins_adapter(piece):
            found[-1] += f",{piece}"
        else:
            found.append(piece)
    return found


def _begins_adapter(piece: str) -> bool:
    """`b:0.4`, `b.safetensors`; not `0.3`, `IN04=0.3:te=0`, `OUT03:attn2:0.5`."""
    head, _, rest = piece.partition(":")
    if head.lower().endswith(MODEL_SUFFIXES):
        return True
    is_item = looks_like_number(head) or "=" in head or _is_block_field(head)
    return not is_item and looks_like_number(rest.partition(":")[0])


def _argument_of_tag(inside: str) -> str:
    """`hina:1:0.5:lbw=OUTALL` as an argument: the second of two numbers is the U-Net's."""
    name, *items = inside.split(":")
    if len(items) > 1 and looks_like_number(items[0]) and looks_like_number(items[1]):
        items[:2] = items[:1] if items[0] == items[1] else [f"te={items[0]}", f"unet={items[1]}"]
    return ":".join([f"{name}.safetensors", *items])


def _parts_of_path(parts: Sequence[str], exists: Callable[[Path], bool]) -> int:
    """How many `:`-separated parts the path takes."""
    counts = range(len(parts), 0, -1)
    for n in counts:
        if parts[n - 1] and exists(Path(":".join(parts[:n]))):
            return n
    for n in counts:
        if parts[n - 1].lower().endswith(MODEL_SUFFIXES):
            return n
    has_drive = len(parts) > 1 and _DRIVE.fullmatch(parts[0]) and parts[1][:1] in ("\\", "/")
    return 2 if has_drive else 1


def _joined_rules(items: Sequence[str]) -> list[str]:
    """Puts element rules together again: the `:` inside `lbwe=IN05-OUT05:attn:0` separates no items.

    `lbwe=` followed by block names (or by nothing) begins a rule of three fields; by another word, a preset.
    """
    joined: list[str] = []
    rest = list(items)
    while rest:
        item = rest.pop(0)
        key, _, value = item.partition("=")
        if key.strip().lower() == "lbwe" and _is_block_field(value.strip()):
            fields = [item]
            more = True
            while more and rest:
                fields += rest[:2]
                del rest[:2]
                more = bool(_RULE_ENDS.search(fields[-1]))
            item = ":".join(fields)
        joined.append(item)
    return joined


def _is_block_field(text: str) -> bool:
    """`IN05-OUT05 MID`, `NOT BASE`, nothing at all."""
    words = re.split(r"[\s-]+", text) if text else []
    return all(map(is_block_word, words[1:] if words and words[0].upper() == "NOT" else words))


@dataclass(slots=True)
class _Items:
    """What the items of one adapter have said so far, by name; refuses what was said before."""

    names: tuple[str, ...]
    where: str
    grammar: str | None
    _numbers: dict[str, float] = field(default_factory=dict)
    _steps: dict[str, int] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)

    @property
    def _in_tag(self) -> bool:
        return self.names is TAG_ITEMS

    def add(self, item: str) -> None:
        text = visible(item).strip()
        key, equals, value = (part.strip() for part in text.partition("="))
        if not text:
            raise self._error("an item between two ':' is empty", self.grammar)
        if looks_like_number(text):
            self._put_number(self._name_of_number(text), text)
        elif equals and key.lower() in self.names:
            self._add_named(key.lower(), value)
        elif equals and "," not in value and not (key == "*" or is_block_word(key)):
            known = ", ".join(f"{name}=" for name in self.names)
            fix = did_you_mean(key, self.names) or f"items are {known}, a strength, and block weights"
            raise self._error(f"the item '{key}=' is not known", fix)
        elif self._in_tag and "@" in text:
            raise self._error(f"'{text}' changes with the step", "write the steps as start= and stop=")
        else:
            self._put_text(self._name_of_text(text), text)

    def _name_of_number(self, text: str) -> str:
        """A second number in a tag is the U-Net's strength, and x where block weights stand before it."""
        if "strength" not in self._numbers or not self._in_tag:
            return "strength"
        if "unet" not in self._numbers and "lbw" not in self._texts:
            return "unet"
        if "x" in self._numbers:
            raise self._error(f"'{text}' is one number too many")
        return "x"

    def _name_of_text(self, text: str) -> str:
        if "lbw" not in self._texts or not self._in_tag:
            return "lbw"
        if "lbwe" in self._texts:
            raise self._error(f"'{text}' is one item too many")
        return "lbwe"

    def _add_named(self, key: str, value: str) -> None:
        if not value:
            raise self._error(f"{key}= has no value", self.grammar)
        if key in ("te", "unet", "x"):
            self._put_number(key, value)
        elif key in ("lbw", "w", "lbwe"):
            self._put_text("lbwe" if key == "lbwe" else "lbw", value)
        elif key in ("start", "stop"):
            self._put_step(key, value)
        elif key == "step":
            begin, dash, end = value.partition("-")
            if not dash:
                raise self._error(f"'step={value}' is not a range", "write step=A-B")
            for name, step in (("start", begin), ("stop", end)):
                if step.strip():
                    self._put_step(name, step)
        else:
            raise self._error(f"'{key}=' (a lower rank while rendering) is not supported", "resize the file")

    def _put_number(self, name: str, value: str) -> None:
        if name in self._numbers:
            fix = "one strength for all of it, te= and unet= for its two parts" if name != "x" else None
            raise self._error(f"{name} is given twice", fix)
        meaning = "strength" if name == "strength" else f"{name}="
        self._numbers[name] = parse_number(value, meaning, where=self.where or None)

    def _put_step(self, name: str, value: str) -> None:
        step = parse_whole(value, f"{name}=", where=self.where or None)
        if step < 0 or name in self._steps:
            raise self._error(f"{name}={value} is not a step" if step < 0 else f"{name} is given twice")
        self._steps[name] = step

    def _put_text(self, name: str, value: str) -> None:
        if name in self._texts:
            what = "block weights" if name == "lbw" else "element rules"
            raise self._error(
                f"{what} are given twice: '{self._texts[name]}' and '{value}'", "keep one of them"
            )
        self._texts[name] = value

    def _error(self, what: str, fix: str | None = None) -> InputError:
        return InputError(what, where=self.where or None, fix=fix)

    def use(self, file: str) -> AdapterUse:
        both = self._numbers.get("strength", 1.0)
        return AdapterUse(
            file,
            te=self._numbers.get("te", both),
            unet=self._numbers.get("unet", both),
            blocks=self._texts.get("lbw"),
            elements=self._texts.get("lbwe"),
            start=self._steps.get("start"),
            stop=self._steps.get("stop"),
            x=self._numbers.get("x"),
        )
