"""`lathe grid`: pictures side by side that differ along chosen axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loralathe.cli.grid_options import GridCommand
from loralathe.cli.options import FilePath, Whole
from loralathe.cli.render_options import RANDOM_SEED, PictureOptions, collect_picture_options, picture_options
from loralathe.cli.screen import Screen
from loralathe.errors import InputError

if TYPE_CHECKING:
    from loralathe.cli.render_setup import Lists
    from loralathe.progress import Progress
    from loralathe.studies import Context, GridOptions
    from loralathe.studies.recipes import RecipeWeights

EPILOG = """\b
Values: 0, 0.3, 0.5    0..1 (+0.25)    0..1 [5]    "a, b", c
A LoRA's own name is an axis (hina = its strength, hina te, hina IN04-IN08 = the weight of those
blocks), and so is every variable of --recipe. Cells are kept in FOLDER/cells: Ctrl-C loses none,
the same command goes on, and a value added later costs only its own cells.

\b
Examples:
  lathe grid baseA.safetensors hina.safetensors --prompt "a girl" --x "hina = 0, 0.3, 0.5, 0.7, 1"
  lathe grid baseA.safetensors hina.safetensors mio.safetensors --prompt "two girls" \\
        --x "hina = 0..1 (+0.2)" --y "mio = 0..1 (+0.2)" --z "seed = 1-3"
  lathe grid --recipe article.toml --step B2 --prompt "a girl" --seed 1 \\
        --x "M = -0.7..0.7 (+0.35)" --y "rank = 4, 8, 16"
"""


@click.command("grid", cls=GridCommand, epilog=EPILOG)
@click.argument("files", nargs=-1, type=str, metavar="CHECKPOINT [ADAPTER…]")
@click.option("--x", default="", metavar="AXIS", help="Columns: NAME = VALUES.")
@click.option("--y", default="", metavar="AXIS", help="Rows.")
@click.option("--z", default="", metavar="AXIS", help="Sheets.")
@click.option(
    "-o", "--out", type=FilePath(), metavar="FOLDER", help="Default: one here, named after the inputs."
)
@click.option(
    "--recipe", type=FilePath(), metavar="FILE", help="Render a recipe's step, made in memory; no CHECKPOINT."
)
@click.option(
    "--step", metavar="NAME", help="Which step. Default: the only checkpoint that the recipe saves."
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=NUMBER", help="A variable's value; repeatable."
)
@click.option("--max-cells", type=Whole(min=1), metavar="N", help="Larger grids stop here. Default: 400.")
@click.option(
    "--redo", multiple=True, metavar="CELL", help="Render a cell again: column,row[,sheet]; repeatable."
)
@click.option("--vary-seed", default="", metavar="AXES", help="The seed counts up along these axes: x, xy, …")
@click.option(
    "--scorer",
    "wanted",
    multiple=True,
    metavar="NAME=MODEL",
    help="identity=MODEL.onnx, prompt=FOLDER, family (the demo's), or none.",
)
@click.option(
    "--photo",
    "photos",
    multiple=True,
    type=FilePath(),
    metavar="FILE",
    help="The person meant, for identity; repeatable.",
)
@click.option("--face-box", metavar="BOX", help="Where the face is: left,top,right,bottom, each 0 to 1.")
@click.option(
    "--reference", default="1,1", metavar="CELL", help="Scores compare with this cell. Default: 1,1."
)
@click.option(
    "--checkpoint-dir",
    multiple=True,
    type=FilePath(),
    metavar="DIR",
    help="Checkpoints by name, for an axis.",
)
@click.option("--vae-dir", multiple=True, type=FilePath(), metavar="DIR", help="VAEs by name, for an axis.")
@click.option("--title", default="", metavar="TEXT", help="Title of the page.")
@click.option("--legend/--no-legend", default=True, help="Values beside the pictures. Default: yes.")
@click.option(
    "--margin",
    type=Whole(0, 512),
    default=4,
    metavar="N",
    help="Pixels between pictures. Default: 4.",
)
@click.option("--sub-grids", is_flag=True, help="A picture for each value of Z, too.")
@click.option("--embed", is_flag=True, help="One grid.html with the pictures inside, to send around.")
@picture_options()
def grid_command(files: tuple[str, ...], recipe: Path | None, **options: Any) -> None:
    """A grid of pictures: columns, rows and sheets along three axes, of almost anything."""
    from loralathe.cli.render_setup import lists_of, need_libraries, progress_of, renderer_of
    from loralathe.cli.show_grid import show_grid, show_grid_plan

    chosen = collect_picture_options(options)
    screen = Screen(chosen.as_json, chosen.quiet)
    need_libraries()
    lists = lists_of(chosen, screen)
    progress = progress_of(screen)
    weights = _recipe(recipe, options, chosen, lists, progress)
    grid = grid_options(files, weights, lists, options)
    if chosen.dry_run:
        show_grid_plan(screen, grid)
        return
    from loralathe.studies import plan_of, run_grid

    plan_of(grid)  # mistakes in the axes are told before models are looked at
    with renderer_of(chosen, lists, progress, weights.held if weights else None) as renderer:
        if weights is not None:
            weights.before = renderer.close
        try:
            result = run_grid(grid, renderer, progress)
        except KeyboardInterrupt:
            kept = f"finished cells are kept in {grid.folder}; the same command goes on from there"
            raise KeyboardInterrupt(kept) from None
    show_grid(screen, grid, result)


def grid_options(
    files: tuple[str, ...], weights: RecipeWeights | None, lists: Lists, options: dict[str, Any]
) -> GridOptions:
    """Everything about the grid, from the command's words."""
    from loralathe.cli.grid_options import position, scorers
    from loralathe.cli.render_setup import adapters_of, family_of, folder_name, request_of
    from loralathe.studies import GridOptions
    from loralathe.studies.drawing.grid import GridLook
    from loralathe.studies.plan import DEFAULT_LIMIT

    chosen = collect_picture_options(options)
    checkpoint, words = _checkpoint(files, weights)
    family = weights.family if weights else family_of(checkpoint)
    request = request_of(checkpoint, adapters_of(words, chosen), family, chosen)
    name = Path(weights.file).stem + f"-{weights.step}" if weights else checkpoint
    return GridOptions(
        request,
        options["out"] or folder_name(name, request, "-grid"),
        x=options["x"],
        y=options["y"],
        z=options["z"],
        context=_context(family.id, weights, lists, options),
        max_cells=options["max_cells"] or DEFAULT_LIMIT,
        vary_seed=_axes(options["vary_seed"]),
        random_seed=chosen.seed == RANDOM_SEED,
        redo=tuple(position(word, "--redo") for word in options["redo"]),
        reference=position(options["reference"], "--reference"),
        scorers=scorers(options["wanted"], options["photos"], options["face_box"]),
        look=GridLook(legend=options["legend"], margin=options["margin"]),
        sub_grids=options["sub_grids"],
        title=options["title"],
        embed=options["embed"],
    )


