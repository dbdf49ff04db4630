"""Damped copies of a LoRA, from what its layers read with and without the trigger word.

Pictures with the word are sampled with the LoRA, as it should stay; pictures without it by the base alone, as
they should become. Each layer's inputs give two second moments, and each level of damping a new `down`
(`lowrank.damping`). Moments are thrown away: they can take gigabytes. The copies, one for each level, stay in
the folder of the study, under a name that says what they were made from, so they are made once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loralathe.adapters import Adapter, AdapterModule, label_of_kind, load_factors
from loralathe.adapters.damped import down_keys, has_plain_factors, mapped_downs, write_replaced
from loralathe.errors import InputError, few, option
from loralathe.progress import Progress
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import is_text_encoder
from loralathe.studies.plan import Identify, request_key
from loralathe.studies.study_file import json_file
from loralathe.tensorfiles import open_tensorfile, read_text, write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from loralathe.lowrank.damping import Damping, Moment
    from loralathe.rendering.moments import Read
    from loralathe.rendering.sampling import OnStep

ROOM = 4 << 30
"""Bytes of moments at a time, half of them on the device; where they take more, the pictures are sampled
again for the next layers."""
MAKING = 1
"""Version of the way that copies are made; older ones are made anew."""


PARTS = ("text encoders", "layers that read the text", "other layers")
"""What levels are chosen for, each by itself: they differ in how well they tell the word."""


class Watcher(Protocol):
    """A renderer that lets one look into the layers of its model."""

    def input_moments(
        self, requests: Sequence[ImageRequest], names: Sequence[str], on_step: OnStep
    ) -> dict[str, Read]: ...


Point = tuple[int, int, int]
"""A candidate: the level of each part, from 1 on; 0 is no damping."""
AS_IS: Point = (0, 0, 0)


@dataclass(frozen=True)
class Layer:
    """What a module does, as mean squares of what it adds to its layer's output.

    part: place in `PARTS`.  keys: its tensors that copies have otherwise.
    with_word, without: as it is.  damped: (with the word, without it, how far the first is from what it was)
    at each level.
    """

    name: str
    block: str | None
    part: int
    keys: tuple[str, ...]
    with_word: float
    without: float
    damped: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Copies:
    """Damped copies of a LoRA. levels: their λ;  left: modules that no picture reached, and stay."""

    levels: tuple[float, ...]
    files: tuple[Path, ...]
    layers: tuple[Layer, ...]
    left: tuple[str, ...]

    @property
    def parts(self) -> tuple[int, ...]:
        """The parts that the LoRA has."""
        return tuple(sorted({layer.part for layer in self.layers}))

    def tensors(self, point: Point) -> dict[str, Tensor]:
        """The changed tensors of a candidate, by key."""
        found: dict[str, Tensor] = {}
        for at, file in enumerate(self.files, 1):
            keys = [key for layer in self.layers if point[layer.part] == at for key in layer.keys]
            if keys:
                with open_tensorfile(file) as opened:
                    found.update((key, opened.read(key)) for key in keys)
        return found


@dataclass(frozen=True)
class Watching:
    """What is sampled. with_word: with the LoRA and the trigger word;  without: the base without both."""

    lora: Path
    with_word: tuple[ImageRequest, ...]
    without: tuple[ImageRequest, ...]
    levels: tuple[float, ...]

    def name(self, identify: Identify) -> str:
        """12 hexadecimal digits that change with everything that copies are made from."""
        keys = [[request_key(one, identify) for one in some] for some in (self.with_word, self.without)]
        facts = json.dumps([MAKING, identify(str(self.lora)), keys, self.levels])
        return sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def require_factors(adapter: Adapter) -> list[AdapterModule]:
    """The modules that can be damped. InputError for a LoRA with others that act on a layer's inputs."""
    plain = [module for module in adapter.modules.values() if has_plain_factors(module)]
    other = [
        module
        for module in adapter.modules.values()
        if module not in plain and len(module.shape) > 1 and not module.optional
    ]
    if not other:
        return plain
    kinds = sorted({label_of_kind(module.kind) for module in other})
    fix = f"make a plain LoRA of it first: lathe resize with {option('rank', 32)}"
    if any(module.needs_weight for module in other):
        how = f"{option('to', 'kohya')} and {option('bake', 'BASE')}"
        fix = f"make a plain LoRA of it first: lathe convert with {how}"
    raise InputError(
        f"{few(kinds)} has no factor that sees the inputs of a layer",
        where=f"{adapter.file.path}: {few([module.raw_name for module in other])}",
        fix=fix,
    )


def make_copies(
    watching: Watching,
    adapter: Adapter,
    folder: Path,
    renderer: Watcher,
    progress: Progress,
    identify: Identify,
) -> Copies:
    """The copies, made or found in the folder. When it is cancelled, nothing of them is left."""
    name = watching.name(identify)
    facts = folder / f"damped-{name}.json"
    files = tuple(folder / f"damped-{name}-{at}.safetensors" for at in range(len(watching.levels)))
    found = _read_facts(facts, watching.levels, files)
    if found is not None:
        return found
    for old in folder.glob("damped-*"):
        old.unlink()
    found = _make(watching, adapter, files, renderer, progress)
    write_whole(facts, json_file(_facts(found)))
    return found


