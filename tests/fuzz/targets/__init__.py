"""What is fuzzed: by name, a function that draws a case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.targets import (
    cards,
    files,
    formulas,
    greedy,
    lists,
    names,
    options,
    pickles,
    pictures,
    quantised,
    recipes,
    records,
    shards,
)

Draw = Callable[[Random, Path], Case]
"""(random numbers, folder of the sound files) → a case."""

TARGETS: dict[str, Draw] = {
    "checkpoint headers": files.checkpoint_header,
    "checkpoint bytes": files.checkpoint_bytes,
    "adapter headers": files.adapter_header,
    "adapter bytes": files.adapter_bytes,
    "no files": files.no_file_at_all,
    "pickles": pickles.pickle_case,
    "quantised files": quantised.quantised_case,
    "formulas": formulas.formula,
    "adapter specs": lists.adapter_spec,
    "block lists": lists.block_list,
    "preset files": lists.preset_file,
    "element rules": lists.element_rule,
    "recipes": recipes.recipe,
    "records": records.record,
    "written recipes": names.written_recipe,
    "names in every output": names.output,
    "PEFT configs": names.peft_config,
    "doubling and deep recipes": greedy.recipe,
    "discard patterns": greedy.discard,
    "products of extreme sides": greedy.product,
    "prompts": pictures.prompt,
    "axes": pictures.axis,
    "diffusers folders": pictures.diffusers_folder,
    "shards": shards.shards,
    "study folders": pictures.study_folder,
    "infotexts": pictures.png,
    "identity cards": cards.card,
    "arguments": options.arguments,
}
