"""Options that commands share; what click collects are the keywords of `loralathe`'s functions."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loralathe import LANGUAGES, InputError, read_text, spelling_hint, with_equals
from loralathe.cli.help_page import PageContext
from loralathe.cli.language import FLAG
from loralathe.cli.screen import Screen

if TYPE_CHECKING:
    PathType = click.ParamType[Path]
    FloatType = click.ParamType[float]
    IntType = click.ParamType[int]
else:  # click before 8.4 has no type argument
    PathType = FloatType = IntType = click.ParamType

F = TypeVar("F", bound=Callable[..., object])
N = TypeVar("N", int, float)
Option = Callable[[F], F]

DTYPE_NAMES = ("source", "fp16", "bf16", "fp32")
LIST_EXAMPLE = "--blocks Face=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1"


def stack(options: Iterable[Callable[[F], F]]) -> Callable[[F], F]:
    """One decorator for many; help shows them in this order."""

    def decorate(function: F) -> F:
        for option in reversed(list(options)):
            function = option(function)
        return function

    return decorate


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
        from loralathe import parse_number

        return value if isinstance(value, float) else _read(parse_number, value)


class Whole(click.IntRange):
    """A whole number within bounds, its digits read as everywhere else."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from loralathe import parse_whole

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
        from loralathe import parse_size

        size = value if isinstance(value, int) else _read(parse_size, value)
        if size < 1 << 20:
            self.fail(f"'{value}' is too little memory; write 2GB or 800MB", param, ctx)
        return size


COMMON_NAMES = frozenset({
    "output", "force", "dtype", "dry_run", "allow_unmatched", "check_finite", "hash_inputs",
    "device", "threads", "memory", "as_json", "quiet", "lang", "help", "lora_dir", "checkpoint_dir",
})  # fmt: skip
PICTURE_NAMES = frozenset({
    "prompt", "negative", "seed", "count", "steps", "cfg", "sampler", "schedule", "size", "vae", "clip_skip",
    "guidance", "styles", "style", "hires", "hires_upscaler", "hires_steps", "hires_denoising", "settings",
    "save_settings",
})  # fmt: skip
MACHINE_NAMES = frozenset({"low_vram", "batch", "prediction", "text_encoder", "tokenizer"}) | COMMON_NAMES


SECTIONS = ("Look at files", "LoRAs", "Checkpoints", "Formulas and recipes", "Pictures", "Settings")
"""Of `lathe --help`, in this order; each command stands in one of them."""


def language_option(function: F) -> F:
    """--lang. Its value is taken before a command is read (`take_language`); this is its help."""
    return click.option(
        FLAG,
        type=click.Choice(LANGUAGES, case_sensitive=False),
        metavar="NAME",
        expose_value=False,
        help="Language of texts: en or zh-TW. Default: that of this terminal.",
    )(function)


class LatheCommand(click.Command):
    """A command whose help shows its own options first, those of every command after them."""

    context_class = PageContext

    def __init__(self, *arguments: Any, section: str, **keywords: Any) -> None:
        assert section in SECTIONS, section
        super().__init__(*arguments, **keywords)
        self.section = section
        language_option(self)

    def section_of(self, name: str | None) -> str:
        return "Common options" if name in COMMON_NAMES else "Options"

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Picture": [], "Common options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections[self.section_of(parameter.name)].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class PictureCommand(LatheCommand):
    """The options of a picture have a section of their own."""

    def section_of(self, name: str | None) -> str:
        title = "Picture" if name in PICTURE_NAMES else "Options"
        return "Common options" if name in MACHINE_NAMES else title


def take_screen(options: dict[str, Any]) -> Screen:
    """--json and --quiet, taken out of a command's options."""
    return Screen(options.pop("as_json"), options.pop("quiet"))


