"""An adapter in another dialect: the same change under other names, nothing decomposed, nothing rounded.

Factors keep their numbers. Rows that one dialect has apart and another in one layer are cut or put side by
side. Where a dialect has no alpha, alpha / rank goes into a factor; where it has no core, the core goes into
`down`: in the file's own dtype where that holds the product, else in the smallest that does, at most F64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from loralathe.adapters.adapter import Adapter
from loralathe.adapters.dialects import Dialect, Words
from loralathe.adapters.inherited import inherited
from loralathe.adapters.kinds import kinds_named, label_of_kind
from loralathe.adapters.module import AdapterModule
from loralathe.adapters.notes import TAG
from loralathe.adapters.write import NamedTensor
from loralathe.errors import InputError, counted, few, option
from loralathe.families import BIAS, LayerAddress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PLAIN = ("lora", "locon")
"""Kinds whose factors every dialect has words for."""
VECTOR = "lora_magnitude_vector"
MAGNITUDES = ("dora_scale", VECTOR)


@dataclass(frozen=True)
class Unsaid:
    """A module that a dialect cannot say; why: in words for people."""

    module: AdapterModule
    why: str


@dataclass(frozen=True)
class Rewriting:
    """What becomes of an adapter in a dialect.

    names:      canonical name → (raw name, which rows) in that dialect
    unsaid:     modules that it cannot say
    left_out:   embeddings that its readers would stumble over
    """

    adapter: Adapter
    dialect: Dialect
    names: Mapping[str, tuple[tuple[str, LayerAddress], ...]] = field(hash=False)
    unsaid: tuple[Unsaid, ...]
    left_out: tuple[str, ...]

    def tensors(self, dtype: str | None = None) -> Iterator[NamedTensor]:
        """Every tensor of the new file, module by module; `dtype` rounds factors to F16, BF16 or F32."""
        for name, places in self.names.items():
            module = self.adapter.modules[name]
            if name.endswith(BIAS):
                yield from _bias_tensors(self, module, places, dtype)
            elif _is_plain(module):
                yield from _lora_tensors(self, module, places, dtype)
            else:
                yield from _kept_tensors(self.adapter, module, places[0][0])
        for key in () if self.left_out else sum(self.adapter.embeddings.values(), ()):
            tensor = self.adapter.file.header.tensors[key]
            yield NamedTensor(key, tensor.dtype, self.adapter.file.read(key))

    def metadata(self) -> dict[str, str]:
        """The trainer's, without what is no longer true: notes of PEFT, a record of ours, hashes."""
        return {key: text for key, text in inherited(self.adapter.metadata).items() if key != TAG}


def rewriting(adapter: Adapter, dialect: Dialect) -> Rewriting:
    """What a dialect calls every module of an adapter, from headers alone."""
    names: dict[str, tuple[tuple[str, LayerAddress], ...]] = {}
    unsaid: list[Unsaid] = []
    for name, module in adapter.modules.items():
        if module.optional:
            continue  # its tensor is that of the weight
        component_id, _, path = name.removesuffix(BIAS).partition(".")
        places = dialect.names(adapter.family.component(component_id), path)
        why = "without a name there" if not places else _why_not(adapter, dialect, module, places)
        if why:
            unsaid.append(Unsaid(module, why))
        else:
            names[name] = places
    left_out = () if dialect.every_kind else tuple(adapter.embeddings)
    return Rewriting(adapter, dialect, names, tuple(unsaid), left_out)


def require_said(found: Rewriting) -> None:
    """Raises InputError for modules that the dialect cannot say."""
    if not found.unsaid:
        return
    counts = Counter(one.why for one in found.unsaid)
    listing = ", ".join(f"{count} {why}" for why, count in counts.items())
    raise InputError(
        f"{counted(len(found.unsaid), 'module')} cannot be written for {found.dialect.id}: {listing}",
        where=f"{found.adapter.file.path}: {few([one.module.raw_name for one in found.unsaid])}",
        fix=f"{option('bake', 'BASE')} makes a plain LoRA from it, and says what that loses; "
        f"{option('to', 'kohya')} and {option('to', 'comfyui')} can say every kind",
    )


def _why_not(
    adapter: Adapter, dialect: Dialect, module: AdapterModule, places: Sequence[tuple[str, LayerAddress]]
) -> str | None:
    """Why a dialect cannot say a module, in words of its kind."""
    label = label_of_kind(module.kind)
    cut = len(places) > 1 or bool(module.pieces)
    swapped = module.swapped != places[0][1].swapped
    if any(piece.settings for piece in _pieces(module)):
        return label  # without PEFT's config beside it, it means nothing
    if module.name.endswith(BIAS):
        weight = adapter.modules.get(module.name.removesuffix(BIAS))
        beside = weight is not None and _is_plain(weight)
        return None if dialect.every_kind or beside else "differences of biases alone"
    if not _is_plain(module):
        apart = f"{label} of rows that are apart there" if cut or swapped else None
        return apart if dialect.every_kind else label
    if not module.needs_weight:
        return None
    if dialect.words.magnitude is None:
        return label
    if all(map(_by_outputs, _pieces(module))):
        return None
    return f"{label} by inputs" if cut or swapped or not dialect.every_kind else None