def _facts(copies: Copies) -> dict[str, object]:
    return {"layers": [asdict(layer) for layer in copies.layers], "left": copies.left}


def _read_facts(path: Path, levels: tuple[float, ...], files: tuple[Path, ...]) -> Copies | None:
    """None where copies are not all there; what is damaged is made again."""
    if not all(file.is_file() for file in (path, *files)):
        return None
    try:
        told = json.loads(read_text(path, "JSON file"))
        layers = tuple(
            Layer(
                str(one["name"]),
                None if one["block"] is None else str(one["block"]),
                int(one["part"]),
                tuple(map(str, one["keys"])),
                float(one["with_word"]),
                float(one["without"]),
                tuple((float(a), float(b), float(c)) for a, b, c in one["damped"]),
            )
            for one in told["layers"]
        )
        left = tuple(map(str, told["left"]))
    except (InputError, ValueError, KeyError, TypeError):
        return None
    return Copies(levels, files, layers, left)


def _make(
    watching: Watching, adapter: Adapter, files: Sequence[Path], renderer: Watcher, progress: Progress
) -> Copies:
    from loralathe.lowrank.damping import Damping

    parts = _parts(require_factors(adapter))
    steps = sum(one.all_steps for one in (*watching.with_word, *watching.without))
    changed: list[dict[str, Tensor]] = [{} for _ in watching.levels]
    layers: list[Layer] = []
    left: list[str] = []
    with progress.task("looking into the layers", total=steps * len(parts), unit="steps") as task:
        for some in parts:
            names = [module.name for module in some]
            kept = renderer.input_moments(watching.with_word, names, lambda: task.advance(1))
            unwanted = renderer.input_moments(watching.without, names, lambda: task.advance(1))
            dampings: dict[tuple[int, int], tuple[Damping, ...]] = {}
            for module in some:
                if module.name not in kept or module.name not in unwanted:
                    left.append(module.name)
                    continue
                pair = kept[module.name].moment, unwanted[module.name].moment
                # Modules that read one tensor share its moments.
                key = id(pair[0]), id(pair[1])
                if key not in dampings:
                    dampings[key] = tuple(Damping.of(*pair, level) for level in watching.levels)
                for damping, downs in zip(dampings[key], changed, strict=True):
                    downs.update(mapped_downs(adapter, module, damping))
                part = 0 if is_text_encoder(module.name) else 1 if kept[module.name].of_text else 2
                layers.append(_layer(adapter, module, pair, dampings[key], part))
    if not layers:
        raise InputError(
            "no picture reaches a layer of this LoRA", where=str(watching.lora), fix="give its own base"
        )
    for file, downs in zip(files, changed, strict=True):
        write_replaced(watching.lora, file, downs, {}, force=True)
    return Copies(watching.levels, tuple(files), tuple(layers), tuple(left))


def _layer(
    adapter: Adapter,
    module: AdapterModule,
    pair: tuple[Moment, Moment],
    dampings: Sequence[Damping],
    part: int,
) -> Layer:
    """pair: moments with the word and without it.

    Of a convolution, as if each place of its kernel saw a pixel of its own.
    """
    from loralathe.lowrank import flatten_tucker
    from loralathe.lowrank.damping import response

    factors = flatten_tucker(load_factors(adapter, module))
    kept, unwanted = pair
    places = factors.down.double().reshape(factors.rank, kept.total.shape[0], -1).unbind(-1)

    def size(downs: Sequence[Tensor], moment: Moment) -> float:
        return sum(response(factors.up, down, moment) for down in downs)

    found = []
    for damping in dampings:
        downs = [damping(down) for down in places]
        change = [new - old for new, old in zip(downs, places, strict=True)]
        found.append((size(downs, kept), size(downs, unwanted), size(change, kept)))
    as_is = size(places, kept), size(places, unwanted)
    return Layer(module.name, module.block, part, down_keys(module), *as_is, tuple(found))


def _parts(modules: Sequence[AdapterModule]) -> list[list[AdapterModule]]:
    """Modules whose moments fit into memory; text encoders apart, as their texts take no sampling.

    Modules side by side with equally many inputs share one moment, as q, k and v do.
    """
    texts = [module for module in modules if is_text_encoder(module.name)]
    found: list[list[AdapterModule]] = []
    for group in (texts, [module for module in modules if module not in texts]):
        left, seen = -1, set[tuple[str, int]]()
        for module in group:
            own = (module.name.rpartition(".")[0], module.shape[1])
            size = 0 if own in seen else 2 * 4 * module.shape[1] ** 2
            if left < size:
                found.append([])
                left, seen = ROOM, set()
                size = 2 * 4 * module.shape[1] ** 2
            found[-1].append(module)
            seen.add(own)
            left -= size
    return found
