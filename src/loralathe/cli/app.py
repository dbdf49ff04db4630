"""The command group: what `lathe` knows, loaded only when called."""

from __future__ import annotations

import importlib
import io
import sys

import click

import loralathe
from loralathe import did_you_mean
from loralathe.cli.guard import end_on_signals, guarded

COMMANDS = {
    # name: (module, what `lathe --help` says)
    "inspect": ("inspect", "Show what a file is: family, blocks, ranks, metadata, its recipe."),
    "merge": ("merge", "Merge LoRAs into a checkpoint, with strengths and block weights."),
    "extract": ("extract", "Extract a LoRA from the difference of two checkpoints."),
    "combine": ("combine", "Combine several LoRAs into one, exactly or at a rank."),
    "resize": ("combine", "Change the rank or the size of a LoRA."),
    "add-difference": ("add_difference", "Compute A + M*(B - C) of three checkpoints."),
    "weighted-sum": ("add_difference", "Compute (1-M)*A + M*B of two checkpoints."),
    "convert": ("add_difference", "Save a checkpoint in another format or dtype, or with another VAE."),
    "eval": ("evaluate", "Evaluate any formula over checkpoints and LoRAs, in one pass."),
    "run": ("run", "Run a recipe file, or make a file again from its own record."),
    "verify": ("verify", "Check a file against the recipe recorded in it."),
    "compare": ("compare", "Show what differs between two files, where, and how much."),
    "render": ("render", "Render pictures of a prompt, from a checkpoint and LoRAs."),
    "grid": ("grid", "Render a grid of pictures over strengths, blocks, seeds, prompts, …"),
    "blocks": ("blocks", "Find out what each block of a LoRA does, in pictures or in weights."),
    "demo": ("demo", "Play the whole method on tiny models that come with loralathe."),
}

HELP = "help"

EPILOG = """\b
`lathe help COMMAND` shows the options of a command; so does `lathe COMMAND -h`.

\b
Examples:
  lathe inspect hina.safetensors
  lathe merge baseA.safetensors hina.safetensors:0.7
  lathe extract tuned.safetensors baseA.safetensors --rank 64
  lathe eval "B + hina - 0.7*(B - A)" A=a.safetensors B=b.safetensors hina=hina.safetensors
  lathe grid baseA.safetensors hina.safetensors --prompt "a girl" --x "hina = 0..1 [6]"
"""


class LazyGroup(click.Group):
    """Commands are imported when called, so that `lathe --help` stays instant; every error ends well."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"loralathe.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_") + "_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and name not in COMMANDS and not name.startswith("-"):
            hint = did_you_mean(name, (*COMMANDS, HELP)) or "commands are " + ", ".join(COMMANDS)
            raise click.UsageError(f"there is no command '{name}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]
        self, args: list[str] | None = None, prog_name: str | None = None, **extra: object
    ) -> None:
        """Run, show any error as text, and exit with the code that tells its kind."""
        words = _flagged(list(sys.argv[1:] if args is None else args))
        sys.exit(guarded(lambda: super(LazyGroup, self).main(words, prog_name, standalone_mode=False), words))


def _flagged(words: list[str]) -> list[str]:
    """`help merge` is `merge --help`, `help` by itself `--help`."""
    if words[:1] != [HELP]:
        return words
    return [*(word for word in words[1:2] if word != HELP), "--help"]


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(loralathe.__version__, "--version", prog_name="lathe", message="%(prog)s %(version)s")
def lathe() -> None:
    """Merge, extract and study LoRAs of image models.

    Files are read and written piece by piece, so that large models need little memory.
    """


def main() -> None:
    """Entry point of the `lathe` command."""
    end_on_signals()
    for stream in (sys.stdout, sys.stderr):
        # A console that lacks a character, or a file name that is not UTF-8, must not end the work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    lathe(prog_name="lathe")