def common_options(dtype: str | None = "source", *, only_sums: bool = False) -> Callable[[F], F]:
    """The options of every command that writes model files. dtype: the default, None for none.

    only_sums: --device changes nothing, since sums are computed on the CPU; scripts may give it.
    """
    default = f" Default: {dtype}." if dtype else ""
    return stack([
        click.option("--force", is_flag=True, help="Replace a file that exists."),
        click.option(
            "--dtype",
            type=click.Choice(DTYPE_NAMES, case_sensitive=False),
            metavar="NAME",
            default=dtype,
            help=f"Type of the saved numbers: fp16, bf16, fp32, or source (each tensor's own).{default}",
        ),
        click.option("--dry-run", is_flag=True, help="Show what would be done, and write nothing."),
        click.option(
            "--allow-unmatched",
            is_flag=True,
            help="Leave out tensors that the other file has no place for.",
        ),
        click.option("--check-finite", is_flag=True, help="Look for NaN in copied tensors, too."),
        click.option(
            "--hash/--no-hash",
            "hash_inputs",
            default=True,
            help="Record the inputs' hashes in the result. Default: yes.",
        ),
        click.option(
            "--device",
            default="cpu",
            metavar="NAME",
            hidden=only_sums,
            help="Where singular values are computed: cpu, cuda, cuda:1. Default: cpu.",
        ),
        threads_option(),
        click.option(
            "--memory",
            type=MemorySize(),
            default="1GiB",
            metavar="SIZE",
            help="Memory limit for tensors being processed. Default: 1GiB.",
        ),
        *_showing("Show nothing but errors."),
    ])  # fmt: skip


def threads_option(text: str = "Worker threads. Default: one on every core.") -> Callable[[F], F]:
    return click.option("--threads", type=Whole(min=1), metavar="N", help=text)


def measured_option(function: F) -> F:
    """--measured, for commands that may make what a search or a grid has shown."""
    return click.option(
        "--measured",
        type=FilePath(),
        metavar="FILE",
        help="Put measured numbers into the result: folder of a search that recommends it, or of a grid "
        "with --card that shows it.",
    )(function)


def output_option(function: F) -> F:
    """-o, for commands with one output."""
    text = "File to write. Default: a name made from the inputs, beside the first one."
    return click.option("-o", "--output", metavar="FILE", help=text)(function)


def showing_options(function: F) -> F:
    """--json, --quiet and --threads, for commands that only look."""
    return stack([threads_option(), *_showing("Show no progress; with --json no text.")])(function)


def _showing(quiet: str) -> list[Callable[[F], F]]:
    return [
        click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout, text on stderr."),
        click.option("-q", "--quiet", is_flag=True, help=quiet),
    ]


def search_option(function: F) -> F:
    """--search, for commands that find the inputs of a record."""
    return click.option(
        "--search",
        multiple=True,
        type=FilePath(),
        metavar="FOLDER",
        help="Look for the inputs in this folder, too; repeatable.",
    )(function)


def variables_option(text: str = "Give a variable of the formula a value; repeatable.") -> Callable[[F], F]:
    """--set NAME=NUMBER."""
    return click.option(
        "--set", "variables", multiple=True, metavar="NAME=NUMBER", callback=_numbers, help=text
    )


def lists_option(flag: str = "--blocks", name: str = "blocks") -> Callable[[F], F]:
    """--blocks NAME=LIST."""
    text = "Define a named list of block weights; repeatable."
    return click.option(flag, name, multiple=True, metavar="NAME=LIST", callback=_named_lists, help=text)


def preset_options(function: F) -> F:
    """--presets and --missing-blocks."""
    return stack([
        click.option(
            "--presets", type=FilePath(), metavar="FILE", help="A file of named block lists (lbwpresets.txt)."
        ),
        click.option(
            "--missing-blocks",
            type=click.Choice(["0", "1"]),
            callback=lambda ctx, param, value: None if value is None else int(value),
            help="Weight of blocks that a list lacks. Without it they are an error.",
        ),
    ])(function)  # fmt: skip


def adapter_options(function: F) -> F:
    """Options that hold for every adapter of a command, block lists included."""
    return stack([
        click.option(
            "--te", type=Number(), default=1.0, metavar="X", help="Multiply all text-encoder strengths by X."
        ),
        click.option(
            "--unet", type=Number(), default=1.0, metavar="X", help="Multiply all U-Net strengths by X."
        ),
        click.option(
            "--include",
            multiple=True,
            metavar="WORDS",
            help='Use only these blocks and layers: "IN04-OUT02", "attn2 ff"; repeatable.',
        ),
        click.option(
            "--exclude",
            multiple=True,
            metavar="WORDS",
            help="Leave out these blocks and layers; repeatable.",
        ),
        lists_option(),
        preset_options,
        click.option(
            "--elements",
            multiple=True,
            metavar="RULE",
            help="Weight layers by a rule blocks:elements:value, such as OUT03-OUT05:attn2:0.5; repeatable.",
        ),
    ])(function)  # fmt: skip


