"""Options that commands share, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from loralathe.errors import InputError

if TYPE_CHECKING:
    from loralathe.engine import RunOptions

    PathType = click.ParamType[Path]
    FloatType = click.ParamType[float]
    IntType = click.ParamType[int]
else:  # click before 8.4 has no type argument
    PathType = FloatType = IntType = click.ParamType

F = TypeVar("F", bound=Callable[..., object])
N = TypeVar("N", int, float)

DTYPE_NAMES = ("source", "fp16", "bf16", "fp32")


class FilePath(PathType):
    """A path as given; whether it exists is for the library to say, which knows close names."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return Path(value)


def _read(reader: Callable[[str], N], value: Any) -> N:
    """What `reader` makes of a text; click.BadParameter in the words of its InputError."""
    try:
        return reader(str(value))
    except InputError as error:
        raise click.BadParameter(f"{error.what}; {error.fix}" if error.fix else error.what) from None


class Number(FloatType):
    """A finite number, its sign and digits read as everywhere else."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from loralathe.strengths import parse_number

        return value if isinstance(value, float) else _read(parse_number, value)


class Whole(click.IntRange):
    """A whole number within bounds, its digits read as everywhere else."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from loralathe.strengths import parse_whole

        return super().convert(_read(parse_whole, value), param, ctx)


class Share(click.FloatRange):
    """A number between 0 and 1."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(Number().convert(value, param, ctx), param, ctx)


class MemorySize(IntType):
    """`2GB`, `800MB`, `1.5GiB`: bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from loralathe.strengths import parse_size

        size = value if isinstance(value, int) else _read(parse_size, value)
        if size < 1 << 20:
            self.fail(f"'{value}' is too little memory; write 2GB or 800MB", param, ctx)
        return size


COMMON_NAMES = frozenset({
    "output", "force", "dtype", "dry_run", "allow_unmatched", "check_finite", "hash_inputs",
    "device", "threads", "memory", "as_json", "quiet", "help",
})  # fmt: skip


class LatheCommand(click.Command):
    """A command whose help shows its own options first, those of every command after them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                (shared if parameter.name in COMMON_NAMES else own).append(record)
        for title, records in (("Options", own), ("Common options", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


@dataclass(frozen=True)
class Common:
    """The common options of a command that writes files."""

    output: tuple[str, ...]
    dtype: str | None
    dry_run: bool
    as_json: bool
    quiet: bool
    device: str
    threads: int | None
    memory: int
    force: bool
    allow_unmatched: bool
    check_finite: bool
    hash_inputs: bool
    missing_blocks: Literal[0, 1] | None = None
    presets: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path | None:
        """-o of a command with one output."""
        return Path(self.output[-1]) if self.output else None

    def run_options(self) -> RunOptions:
        from loralathe.engine import RunOptions

        return RunOptions(
            device=self.device,
            threads=self.threads,
            memory=self.memory,
            force=self.force,
            allow_unmatched=self.allow_unmatched,
            missing_blocks=self.missing_blocks,
            check_finite=self.check_finite,
            hash_inputs=self.hash_inputs,
            presets=self.presets,
        )


def common_options(dtype: str | None = "source", outputs: bool = False) -> Callable[[F], F]:
    """The options of every command that writes files; collected again by `common`.

    dtype: the default, None for none;  outputs: -o may be given for each of several outputs.
    """
    default = f" Default: {dtype}." if dtype else ""
    options = [
        _output_of_each() if outputs else _output(),
        click.option("--force", is_flag=True, help="Replace a file that exists."),
        click.option(
            "--dtype",
            type=click.Choice(DTYPE_NAMES, case_sensitive=False),
            metavar="NAME",
            default=dtype,
            help=f"Numbers as source (each tensor's own), fp16, bf16 or fp32.{default}",
        ),
        click.option("--dry-run", is_flag=True, help="Show the plan and write nothing."),
        click.option("--allow-unmatched", is_flag=True, help="Leave out tensors that have no counterpart."),
        click.option("--check-finite", is_flag=True, help="Look for NaN in copied tensors, too."),
        click.option(
            "--hash/--no-hash", "hash_inputs", default=True, help="Record the inputs' hashes. Default: yes."
        ),
        click.option(
            "--device", default="cpu", metavar="NAME", help="Where to decompose: cpu, cuda, cuda:1."
        ),
        click.option("--threads", type=Whole(min=1), metavar="N", help="Default: every core."),
        click.option(
            "--memory", type=MemorySize(), default="1GiB", metavar="SIZE", help="In flight. Default: 1GiB."
        ),
        *_showing("Say nothing but errors."),
    ]
    return _apply(options)


def _output() -> Callable[[F], F]:
    text = "File to write. Default: a name made from the inputs, beside the first one."
    return click.option("-o", "--output", metavar="FILE", help=text)


def _output_of_each() -> Callable[[F], F]:
    text = "Write the one saved step to FILE, or a step by its name; repeatable."
    return click.option("-o", "--output", multiple=True, metavar="[STEP=]FILE", help=text)


def showing_options(function: F) -> F:
    """--json, --quiet and --threads, for commands that only look."""
    threads = click.option("--threads", type=Whole(min=1), metavar="N", help="Default: every core.")
    return _apply([threads, *_showing("No progress; with --json no text.")])(function)


def _showing(quiet: str) -> list[Callable[[F], F]]:
    return [
        click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr."),
        click.option("-q", "--quiet", is_flag=True, help=quiet),
    ]


def search_option(function: F) -> F:
    """--search, for commands that find the inputs of a record."""
    return click.option(
        "--search", multiple=True, type=FilePath(), metavar="FOLDER", help="Where inputs may be; repeatable."
    )(function)


def block_options(function: F) -> F:
    """--blocks, --presets and --missing-blocks."""
    options = [
        click.option(
            "--blocks", multiple=True, metavar="NAME=LIST", help="A named list of block weights; repeatable."
        ),
        click.option(
            "--presets", type=FilePath(), metavar="FILE", help="Block lists by name (lbwpresets.txt)."
        ),
        click.option(
            "--missing-blocks",
            type=click.Choice(["0", "1"]),
            help="Weight of blocks that a list lacks; without it they are an error.",
        ),
    ]
    return _apply(options)(function)


def _apply(options: list[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def common(options: Mapping[str, Any], **more: Any) -> Common:
    """The collected common options; `more` sets fields that come from elsewhere."""
    output = options["output"]
    words = (output,) if isinstance(output, str) else tuple(output or ())
    return Common(**{**options, "output": words}, **more)