def _by_outputs(module: AdapterModule) -> bool:
    """Whether the magnitudes of DoRA are of rows, which can be cut."""
    part, info = next((part, module.tensors[part]) for part in MAGNITUDES if part in module.tensors)
    flat = part == VECTOR and info.numel == module.shape[0]
    return flat or (*info.shape, 1)[:2] == (module.shape[0], 1)


def _pieces(module: AdapterModule) -> list[AdapterModule]:
    return [piece for _, piece in module.pieces] or [module]


def _is_plain(module: AdapterModule) -> bool:
    own = [kinds_named(piece.kind)[0] for piece in _pieces(module)]
    return all(kind is not None and kind.id in PLAIN for kind in own)


def _kept_tensors(adapter: Adapter, module: AdapterModule, raw_name: str) -> Iterator[NamedTensor]:
    """Tensors of LyCORIS' kinds: as they are, under another name."""
    for info in module.tensors.values():
        part = info.name[len(module.raw_name) + 1 :]
        yield NamedTensor(f"{raw_name}.{part}", info.dtype, adapter.file.read(info.name))


@dataclass(frozen=True)
class _Lora:
    """Factors as a file has them, of some rows of a layer.

    alpha, divisor: their quotient is the scale; magnitude: of DoRA, (out, 1, …), or by inputs as it is
    """

    up: Tensor
    down: Tensor
    mid: Tensor | None
    alpha: float
    divisor: int
    magnitude: Tensor | None

    @property
    def scale(self) -> float:
        return self.alpha / self.divisor

    @property
    def written_alpha(self) -> float:
        """The alpha that gives the scale at the present rank."""
        rank = self.down.shape[0]
        return self.alpha if rank == self.divisor else self.alpha * rank / self.divisor


def _lora_tensors(
    found: Rewriting, module: AdapterModule, places: Sequence[tuple[str, LayerAddress]], dtype: str | None
) -> Iterator[NamedTensor]:
    height, words = module.shape[0], _words(found, module)
    sources = [
        (row, row + piece.shape[0], _read(found.adapter, piece))
        for row, piece in (module.pieces or ((0, module),))
    ]
    made: list[tuple[str, _Lora]] = []
    for raw_name, place in places:
        first, last = _rows(place, height)
        parts = [
            (max(start, first) - first, _cut(lora, max(start, first) - start, min(stop, last) - start))
            for start, stop, lora in sources
            if start < last and first < stop
        ]
        if not parts:
            continue
        lora = _side_by_side(parts, last - first)
        if place.swapped != module.swapped:
            lora = _halves_swapped(lora)
        made.append((raw_name, lora))
    changing = [one for one in made if bool(one[1].up.any()) or one[1].magnitude is not None]
    for raw_name, lora in changing or made[:1]:  # slices that nothing changes need no factors
        yield from _spelled(words, raw_name, lora, dtype)


def _rows(place: LayerAddress, height: int) -> tuple[int, int]:
    if place.slot is None:
        return 0, height
    unit = height // sum(place.ratios)
    first = sum(place.ratios[: place.slot]) * unit
    return first, first + place.ratios[place.slot] * unit


def _read(adapter: Adapter, module: AdapterModule) -> _Lora:
    tensors = {part: adapter.file.read(info.name) for part, info in module.tensors.items() if part != "alpha"}
    down = tensors["down"]
    magnitude = next((tensors[part] for part in MAGNITUDES if part in tensors), None)
    if magnitude is not None and _by_outputs(module):
        magnitude = magnitude.reshape(-1, *[1] * (down.dim() - 1))
    rank = down.shape[0]
    alpha = float(rank) if module.alpha is None else module.alpha
    return _Lora(tensors["up"], down, tensors.get("mid"), alpha, rank, magnitude)


def _cut(lora: _Lora, start: int, stop: int) -> _Lora:
    """Rows of it; ranks that do not reach them are left out."""
    if (start, stop) == (0, lora.up.shape[0]):
        return lora
    up = lora.up[start:stop]
    magnitude = None if lora.magnitude is None else lora.magnitude[start:stop]
    if lora.mid is not None:
        return replace(lora, up=up, magnitude=magnitude)
    used = up.flatten(1).ne(0).any(0)
    used[0] |= not bool(used.any())
    return replace(lora, up=up[:, used], down=lora.down[used], magnitude=magnitude)


