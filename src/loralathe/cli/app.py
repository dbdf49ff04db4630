"""`lathe`: finds the command that is called, and lists them all."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import partial

import click

import loralathe
from loralathe import did_you_mean
from loralathe.cli import commands
from loralathe.cli.guard import end_on_signals, guarded, lost_text
from loralathe.cli.help_page import PageContext
from loralathe.cli.language import speak, take_language
from loralathe.cli.options import SECTIONS, LatheCommand, language_option
from loralathe.cli.streams import failure_of_stdout, keep_streams

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


def command_names() -> tuple[str, ...]:
    """A command is found because its file is in `commands/`; nothing is imported."""
    return tuple(sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(commands.__path__)))


class LazyGroup(click.Group):
    """Commands are imported when they are called, or listed; every error ends well."""

    context_class = PageContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(command_names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> LatheCommand | None:
        if cmd_name not in command_names():
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"{commands.__name__}.{name}"), f"{name}_command")
        assert isinstance(command, LatheCommand)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for name in command_names():
            if command := self.get_command(ctx, name):
                rows[command.section].append((name, command.short_help or ""))
        width = max(map(len, command_names()))
        for title, listed in rows.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in listed])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and name not in command_names() and not name.startswith("-"):
            hint = did_you_mean(name, (*command_names(), HELP)) or (
                "commands are " + ", ".join(command_names())
            )
            raise click.UsageError(f"there is no command '{name}'; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]
        self, args: list[str] | None = None, prog_name: str | None = None, **extra: object
    ) -> None:
        """Run, show any error as text, and exit with the code that tells its kind."""
        given, language = take_language(sys.argv[1:] if args is None else args)
        speak(language)
        words = _flagged(given)
        run = partial(super().main, words, prog_name, standalone_mode=False)
        sys.exit(guarded(run, words, partial(_flags, words[:1])))


def _flags(words: list[str]) -> list[str]:
    """The options of the command that the words call."""
    command = lathe.get_command(click.Context(lathe), *words) if words else None
    return [flag for option in command.params for flag in option.opts] if command else []


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
@language_option
@click.version_option(loralathe.__version__, "--version", prog_name="lathe", message="%(prog)s %(version)s")
def lathe() -> None:
    """Merge, extract and study LoRAs of image models.

    Files are read and written piece by piece, so that large models need little memory.
    """


def main() -> None:
    """Entry point of the `lathe` command."""
    keep_streams()
    end_on_signals()
    try:
        lathe(prog_name="lathe")
    except SystemExit as end:
        failure = failure_of_stdout()
        if failure is not None and not end.code:
            sys.exit(lost_text(failure))
        raise
