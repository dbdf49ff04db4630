"""`lathe eval`: a formula as people write it."""

from __future__ import annotations

from typing import Any

import click

from loralathe.cli.folders import folder_options
from loralathe.cli.options import (
    LatheCommand,
    common_options,
    input_files,
    lists_option,
    measured_option,
    output_option,
    preset_options,
    saving_options,
    take_screen,
    variables_option,
)

EXAMPLE = 'lathe eval "A + 0.7*hina" A=base.safetensors hina=hina.safetensors'
EPILOG = """\b
Formulas know + and -, * by numbers, parentheses, @ for block weights, adapters as functions
(hina(te=0.5)), extract(delta, rank=64), and fp16(x) and bf16(x) for rounding in between.

\b
Examples:
  lathe eval "A + 0.7*hina" A=baseA.safetensors hina=hina.safetensors
  lathe eval "B + M*(B - A)" A=a.safetensors B=b.safetensors --set M=0.7 -o result.safetensors
  lathe eval "A + hina@Face" A=a.safetensors hina=hina.safetensors --blocks "Face=IN04=0.3"
  lathe eval "ties(A, B, C, density=0.3)" A=a.safetensors B=b.safetensors C=c.safetensors
  lathe eval "extract(B - A, rank=32)" A=a.safetensors B=b.safetensors -o difference.safetensors
"""


class EvalCommand(LatheCommand):
    """The help names every function of the language, read from its registry."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from loralathe import function_names

        super().format_epilog(ctx, formatter)
        with formatter.section("Functions (docs/merge-methods.md)"):
            formatter.write_text(", ".join(function_names()))


@click.command(
    "eval",
    cls=EvalCommand,
    section="Formulas and recipes",
    short_help="Evaluate any formula over checkpoints and LoRAs, in one pass.",
    epilog=EPILOG,
)
@click.argument("formula", metavar="FORMULA")
@click.argument("files", nargs=-1, metavar="NAME=FILE…")
@variables_option()
@lists_option()
@preset_options
@saving_options("NAME")
@measured_option
@output_option
@folder_options()
@common_options()
def eval_command(formula: str, files: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Evaluate FORMULA over the files that its names stand for, in one pass."""
    import loralathe
    from loralathe.cli.report import show_and_run

    screen = take_screen(options)
    inputs = input_files(files, EXAMPLE)
    if not inputs:
        raise loralathe.InputError("the formula has no files to work on", fix=EXAMPLE)
    prepared = loralathe.evaluate.prepare(formula, inputs, progress=screen.progress(), **options)
    show_and_run(prepared, screen, dry_run, in_formulas=True)
