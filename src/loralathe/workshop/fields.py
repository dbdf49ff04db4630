"""The options of every command as fields of a form: what they hold, how they are called, where they stand.

Names are those of Python. Labels are what A1111, LBW, SuperMerger and Kohya call the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Say = Callable[[str], str]


@dataclass(frozen=True)
class Field:
    """kind: text, lines, number, whole, flag, choice, file, files, list, numbers or map.

    group: usual, picture, model, axes, ranks, saving or rare.  of: which files, for a file.
    """

    kind: str
    group: str
    label: str
    default: Any = None
    choices: tuple[str | int, ...] = ()
    of: str = ""
    help: str = ""


_FAMILIES_OWN = "empty: the model's own"
_DTYPES = ("fp16", "bf16", "fp32")

PICTURE: Mapping[str, Field] = {
    "prompt": Field("lines", "usual", "Prompt", ""),
    "negative": Field("lines", "usual", "Negative prompt", ""),
    "steps": Field("whole", "picture", "Sampling steps", None, help=_FAMILIES_OWN),
    "sampler": Field("choice", "picture", "Sampling method", None),
    "schedule": Field("choice", "picture", "Schedule type", "Automatic"),
    "cfg": Field("number", "picture", "CFG scale", None, help=_FAMILIES_OWN),
    "seed": Field("whole", "picture", "Seed", -1, help="-1 draws one"),
    "size": Field("text", "picture", "Size", "", help="832x1216; empty: the model's own"),
    "vae": Field("file", "picture", "VAE", of="vae", help=_FAMILIES_OWN),
    "clip_skip": Field("whole", "picture", "Clip skip", 1),
    "guidance": Field("number", "picture", "Distilled CFG Scale", None, help="Flux.1 dev; empty: 3.5"),
    "hires": Field("number", "picture", "Hires. fix: upscale by", None, help="empty: no second pass"),
    "hires_upscaler": Field("choice", "picture", "Upscaler", "Latent"),
    "hires_steps": Field("whole", "picture", "Hires steps", 0, help="0: as many as the first pass"),
    "hires_denoising": Field("number", "picture", "Denoising strength", 0.7),
    "styles": Field("file", "picture", "Styles file", of="preset", help="A1111's styles.csv"),
    "style": Field("list", "picture", "Styles", help="names, one a line"),
}
MODEL: Mapping[str, Field] = {
    "on": Field("text", "model", "Where pictures are made", "", help="empty: on this computer"),
    "devices": Field("text", "model", "Several devices", "", help="a process for each: all, cuda:0,cuda:1"),
    "device": Field("text", "model", "Device", "auto", help="auto, cpu, cuda, cuda:1, mps"),
    "dtype": Field("choice", "model", "Precision", None, ("fp32", "fp16", "bf16")),
    "low_vram": Field(
        "flag",
        "model",
        "Low VRAM",
        False,
        help="networks come to the device in turn, transformers block by block",
    ),
    "batch": Field("whole", "model", "Batch size", None, help="empty: what fits"),
    "prediction": Field("choice", "model", "Prediction", None, ("epsilon", "v")),
    "text_encoder": Field("files", "model", "Text encoders", of="model", help="that the checkpoint lacks"),
    "tokenizer": Field("file", "model", "Tokenizer", of="preset", help="tokenizer.json"),
    "hashes": Field("flag", "model", "Hashes in the infotext", False),
    "lists": Field("map", "model", "Block weight lists", help="NAME=LIST, one a line"),
    "presets": Field("file", "model", "Preset file", of="preset", help="LBW's lbwpresets.txt"),
    "element_presets": Field("file", "model", "Element preset file", of="preset"),
    "missing_blocks": Field("choice", "model", "Weight of blocks that a list lacks", None, (0, 1)),
    "allow_unmatched": Field("flag", "model", "Leave out modules without a place", False),
}
RENDER: Mapping[str, Field] = {
    "count": Field("whole", "usual", "Batch count", 1, help="pictures, seeds counting up"),
}
CARD = Field("file", "rare", "Identity card", of="card", help="how like the person pictures are")
SCORERS: Mapping[str, Field] = {
    "scorers": Field("list", "rare", "Scorers", help="NAME=FILE, one a line"),
    "photo": Field("files", "rare", "Photos of the person", of="picture"),
    "face_box": Field("text", "rare", "Where the face is", "", help="left,top,right,bottom, each 0 to 1"),
}
RECIPE: Mapping[str, Field] = {
    "recipe": Field("file", "axes", "Recipe", of="recipe", help="draw what it makes, in memory"),
    "step": Field("text", "axes", "Step of the recipe", "", help="empty: the checkpoint that it saves"),
    "variables": Field("map", "axes", "Variables of the recipe", help="NAME=NUMBER, one a line"),
}
GRID: Mapping[str, Field] = {
    "x": Field("text", "axes", "X axis", "", help="for example: cfg = 4..8 (+2)"),
    "y": Field("text", "axes", "Y axis", "", help="for example: cfg = 4..8 (+2)"),
    "z": Field("text", "axes", "Z axis", "", help="for example: cfg = 4..8 (+2)"),
    **RECIPE,
    "max_cells": Field("whole", "rare", "Most cells", 400),
    "redo": Field("list", "rare", "Draw again", help="column,row[,sheet], one a line"),
    "vary_seed": Field("text", "rare", "Vary the seed along", "", help="x, y, z or several: xy"),
    **SCORERS,
    "card": CARD,
    "bleed": Field("flag", "rare", "Measure bleed, with the card", False),
    "reference": Field("text", "rare", "Cell to compare with", "1,1"),
    "legend": Field("flag", "rare", "Draw legend", True),
    "margin": Field("whole", "rare", "Grid margins (px)", 4),
    "sub_grids": Field("flag", "rare", "Include sub grids", False),
}
BLOCKS: Mapping[str, Field] = {
    "range": Field("text", "usual", "Range", "0.5,1", help="weight of the block, and of all others"),
    "blocks": Field("text", "usual", "Blocks", "", help="12ALL, 17ALL, 20ALL, 26ALL, or names; empty: all"),
    "adapter": Field("text", "usual", "LoRA to analyse", "", help="where there are several"),
    "seeds": Field("whole", "usual", "Number of seeds", 1),
    "threshold": Field("whole", "usual", "Difference threshold", 20),
    "te": Field("flag", "rare", "Text encoders one by one", False),
    "coarse": Field("flag", "rare", "Groups first, then halves of what matters", False),
    "coarse_floor": Field("number", "rare", "Least share of a group that matters", 0.1),
    "card": CARD,
    "color": Field("choice", "rare", "Difference colour", "black", ("black", "white")),
    "swap": Field("flag", "rare", "Blocks as columns", False),
    "segments": Field(
        "flag", "usual", "By segments", False, help="each alone and left out, halves of those that matter"
    ),
    "most_seeds": Field("whole", "rare", "Most seeds of a segment", 16, help="where it goes by segments"),
}
JUDGING: Mapping[str, Field] = {
    "card": replace(CARD, group="usual"),
    **SCORERS,
    "likeness": Field("text", "rare", "Score that tells likeness", "", help="where there is no card"),
    "trigger": Field("list", "rare", "Trigger words", help="one a line; empty: the card's"),
    "goal": Field("list", "usual", "What counts", help="likeness, bleed, prompt, diversity, …"),
    "weigh": Field("map", "rare", "What a point of a goal is worth", help="bleed=0.2, one a line"),
    "within": Field("number", "rare", "Points of the first goal that may be given up for the others", 2.0),
    "also": Field("list", "rare", "Other prompts", help="one a line; pictures take turns"),
}
SEARCH: Mapping[str, Field] = {
    "sweep": Field("list", "axes", "What may change", help="NAME = VALUES, one a line"),
    "budget": Field("text", "usual", "How much it may take", "200 pictures", help="80 pictures, 30 minutes"),
    **JUDGING,
    "first_seeds": Field("whole", "rare", "Seeds of a new candidate", 2),
    "most_seeds": Field("whole", "rare", "Most seeds of a candidate", 24),
    "check_seeds": Field("whole", "rare", "Fresh seeds for the end", None, help="empty: by the budget"),
    "error": Field("number", "rare", "Chance of dropping the best one", 0.05),
    "search": Field("choice", "rare", "How candidates are proposed", "tpe", ("tpe", "nsga2")),
}
EVERYWHERE: Mapping[str, Field] = {
    "bases": Field("files", "usual", "Bases", of="checkpoint"),
    "source": Field("file", "usual", "The base that it was made for", of="checkpoint"),
    "segments": Field("whole", "rare", "Parts of the blocks", 3, help="0: the strength alone"),
    "difference": Field("flag", "rare", "Search M × (base − its own base), too", False),
}
SOUP: Mapping[str, Field] = {
    "base": Field("file", "usual", "Checkpoint for the pictures", of="checkpoint"),
    "weights": Field("numbers", "usual", "Weights", help="1, 2, 1: in the order of the files"),
    "ema": Field("number", "usual", "Moving average", None, help="0.9: each weighs 0.9 times the next one"),
    "ranks": Field("map", "ranks", "Cut to a rank", help="rank=32 or energy=0.99, one a line"),
    **JUDGING,
    "within": replace(JUDGING["within"], default=1.0),
    "strength": Field("number", "rare", "Strength of the LoRA in pictures", 1.0),
    "first_seeds": Field("whole", "rare", "Seeds that one begins on", 4),
    "most_seeds": Field("whole", "rare", "Most seeds of one", 24),
    "check_seeds": Field("whole", "rare", "Fresh seeds for the end", 12),
    "error": Field("number", "rare", "Chance that one joins without helping", 0.05),
    "save_dtype": Field("choice", "saving", "Save precision", "fp16", ("fp16", "bf16", "fp32")),
}
CURE: Mapping[str, Field] = {
    **{name: JUDGING[name] for name in ("card", *SCORERS, "likeness", "trigger", "also")},
    "people": Field("list", "usual", "Prompts of other people", help="one a line, without the trigger word"),
    "keep": Field("number", "usual", "Points of likeness that may be lost", 2.0),
    "strength": Field("number", "rare", "Strength of the LoRA in pictures", 1.0),
    "refine": Field("whole", "rare", "Steps of training after the damping", 0, help="100 is plenty"),
    "watch": Field("whole", "rare", "Pictures whose layers are looked into", 12),
    "first_seeds": Field("whole", "rare", "Seeds that a damping begins on", 4),
    "most_seeds": Field("whole", "rare", "Most seeds of one", 24),
    "check_seeds": Field("whole", "rare", "Fresh seeds for the end", 12),
    "error": Field("number", "rare", "Chance that what is called sure is wrong", 0.05),
}
HERE = {name: one for name, one in MODEL.items() if name not in ("on", "devices")}
"""Of what is computed in one process."""
STUDY: Mapping[str, Field] = {
    "title": Field("text", "rare", "Title", ""),
    "embed": Field("flag", "rare", "Pictures inside the page", False),
}
ADAPTERS: Mapping[str, Field] = {
    "te": Field("number", "rare", "Text encoder weight", 1.0),
    "unet": Field("number", "rare", "UNet weight", 1.0),
    "blocks": Field("map", "rare", "Block weight lists", help="NAME=LIST, one a line"),
    "elements": Field("list", "rare", "Elements", help="blocks:elements:value, one a line"),
    "include": Field("text", "rare", "Only these blocks and layers", ""),
    "exclude": Field("text", "rare", "Without these blocks and layers", ""),
}
RANKS: Mapping[str, Field] = {
    "rank": Field("whole", "ranks", "Network Rank (Dimension)", None),
    "conv_rank": Field("whole", "ranks", "Conv Dimension (Rank)", None, help="empty: none of them"),
    "energy": Field("number", "ranks", "Share to keep", None, help="0.95: the smallest file that keeps 95 %"),
    "size": Field("text", "ranks", "File size", "", help="100MB: the best LoRA of this size"),
    "ranks": Field("map", "rare", "Other rules of ranks", help="ratio=0.1, one a line"),
}
EXTRACT: Mapping[str, Field] = {
    "te1": Field("flag", "rare", "Text encoder 1", None),
    "te2": Field("flag", "rare", "Text encoder 2", None),
    "te3": Field("flag", "rare", "Text encoder 3", None),
    "alpha": Field("number", "rare", "alpha", 1.0, help="alpha × the finetuned model − beta × the base"),
    "beta": Field("number", "rare", "beta", 1.0),
    "min_diff": Field("number", "rare", "Minimum difference", None),
    "exact": Field("flag", "rare", "Full decompositions", False),
    "pad_ranks": Field("flag", "rare", "One rank everywhere", False),
    "keep_noise": Field("flag", "rare", "Keep what is only rounding", False),
    "keep_norm": Field("flag", "ranks", "As strong as the whole difference", False, help="for a low rank"),
}
OUTPUT: Mapping[str, Field] = {
    "output": Field("text", "usual", "Name", ""),
    "force": Field("flag", "rare", "Replace what is there", False),
}
FILES: Mapping[str, Field] = {
    "device": replace(MODEL["device"], group="rare"),
    "dtype": Field("choice", "saving", "Save precision", None, _DTYPES),
    "threads": Field("whole", "rare", "Threads", None),
    "memory": Field("text", "rare", "Memory", "", help="2GB: the most that is used"),
    "allow_unmatched": Field("flag", "rare", "Leave out modules without a place", False),
    "missing_blocks": Field("choice", "rare", "Weight of blocks that a list lacks", None, (0, 1)),
    "check_finite": Field("flag", "rare", "Stop at NaN and infinity", False),
    "hash_inputs": Field("flag", "rare", "Record hashes of the inputs", True),
    "presets": Field("file", "rare", "Preset file", of="preset"),
}
SAVE: Mapping[str, Field] = {
    "vae": Field("file", "saving", "Bake in VAE", of="vae"),
    "discard": Field("text", "saving", "Discard weights with matching name", "", help="a regular expression"),
    "metadata": Field("map", "saving", "Metadata", help="NAME=TEXT, one a line"),
    "metadata_from": Field("text", "saving", "Metadata of", ""),
    "config_from": Field("text", "saving", "Config of", ""),
}
LAYOUT: Mapping[str, Field] = {
    "layout": Field("choice", "usual", "Layout", None, ("original", "diffusers"), help="diffusers: a folder"),
    "shard_size": Field("text", "rare", "Largest file of a folder", "10GB"),
    "like": Field(
        "file", "rare", "Folder whose configs are taken", of="checkpoint", help="and tokenizers, of diffusers"
    ),
}
MEASURED: Mapping[str, Field] = {
    "measured": Field(
        "file",
        "saving",
        "Measured numbers",
        of="study",
        help="tune.json of a search, results.json of a grid",
    ),
}
REUSE = Field("list", "rare", "Studies whose pictures are taken", help="folders in results, one a line")
LORA_METADATA = {
    "metadata": Field("choice", "saving", "Metadata", "new", ("new", "first", "merge", "all", "minimal"))
}

OPTIONS: Mapping[str, Mapping[str, Field]] = {
    "render": {**PICTURE, **MODEL, **RENDER, **OUTPUT},
    "grid": {**PICTURE, **GRID, **MODEL, **STUDY, **OUTPUT},
    "blocks": {**PICTURE, **BLOCKS, **MODEL, **STUDY, **OUTPUT},
    "tune": {**PICTURE, **SEARCH, **RECIPE, "reuse": REUSE, **MODEL, **STUDY, **OUTPUT},
    "everywhere": {**PICTURE, **EVERYWHERE, **SEARCH, **MODEL, **STUDY, **OUTPUT},
    "soup": {**PICTURE, **SOUP, **MODEL, "threads": FILES["threads"], **LORA_METADATA, **OUTPUT},
    "cure": {**PICTURE, **CURE, **HERE, **OUTPUT},
    "make_card": {
        "model": Field("file", "usual", "Model of faces or characters", of="face", help="ONNX"),
        "detector": Field(
            "file", "usual", "Model that finds faces", of="face", help="empty: the whole picture is looked at"
        ),
        "trigger": Field("text", "usual", "Trigger word", "", help="what calls the person in prompts"),
        "prepare": Field("text", "rare", "How the model wants pixels", "", help="arcface, clip, ccip, …"),
        "face_box": SCORERS["face_box"],
        **OUTPUT,
    },
    "check_identity": {},
    "merge": {**OUTPUT, **FILES, **SAVE, **ADAPTERS, **MEASURED},
    "combine": {**OUTPUT, **RANKS, **FILES, **ADAPTERS, **LORA_METADATA},
    "extract": {
        **OUTPUT,
        **RANKS,
        **FILES,
        **EXTRACT,
        "metadata": Field("choice", "saving", "Metadata", "new", ("new", "minimal")),
    },
    "resize": {**OUTPUT, **RANKS, **FILES, **LORA_METADATA},
    "add_difference": {**OUTPUT, **FILES, **SAVE},
    "weighted_sum": {**OUTPUT, **FILES, **SAVE},
    "convert": {**OUTPUT, **LAYOUT, **FILES, **SAVE},
    "convert_lora": {
        "to": Field(
            "choice", "usual", "Names for", None, ("kohya", "comfyui", "original", "peft", "diffusers")
        ),
        **OUTPUT,
        "bake": Field("file", "saving", "Its model", of="checkpoint", help="for kinds that depend on it"),
        "rank": replace(RANKS["rank"], group="saving", help="of a plain LoRA made from another kind"),
        "family": Field("text", "rare", "Model family", "", help="where the names fit several: sd35m"),
        **FILES,
    },
    "transfer": {**OUTPUT, "threads": FILES["threads"]},
    "run": {
        "variables": GRID["variables"],
        "blocks": ADAPTERS["blocks"],
        "output": OUTPUT["output"],
        "force": OUTPUT["force"],
        **FILES,
        **MEASURED,
    },
    "compare": {
        "base": Field("file", "usual", "Base", of="checkpoint"),
        "rank": RANKS["rank"],
        "threads": FILES["threads"],
    },
    "verify": {
        "everything": Field("flag", "usual", "Every tensor", False),
        "share": Field("number", "rare", "Share of each block", 0.02),
        "least": Field("whole", "rare", "Fewest tensors of a block", 2),
        "seed": Field("whole", "rare", "Seed of the choice", 0),
        "exact": Field("flag", "rare", "Bit for bit", True),
        "threads": FILES["threads"],
    },
    "check_lora": {"programs": Field("list", "rare", "Programs", help="comfyui, forge, …, one a line")},
    "block_weights": {"allow_unmatched": MODEL["allow_unmatched"], "threads": FILES["threads"]},
}
"""Command → its options. `presets`, folders and progress are the workshop's own."""


def forms(say: Say, choices: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Command → its fields as JSON, in a person's language.

    choices: those that only the program with its libraries knows, by the option's name.
    """
    return {
        command: [_form(name, one, say, choices) for name, one in found.items()]
        for command, found in OPTIONS.items()
    }


def _form(name: str, one: Field, say: Say, choices: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "name": name,
        "group": one.group,
        "kind": one.kind,
        "default": one.default,
        "choices": list(one.choices or choices.get(name, ())),
        "of": one.of or None,
        "label": say(one.label),
        "help": say(one.help) if one.help else "",
    }