def saving_options(inputs: str) -> Callable[[F], F]:
    """How a checkpoint is saved, as in the web UIs' Checkpoint Merger; `inputs`: how help calls them."""
    return stack([
        click.option(
            "--bake-vae", "vae", type=FilePath(), metavar="FILE", help="Put the VAE of FILE into the result."
        ),
        click.option("--discard", metavar="REGEX", help="Leave out tensors whose name matches REGEX."),
        click.option(
            "--metadata",
            "metadata_from",
            default="first",
            metavar="FROM",
            help="Metadata of the result: first (all of the first checkpoint's), new (only what programs "
            "need), merge (of all checkpoints; later ones win), all (the first's, and each input's whole as "
            f"JSON), {inputs} (that one's) or none. Default: first.",
        ),
        click.option(
            "--metadata-json",
            "metadata",
            metavar="FILE|TEXT",
            callback=_metadata,
            help="Add metadata entries: a JSON object, or a file with one.",
        ),
        click.option(
            "--copy-config",
            "config_from",
            default="any",
            metavar="FROM",
            help="Copy the .yaml file beside an input: any (the first that has one), "
            f"{inputs} or none. Default: any.",
        ),
    ])  # fmt: skip


def adapter_metadata_option(default: str) -> Callable[[F], F]:
    """--metadata of commands that write LoRAs."""
    return click.option(
        "--metadata",
        type=click.Choice(("new", "first", "merge", "all", "minimal")),
        metavar="NAME",
        default=default,
        help="Metadata of the result: new (what programs need), first (all of the first LoRA's), all "
        "(the first's, and each LoRA's whole as JSON), merge (the same, with the training tags of all) or "
        f"minimal (only ss_ keys, and no record of the recipe). Default: {default}.",
    )


def split_assignments(words: Sequence[str], what: str, example: str) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping; InputError for a word without `=` and for a name given twice."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name, value = unicodedata.normalize("NFKC", name.strip()), value.strip()
        if not equals or not name or not value:
            fix = example if equals else _with_equals(word) or spelling_hint(word) or example
            raise InputError(f"{what} is written NAME=VALUE", where=f"'{word}'", fix=fix)
        if name in found:
            raise InputError(f"'{name}' is given twice", where=f"'{word}'", fix="keep one of them")
        found[name] = value
    return found


def _with_equals(word: str) -> str | None:
    meant = with_equals(word)
    return f"between name and value stands '=': {meant}" if meant else None


def input_files(words: Sequence[str], example: str) -> dict[str, Path]:
    """`NAME=FILE` words; InputError as `split_assignments`."""
    return {name: Path(text) for name, text in split_assignments(words, "an input", example).items()}


def _numbers(ctx: click.Context, param: click.Parameter, words: Sequence[str]) -> dict[str, float]:
    """--set M=0.7."""
    from loralathe import parse_number

    given = split_assignments(words, "--set", "--set M=0.7")
    return {name: parse_number(text, where=f"--set {name}={text}") for name, text in given.items()}


def _named_lists(ctx: click.Context, param: click.Parameter, words: Sequence[str]) -> dict[str, str]:
    """--blocks NAME=LIST."""
    flag = param.opts[0]
    return split_assignments(words, flag, LIST_EXAMPLE.replace("--blocks", flag))


def _metadata(ctx: click.Context, param: click.Parameter, given: str | None) -> dict[str, str]:
    """The entries of a JSON object, given as text or by its file; values become texts."""
    if given is None:
        return {}
    text, where = given, "--metadata-json"
    if not given.lstrip().startswith("{"):
        where = given
        text = read_text(given, "JSON file")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the metadata is not JSON: {error}", where=where, fix='write {"name": "text"}'
        ) from None
    if not isinstance(found, dict):
        raise InputError("the metadata is not a JSON object", where=where, fix='write {"name": "text"}')
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in found.items()
    }