def _side_by_side(parts: Sequence[tuple[int, _Lora]], height: int) -> _Lora:
    """One LoRA of several, each over its own rows: see `module.py`."""
    import torch

    first = parts[0][1]
    if len(parts) == 1 and first.up.shape[0] == height:
        return first
    loras = [lora for _, lora in parts]
    if len({lora.scale for lora in loras}) > 1:
        loras = [replace(lora, up=_scaled(lora.up, lora.scale), alpha=1.0, divisor=1) for lora in loras]
    widest = torch.promote_types
    kind, down_kind = loras[0].up.dtype, loras[0].down.dtype
    for lora in loras[1:]:
        kind, down_kind = widest(kind, lora.up.dtype), widest(down_kind, lora.down.dtype)
    down = torch.cat([lora.down.to(down_kind) for lora in loras])
    up = torch.zeros(height, down.shape[0], *first.up.shape[2:], dtype=kind)
    column = 0
    for (row, _), lora in zip(parts, loras, strict=True):
        rows, rank = lora.up.shape[:2]
        up[row : row + rows, column : column + rank] = lora.up.to(kind)
        column += rank
    magnitudes = [lora.magnitude for lora in loras if lora.magnitude is not None]
    magnitude = torch.cat(magnitudes) if magnitudes else None
    return replace(loras[0], up=up, down=down, magnitude=magnitude)


def _halves_swapped(lora: _Lora) -> _Lora:
    half = lora.up.shape[0] // 2
    magnitude = None if lora.magnitude is None else lora.magnitude.roll(half, 0)
    return replace(lora, up=lora.up.roll(half, 0), magnitude=magnitude)


def _words(found: Rewriting, module: AdapterModule) -> Words:
    component = module.name.partition(".")[0]
    return found.dialect.words_of(found.adapter.family.component(component))


def _spelled(words: Words, raw_name: str, lora: _Lora, dtype: str | None) -> Iterator[NamedTensor]:
    up, down, mid = lora.up, lora.down, lora.mid
    if mid is not None and words.mid is None:
        down, mid = _folded(mid, down), None
    if words.alpha is None:
        up, down = _with_scale(up, down, lora.scale)
    for part, tensor in ((words.up, up), (words.down, down), (words.mid, mid)):
        if tensor is not None and part is not None:
            yield _named(f"{raw_name}.{part}", tensor, dtype)
    if words.alpha is not None:
        yield _exact_scalar(f"{raw_name}.{words.alpha}", lora.written_alpha, up)
    if lora.magnitude is not None and words.magnitude is not None:
        magnitude = lora.magnitude
        if words.magnitude == VECTOR:
            kernel = lora.down.dim() - 2
            magnitude = magnitude.reshape(1, -1, *[1] * kernel) if kernel else magnitude.flatten()
        yield _named(f"{raw_name}.{words.magnitude}", magnitude, dtype)


def _bias_tensors(
    found: Rewriting, module: AdapterModule, places: Sequence[tuple[str, LayerAddress]], dtype: str | None
) -> Iterator[NamedTensor]:
    """Differences of biases, alpha / rank inside where the dialect has no scale for them."""
    (info,) = (info for part, info in module.tensors.items() if part != "alpha")
    bias = _scaled(found.adapter.file.read(info.name), module.scale)
    if module.swapped != places[0][1].swapped:
        bias = bias.roll(len(bias) // 2, 0)
    part = info.name.rpartition(".")[2]
    word = part if part == "b_norm" else _words(found, module).bias
    for raw_name, place in places:
        first, last = _rows(place, len(bias))
        yield _named(f"{raw_name}.{word}", bias[first:last], dtype)


def _with_scale(up: Tensor, down: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The scale in one of the factors: in the one that keeps its dtype (fp16 loses bits of tiny numbers)."""
    scaled = _scaled(up, scale)
    if scaled.dtype == up.dtype:
        return scaled, down
    other = _scaled(down, scale)
    return (up, other) if other.dtype == down.dtype else (scaled, down)


def _scaled(tensor: Tensor, scale: float) -> Tensor:
    return tensor if scale == 1 else _smallest(tensor.double() * scale, tensor.dtype)


def _folded(mid: Tensor, down: Tensor) -> Tensor:
    """The core and `down` in one: (rank, in, k, k)."""
    import torch

    product = torch.einsum("ijkl,jc->ickl", mid.double(), down.flatten(1).double())
    return _smallest(product, torch.promote_types(mid.dtype, down.dtype))


def _smallest(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """In the smallest dtype, from `dtype` on, that holds every number as it is in float64."""
    import torch

    for candidate in (dtype, torch.float32):
        rounded = exact.to(candidate)
        if torch.equal(rounded.double(), exact):
            return rounded
    return exact


def _named(name: str, tensor: Tensor, dtype: str | None) -> NamedTensor:
    from loralathe.tensorfiles import from_torch_dtype, to_torch_dtype

    if dtype is not None:
        rounded = tensor.to(to_torch_dtype(dtype))
        if not bool(rounded.isfinite().all()):
            raise InputError(
                f"a value of {float(tensor.abs().max()):.3g} overflows {dtype}",
                where=f"tensor '{name}'",
                fix=f"save with {option('dtype', 'bf16')} or {option('dtype', 'fp32')}",
            )
        tensor = rounded
    return NamedTensor(name, from_torch_dtype(tensor.dtype), tensor.contiguous())


def _exact_scalar(name: str, value: float, like: Tensor) -> NamedTensor:
    import torch

    return _named(name, _smallest(torch.tensor(value, dtype=torch.float64), like.dtype), None)
