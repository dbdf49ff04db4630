"""A grid as data: every cell's request and key, the distinct jobs behind them, and the order of work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations, product
from math import prod
from pathlib import Path

from loralathe.errors import InputError, option
from loralathe.rendering.embedding_names import with_embeddings
from loralathe.rendering.request import ImageRequest
from loralathe.strengths import show_number
from loralathe.studies.axes_prompt import placeholders_explained
from loralathe.studies.axes_request import SEED
from loralathe.studies.axis import NOTHING, Axis, AxisValue, Stage
from loralathe.studies.cell_builder import CellBuilder, pull_tags, settle_blocks
from loralathe.studies.context import Context

Position = tuple[int, int, int]
DEFAULT_LIMIT = 400
Identify = Callable[[str], str]
SCHEME = 1
KEY_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of a grid; `position` is (x, y, z) from 0, `labels` the axis values shown there."""

    position: Position
    labels: tuple[str, str, str]
    request: ImageRequest
    variables: tuple[tuple[str, float], ...]
    key: str


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to render, and the cells that show it."""

    key: str
    request: ImageRequest
    variables: tuple[tuple[str, float], ...]
    cells: tuple[Position, ...]


@dataclass(frozen=True)
class Beside:
    """Pictures beside the cells: their jobs, and for each cell the keys of (the base's, the adapted
    one's).
    """

    jobs: tuple[Job, ...] = ()
    pairs: Mapping[Position, tuple[str, str]] = field(default_factory=dict)


NOTHING_BESIDE = Beside()


@dataclass(frozen=True)
class GridPlan:
    """`cells` lie in layout order (x fastest, then y, then z), `jobs` in order of work.

    beside: pictures that no cell shows, which measures need.
    """

    axes: tuple[Axis, Axis, Axis]
    cells: tuple[Cell, ...]
    jobs: tuple[Job, ...]
    beside: Beside = NOTHING_BESIDE

    @property
    def pictures(self) -> tuple[Job, ...]:
        """All jobs; those of the same weights stand together."""
        order: dict[tuple[object, ...], list[Job]] = {}
        for job in (*self.jobs, *self.beside.jobs):
            order.setdefault((job.variables, job.request.checkpoint), []).append(job)
        return tuple(job for same in order.values() for job in same)

    @property
    def shape(self) -> Position:
        x, y, z = (len(axis.values) for axis in self.axes)
        return x, y, z

    def cell(self, position: Position) -> Cell:
        x, y, z = position
        nx, ny, _ = self.shape
        return self.cells[x + nx * (y + ny * z)]

    def references(self, reference: Position) -> dict[Position, Position]:
        """The cell that each one is compared with: `reference`, in the cell's own place along axes that
        change the seed, the words or the size. Between such scenes a difference says nothing of the rest."""
        apart = tuple(self._changes_scene(axis) for axis in range(3))
        found: dict[Position, Position] = {}
        for cell in self.cells:
            x, y, z = (
                own if other else at for own, at, other in zip(cell.position, reference, apart, strict=True)
            )
            found[cell.position] = (x, y, z)
        return found

    def _changes_scene(self, axis: int) -> bool:
        """Whether cells that differ along this axis alone show different scenes."""
        scenes: dict[Position, set[tuple[object, ...]]] = {}
        for cell in self.cells:
            x, y, z = (0 if n == axis else at for n, at in enumerate(cell.position))
            scenes.setdefault((x, y, z), set()).add(_scene(cell.request))
        return any(len(found) > 1 for found in scenes.values())


def _scene(request: ImageRequest) -> tuple[object, ...]:
    """What a picture is of, whatever makes it."""
    words = (" ".join(text.split()) for text in (request.prompt, request.negative))
    return (request.seed, *words, *request.size)


def plan_grid(
    base: CellBuilder,
    axes: tuple[Axis | None, Axis | None, Axis | None],
    context: Context,
    *,
    identify: Identify,
    limit: int | None = DEFAULT_LIMIT,
    vary_seed: str = "",
) -> GridPlan:
    """All cells of a grid, without rendering any.

    `limit` is the largest number of cells; None: no limit. `vary_seed` names axes ("xy")
    along which the seed counts up. Raises InputError for a grid over the limit and for impossible cells.
    """
    x, y, z = (axis or NOTHING for axis in axes)
    identify = cache(identify)  # every cell asks, and the answer may be a hash of gigabytes
    check_counted_once((x, y, z), vary_seed)
    _check_size((x, y, z), limit)
    cells: dict[Position, Cell] = {}
    visits = _work_order((x, y, z))
    for position in visits:
        chosen = tuple(axis.values[index] for axis, index in zip((x, y, z), position, strict=True))
        with placeholders_explained((x, y, z)):
            cell = finished(base, (x, y, z), chosen, context)
        cell = _vary(cell, position, (x, y, z), vary_seed)
        labels = (chosen[0].label, chosen[1].label, chosen[2].label)
        job = job_of(cell, context, identify)
        cells[position] = Cell(position, labels, cell.request, job.variables, job.key)
    nx, ny, nz = len(x.values), len(y.values), len(z.values)
    layout = tuple(cells[i, j, k] for k in range(nz) for j in range(ny) for i in range(nx))
    return GridPlan((x, y, z), layout, _jobs([cells[position] for position in visits]))


def check_counted_once(axes: tuple[Axis, ...], vary_seed: str = "") -> None:
    """InputError for axes that set the same: one would undo the other, under labels that say both."""
    for one, other in combinations(axes, 2):
        both = sorted(one.sets & other.sets)
        if not both or (one.adds and other.adds):
            continue
        if one.title == other.title:
            raise InputError(
                f"two axes set {one.title}", fix="put all its values on one axis and drop the other"
            )
        raise InputError(
            f"two axes set {both[0]}", where=f"{one.title} and {other.title}", fix="drop one of the two"
        )
    if vary_seed and any(SEED in axis.sets for axis in axes):
        raise InputError(
            "an axis sets the seed, and another option changes it",
            where=option("vary_seed", vary_seed),
            fix="drop one of the two",
        )


def _check_size(axes: tuple[Axis, Axis, Axis], limit: int | None) -> None:
    counts = [len(axis.values) for axis in axes]
    if limit is not None and prod(counts) > limit:
        raise InputError(
            f"this grid has {prod(counts):,} cells; more than {limit:,} are made only when asked for",
            where=" × ".join(
                f"{count} {axis.title}" for count, axis in zip(counts, axes, strict=True) if axis.title
            ),
            fix=f"take fewer values, or confirm with {option('max_cells', prod(counts))}",
        )


def _work_order(axes: tuple[Axis, Axis, Axis]) -> list[Position]:
    """Positions with the most expensive axis outermost; of equal ones z before y before x."""
    loops = sorted((2, 1, 0), key=lambda which: -axes[which].cost)  # sorted() keeps the order of equals
    order: list[Position] = []
    for indices in product(*(range(len(axes[which].values)) for which in loops)):
        at = dict(zip(loops, indices, strict=True))
        order.append((at[0], at[1], at[2]))
    return order


def finished(
    base: CellBuilder, axes: tuple[Axis, ...], chosen: tuple[AxisValue, ...], context: Context
) -> CellBuilder:
    """The cell that has these values of the axes, its tags and block weights settled."""
    cell = base
    for stage in Stage:
        for axis, value in zip(axes, chosen, strict=True):
            if axis.stage is stage:
                cell = value.apply(cell)
        if stage is Stage.TEXT:
            cell = pull_tags(cell, context)
    cell = settle_blocks(cell, context)
    return replace(cell, request=with_embeddings(cell.request, context.embeddings))


def job_of(cell: CellBuilder, context: Context, identify: Identify) -> Job:
    """A finished cell as one picture to render, under the key that every study gives it."""
    variables = _all_variables(cell, context)
    key = request_key(cell.request, identify, _recipe_name(context), variables, drawn_by=context.drawn_by)
    return Job(key, cell.request, variables, ())


def _vary(
    cell: CellBuilder, position: Position, axes: tuple[Axis, Axis, Axis], vary_seed: str
) -> CellBuilder:
    if not vary_seed:
        return cell
    stride, seed = 1, cell.request.seed
    for letter, index, axis in zip("xyz", position, axes, strict=True):
        if letter in vary_seed.lower():
            seed += index * stride
            stride *= len(axis.values)
    return replace(cell, request=replace(cell.request, seed=seed % 2**64))


def _all_variables(cell: CellBuilder, context: Context) -> tuple[tuple[str, float], ...]:
    defaults: Mapping[str, float] = context.recipe.variables if context.recipe else {}
    return tuple(sorted((dict(defaults) | dict(cell.variables)).items()))


def _recipe_name(context: Context) -> str | None:
    return None if context.recipe is None else context.recipe.identity


def _jobs(cells: list[Cell]) -> tuple[Job, ...]:
    """One job for every distinct key, at the place of its first cell."""
    grouped: dict[str, list[Cell]] = {}
    for cell in cells:
        grouped.setdefault(cell.key, []).append(cell)
    return tuple(
        Job(key, same[0].request, same[0].variables, tuple(cell.position for cell in same))
        for key, same in grouped.items()
    )


def describe_variables(variables: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(f"{name} = {show_number(value)}" for name, value in variables)


def file_identity(path: str) -> str:
    """Name, size and time of change: quick, and equal for the same file. Any other text is its own identity.

    For a diffusers folder, those of the files in its subfolders, as the folder's own date says nothing.
    """
    place = Path(path)
    try:
        if place.is_dir():
            files = sorted(place.glob("*/*")) or sorted(place.glob("*"))
            return "|".join([place.name, *map(_file_stamp, files)])
        return _file_stamp(place)
    except OSError:
        return path


def _file_stamp(path: Path) -> str:
    status = path.stat()
    return f"{path.name}:{status.st_size}:{status.st_mtime_ns}"


def request_key(
    request: ImageRequest,
    identify: Identify,
    recipe: str | None = None,
    variables: tuple[tuple[str, float], ...] = (),
    *,
    drawn_by: str = "",
) -> str:
    """24 hexadecimal digits of SHA-256 over the request with every file replaced by `identify(file)`.

    A recipe takes the checkpoint's place by its own identity and the values of its variables. drawn_by: the
    program that draws, where it is another one.
    """
    fields = request.to_json()
    fields["checkpoint"] = identify(request.checkpoint) if recipe is None else [recipe, *variables]
    fields["vae"] = None if request.vae is None else identify(request.vae)
    if request.embeddings:
        fields["embeddings"] = [identify(file) for file in request.embeddings]
    if drawn_by:
        fields["drawn by"] = drawn_by
    for use in fields["adapters"]:
        use["file"] = identify(use["file"])
    text = json.dumps([SCHEME, fields], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_LENGTH]
