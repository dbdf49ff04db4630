"""Requests in JSON: a function of the library, its words and options; checked, as a call and as a command.

For instance {"command": "grid", "words": ["checkpoints/a", "loras/hina:0.7"], "options": {"prompt": "…"}}.
The names are those of Python. Files are names of places, so no request reaches a file outside of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made_with
from pathlib import Path
from typing import Any

from loralathe import InputError, about, command_for, did_you_mean, option
from loralathe.workshop.fields import OPTIONS, Field
from loralathe.workshop.places import MODELS, OTHERS, Places

MOST_WORDS = 64
LONGEST_TEXT = 20_000
LONGEST_NAME = 80
PICTURES = ("render", "grid", "blocks", "tune", "everywhere", "soup", "cure")
"""Commands that draw."""


@dataclass(frozen=True)
class Command:
    """What a function takes.

    words: what its positional arguments are; the last kind may repeat with *.
    fields: the fields of forms that hold them; by their kinds where none are given.
    name: on the command line, where it is another;  flags: the options that hold the last words there
    lead: words that stand first there, `OPTION` for the value of an option
    drawn: it cannot do without a prompt
    """

    words: tuple[str, ...]
    ending: str = ""
    fields: tuple[str, ...] = ()
    name: str = ""
    flags: tuple[str, ...] = ()
    lead: tuple[str, ...] = ()
    drawn: bool = False

    def field(self, number: int, *, recipe: bool = False) -> str:
        """The field that holds a word. A recipe takes the place of the first."""
        names = self.fields or tuple(_FIELDS.get(kind, kind) for kind in self.words)
        return names[min(number + recipe, len(names) - 1)]


_FIELDS = {
    "lora": "adapters",
    "lora*": "adapters",
    "lora?": "adapters",
    "epoch*": "adapters",
    "picture*": "photo",
}


COMMANDS: Mapping[str, Command] = {
    "render": Command(("checkpoint", "lora*"), ".png", drawn=True),
    "grid": Command(("checkpoint", "lora*"), drawn=True),
    "blocks": Command(("checkpoint", "lora*"), drawn=True),
    "tune": Command(("checkpoint", "lora*"), drawn=True),
    "everywhere": Command(("lora",), drawn=True),
    "soup": Command(("epoch*",), ".safetensors"),
    "cure": Command(("checkpoint", "file"), ".safetensors", ("checkpoint", "adapters"), drawn=True),
    "make_card": Command(("picture*",), ".card", name="identity", lead=("make", "OUTPUT")),
    "check_identity": Command(("card", "picture*"), name="identity", lead=("check",)),
    "merge": Command(("checkpoint", "lora*"), ".safetensors"),
    "combine": Command(("lora*",), ".safetensors"),
    "extract": Command(("checkpoint", "checkpoint"), ".safetensors", ("tuned", "base")),
    "resize": Command(("lora",), ".safetensors"),
    "add_difference": Command(
        ("checkpoint", "checkpoint", "checkpoint", "number"),
        ".safetensors",
        ("primary", "secondary", "tertiary", "multiplier"),
        flags=("multiplier",),
    ),
    "weighted_sum": Command(
        ("checkpoint", "checkpoint", "number"),
        ".safetensors",
        ("primary", "secondary", "multiplier"),
        flags=("multiplier",),
    ),
    "convert": Command(("checkpoint",), ".safetensors"),
    "convert_lora": Command(("lora",), ".safetensors", name="convert"),
    "transfer": Command(
        ("lora", "checkpoint", "checkpoint"),
        ".safetensors",
        ("adapters", "base", "checkpoint"),
        flags=("from", "to"),
    ),
    "run": Command(("recipe",)),
    "compare": Command(("file", "file")),
    "verify": Command(("file",)),
    "block_weights": Command(("checkpoint", "lora", "lora?"), name="blocks"),
    "check_lora": Command(("lora",), name="check"),
}


@dataclass(frozen=True)
class Request:
    """A checked request. words, options: as they came;  call: the arguments with files as paths."""

    command: str
    words: tuple[str | float, ...]
    options: Mapping[str, Any]
    call_words: tuple[str | float, ...] = ()
    call_options: Mapping[str, Any] = made_with(default_factory=dict)

    def line(self, system: str) -> str:
        """The command that does the same, for a shell of `posix` or `nt`, from the folder of the server."""
        shown = self._spelled()
        words = [os.path.relpath(str(word)) if _is_path(word) else str(word) for word in self.call_words]
        own = COMMANDS[self.command]
        for flag in reversed(own.flags[-len(words) :]):
            shown = {flag: words.pop(), **shown}
        words = [*(str(shown.pop(one.lower(), "")) if one.isupper() else one for one in own.lead), *words]
        if self.command == "block_weights":
            shown = {"weights": True, **shown}
        return command_for(system, own.name or self.command.replace("_", "-"), words, shown)

    def _spelled(self) -> dict[str, Any]:
        """The options by the names that they have on the command line."""
        texts = " ".join(str(self.call_options.get(name, "")) for name in ("prompt", "negative", *"xyz"))
        shown: dict[str, Any] = {}
        for name, value in self.call_options.items():
            if (
                name in _FOLDERS
            ):  # only where a name may be meant: in tags and in axes, or any word of a prompt
                if name not in _NAMED_IN_TEXTS or _NAMED_IN_TEXTS[name].search(texts):
                    shown[name] = [os.path.relpath(one) for one in value]
            elif name == "ranks":
                shown |= value
            elif name == "weights":
                shown[name] = ",".join(f"{one:g}" for one in value)
            elif name == "metadata" and isinstance(value, Mapping):
                shown["metadata_json"] = json.dumps(value, ensure_ascii=False)
            elif name == "output":
                shown[name] = os.path.relpath(value)
            else:
                spelled = _FLAGS | (_FLAGS_OF_PICTURES if self.command in PICTURES else {})
                if self.command == "blocks":
                    spelled |= {"lists": "list"}
                shown[spelled.get(name, name)] = value
        return shown

    def as_json(self) -> dict[str, Any]:
        return {"command": self.command, "words": list(self.words), "options": dict(self.options)}


_FOLDERS = ("lora_dir", "checkpoint_dir", "vae_dir", "embeddings")
_NAMED_IN_TEXTS = {
    "lora_dir": re.compile("lora|lyco", re.IGNORECASE),
    "checkpoint_dir": re.compile("checkpoint", re.IGNORECASE),
    "vae_dir": re.compile("vae", re.IGNORECASE),
}
_FLAGS = {"metadata_from": "metadata", "config_from": "copy_config", "programs": "in"}
_FLAGS_OF_PICTURES = {"lists": "blocks", "vae": "other_vae"}
_OF_BLOCKS_ALONE = ("range", "coarse", "coarse_floor", "swap")
"""Options of `blocks` that mean nothing by segments."""
_NO_CHECKPOINT_DIR = ("combine", "resize", "check_lora")
_NO_FOLDERS = ("make_card", "check_identity")


def read_json(body: bytes) -> dict[str, Any]:
    """What was sent: an object without NaN, infinity and halves of characters, which no answer could hold."""
    try:
        found = json.loads(body)
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError("the request is not JSON", fix='send {"command": "grid", …}') from error
    if not isinstance(found, dict):
        raise InputError("the request is not a JSON object", fix='send {"command": "grid", …}')
    return found


def read_request(given: object, places: Places) -> Request:
    """The request in JSON. InputError, its option named, for what no request may hold."""
    if not isinstance(given, Mapping):
        raise InputError(
            "a request is a JSON object", fix='{"command": "grid", "words": […], "options": {…}}'
        )
    command, words, options = given.get("command"), given.get("words", []), given.get("options", {})
    found = COMMANDS.get(command) if isinstance(command, str) else None
    if found is None:
        shown = str(command)[:LONGEST_NAME]
        fix = did_you_mean(shown, COMMANDS) or f"commands are {', '.join(COMMANDS)}"
        raise InputError(f"there is no command '{shown}'", fix=fix)
    if not isinstance(words, Sequence) or isinstance(words, str) or len(words) > MOST_WORDS:
        raise InputError(
            f"'words' is a list of at most {MOST_WORDS}", fix='"words": ["checkpoints/a.safetensors"]'
        )
    if not isinstance(options, Mapping):
        raise InputError("'options' is a JSON object", fix='"options": {"prompt": "…"}')
    kinds = found.words[1:] if options.get("recipe") else found.words
    call_words = []
    for number, (word, kind) in enumerate(zip(words, _kinds(kinds, words), strict=True)):
        with about(found.field(number, recipe=kinds != found.words)):
            call_words.append(_word(word, kind, places))
    call = {}
    for name, value in options.items():
        with about(name[:LONGEST_NAME]):
            call[name] = _option(str(command), name, value, places, ending_of(found, options))
    call = {name: value for name, value in call.items() if value is not None}
    if command == "blocks":
        call = _of_blocks(call)
    drawn = found.drawn or (command == "soup" and "base" in call)
    if drawn and "prompt" not in call:
        raise InputError("there is no prompt", where=option("prompt"), fix="write what the picture shows")
    if command == "make_card" and "model" not in call:
        raise InputError(
            "a card needs a model that recognises faces or characters",
            where=option("model"),
            fix="choose one; docs/likeness.md says which ones fit",
        )
    if command == "convert_lora" and "to" not in call:
        raise InputError("no names are chosen", where=option("to"), fix="choose the program that reads it")
    if "output" not in call and "output" in OPTIONS[str(command)] and command != "run":
        call["output"] = str(places.output(_named_after(str(command), call_words), ending_of(found, options)))
    call |= _folders_for(str(command), places) | _program_for(str(call.get("on", "")), places)
    return Request(str(command), tuple(words), dict(options), tuple(call_words), call)


def _of_blocks(call: dict[str, Any]) -> dict[str, Any]:
    """Without what has no meaning: a form holds the options of both ways."""
    left_out = _OF_BLOCKS_ALONE if call.get("segments") else ("segments", "most_seeds")
    return {name: value for name, value in call.items() if name not in left_out}


def _named_after(command: str, words: Sequence[str | float]) -> str:
    """`baseA+hina-grid`: what a result is called where nobody said so."""
    names = [Path(word).name.partition(":")[0] for word in words if isinstance(word, str)]
    stems = dict.fromkeys(Path(name).stem for name in names)
    return f"{'+'.join(stems)[:80] or 'result'}-{command.replace('_', '-')}"


def _folders_for(command: str, places: Places) -> dict[str, list[str]]:
    if command in _NO_FOLDERS:
        return {}
    loras, checkpoints = places.folders("lora"), places.folders("checkpoint")
    found = {"lora_dir": [str(one) for one in loras]}
    if command not in _NO_CHECKPOINT_DIR:
        found["checkpoint_dir"] = [str(one) for one in checkpoints]
    if command == "grid":
        found["vae_dir"] = [str(one) for one in places.folders("vae") if one != places.out]
    if command in PICTURES:
        found["embeddings"] = [str(one) for one in places.folders("embedding") if one != places.out]
    return {name: folders for name, folders in found.items() if folders}


def _program_for(on: str, places: Places) -> dict[str, str]:
    """The folder of the program that draws, where the server knows it: parts of LoRAs are put there."""
    name = {"comfyui": "comfyui", "a1111": "webui"}.get(on.strip().partition(":")[0].partition("+")[0], "")
    return {name: str(places.programs[name])} if name in places.programs else {}


def _kinds(kinds: Sequence[str], words: Sequence[object]) -> list[str]:
    """The kind of each word. InputError for too few or too many."""
    optional = sum(kind[-1] in "*?" for kind in kinds)
    least, many = len(kinds) - optional, bool(kinds) and kinds[-1].endswith("*")
    if len(words) < least or (len(words) > len(kinds) and not many):
        wanted = ", ".join(kind.rstrip("*?") for kind in kinds)
        raise InputError(f"{len(words)} words are given", fix=f"the words are {wanted}")
    plain = [kind.rstrip("*?") for kind in kinds]
    return [*plain[: len(words)], *[plain[-1]] * (len(words) - len(plain))]


def _word(word: object, kind: str, places: Places) -> str | float:
    if kind == "number":
        if isinstance(word, bool) or not isinstance(word, (int, float)):
            raise InputError(f"'{word}' is not a number", where=option("multiplier"), fix="write it as 0.5")
        return word
    if not isinstance(word, str) or len(word) > LONGEST_TEXT:
        raise InputError("a file is called by its name", where=option(kind), fix="choose it from the list")
    if not word:
        raise InputError(f"no {kind} is chosen", where=option(kind), fix="choose one from the list")
    if kind != "lora":
        return str(places.file(word))
    name, strengths = split_strengths(word)
    return f"{places.file(name)}{strengths}"


def split_strengths(word: str) -> tuple[str, str]:
    """`loras/hina.safetensors:0.7:OUTALL` → its name, and the rest with its colon."""
    name, colon, rest = word.partition(":")
    return name, colon + rest


def _option(command: str, name: str, value: object, places: Places, ending: str) -> Any:
    known = OPTIONS[command]
    if name not in known:
        name = name[:LONGEST_NAME]
        fix = did_you_mean(name, known) or f"options are {', '.join(known)}"
        raise InputError(f"there is no option '{name}'", where=option(name), fix=fix)
    if value is None or value == "":
        return None if name != "prompt" else value
    kind = known[name].kind
    if name == "output":
        return str(_output(_text(name, value), ending, places))
    if kind == "file":
        return str(places.file(_text(name, value)))
    if kind == "files":
        return [str(places.file(_text(name, one))) for one in _list(name, value)]
    if name == "reuse":
        return [str(places.locate(_text(name, one))) for one in _list(name, value)]
    if name == "scorers":
        return [_scorer(_text(name, one), places) for one in _list(name, value)]
    return plain_value(known[name], name, value)


def ending_of(command: Command, options: Mapping[str, Any]) -> str:
    """Of what it makes; a model in the layout of diffusers is a folder."""
    return "" if options.get("layout") == "diffusers" else command.ending


def _output(name: str, ending: str, places: Places) -> Path:
    """Where a result goes. InputError, beside the field of the name, for what is no name."""
    try:
        return places.output(name, ending)
    except InputError as error:
        raise InputError(error.what, where=option("output", name), fix="choose another name") from error


def plain_value(field: Field, name: str, value: Any) -> Any:
    """The value of an option that names no file, as Python takes it. InputError for one of another kind."""
    kind = field.kind
    if kind == "choice" and not isinstance(value, (Mapping, list, bool)):
        return next((one for one in field.choices if str(one) == str(value)), _text(name, str(value)))
    if kind == "flag" and isinstance(value, bool):
        return value
    if kind == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if kind == "whole" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind in ("text", "lines") and not isinstance(value, (Mapping, list, bool)):
        return _text(name, str(value))
    if kind == "numbers" and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) for one in _list(name, value)
    ):
        return value
    if kind == "list":
        return [_text(name, one) for one in _list(name, value)]
    if kind == "map" and isinstance(value, Mapping) and len(value) <= MOST_WORDS:
        return {
            _text(name, key): one if isinstance(one, (int, float)) else _text(name, one)
            for key, one in value.items()
        }
    wanted = {
        "flag": "true or false",
        "number": "a number",
        "numbers": "a list of numbers",
        "whole": "a whole number",
        "map": "an object",
    }
    raise InputError(f"'{value}' is not {wanted.get(kind, 'a text')}", where=option(name), fix="correct it")


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > MOST_WORDS:
        raise InputError(
            f"this is a list of at most {MOST_WORDS}", where=option(name), fix='write it as ["…"]'
        )
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\x00" in value:
        raise InputError(
            f"a text of at most {LONGEST_TEXT} characters is needed", where=option(name), fix="shorten it"
        )
    return value


def _scorer(word: str, places: Places) -> str:
    name, equals, file = word.partition("=")
    return f"{name}={places.file(file)}" if equals else word


def _is_path(word: str | float) -> bool:
    return isinstance(word, str) and os.path.isabs(word)


def output_of(request: Mapping[str, Any], places: Places) -> str | None:
    """The path of what a checked request makes; None where it says no name."""
    name = request["options"].get("output")
    ending = ending_of(COMMANDS[request["command"]], request["options"])
    return str(places.output(str(name), ending)) if name else None


def inputs_of(request: Request) -> list[str]:
    """Names of the files that a request reads."""
    found = [split_strengths(word)[0] for word in request.words if isinstance(word, str)]
    known = OPTIONS[request.command]
    for name, value in request.options.items():
        if known[name].kind == "file" and value:
            found.append(str(value))
        elif known[name].kind == "files" and known[name].of != "picture":
            found += map(str, value or [])
    return [_with_ending(one) for one in found]


def _with_ending(name: str) -> str:
    known = (*MODELS, *OTHERS, ".toml")
    return name if Path(name).suffix.lower() in known else f"{name}.safetensors"