def _checkpoint(files: tuple[str, ...], weights: RecipeWeights | None) -> tuple[str, tuple[str, ...]]:
    """(checkpoint, adapters). A recipe takes the checkpoint's place."""
    if weights is not None:
        return f"{Path(weights.file).name} {weights.step}", files
    if not files:
        raise InputError(
            "what is to be rendered?", fix="give a CHECKPOINT, or --recipe FILE; see lathe grid --help"
        )
    return files[0], files[1:]


def _context(family: str, weights: RecipeWeights | None, lists: Lists, options: dict[str, Any]) -> Context:
    from loralathe.families import family_by_id
    from loralathe.studies import gather_context

    return gather_context(
        family_by_id(family),
        lora_dirs=options["lora_dir"],
        checkpoint_dirs=options["checkpoint_dir"],
        vae_dirs=options["vae_dir"],
        presets=lists.blocks,
        element_presets=lists.elements,
        recipe=weights,
    )


def _axes(text: str) -> str:
    if set(text.lower()) - set("xyz"):
        raise InputError(f"'{text}' names no axes", where="--vary-seed", fix="write x, y, z, or several: xy")
    return text.lower()


def _recipe(
    path: Path | None, options: dict[str, Any], chosen: PictureOptions, lists: Lists, progress: Progress
) -> RecipeWeights | None:
    from loralathe.cli.names import numbers

    if path is None:
        for name, flag in (("step", "--step"), ("settings", "--set")):
            if options[name]:
                raise InputError(f"{flag} belongs to a recipe", fix="add --recipe FILE, or leave it out")
        return None
    from loralathe.engine import RunOptions
    from loralathe.studies.recipes import RecipeWeights

    weight = {"0": 0, "1": 1}.get(chosen.missing_blocks or "")
    run = RunOptions(
        presets=lists.blocks,
        missing_blocks=weight,  # type: ignore[arg-type]
        allow_unmatched=chosen.allow_unmatched,
        hash_inputs=False,
    )
    return RecipeWeights(path, options["step"], numbers(options["settings"]), options=run, progress=progress)
