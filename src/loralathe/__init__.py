"""loralathe: turn, cut and graft LoRAs of image models; streaming algebra on files.

The functions, their options and their results: docs/api.md. Names are imported when they are used, so that
`import loralathe` stays quick and imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names
from loralathe.version import __version__

if TYPE_CHECKING:
    from loralathe.adapters import label_of_kind
    from loralathe.api.arguments import MEMORY
    from loralathe.api.files import (
        add_difference,
        combine,
        convert,
        evaluate,
        extract,
        merge,
        plan,
        recorded_recipe,
        resize,
        run,
        weighted_sum,
    )
    from loralathe.api.look import block_norms, compare, file_hashes, inspect, picture_notes, verify
    from loralathe.api.model import (
        BlocksPlan,
        OpenModel,
        PicturePlan,
        PreparedBlocks,
        PreparedGrid,
        PreparedPictures,
    )
    from loralathe.api.picture_options import BlocksChoices, GridChoices, ModelOptions, Picture
    from loralathe.api.pictures import (
        axis_examples,
        block_weights,
        blocks,
        grid,
        need_libraries,
        open_model,
        open_recipe,
        render,
    )
    from loralathe.api.prepared import Planned, Prepared
    from loralathe.commands import as_flag
    from loralathe.engine import (
        AdapterCoverage,
        AdapterOutput,
        BlockEnergy,
        ExtractionReport,
        InputUse,
        Report,
        RunOptions,
        WeightsOutput,
        WeightsReport,
    )
    from loralathe.errors import (
        InputError,
        LatheError,
        MachineError,
        Message,
        counted,
        did_you_mean,
        few,
        is_out_of_memory,
        option,
        printable,
        readable,
        spelling_hint,
        with_equals,
    )
    from loralathe.families import component_name, family_by_id, shorthand
    from loralathe.inspection import (
        AdapterFacts,
        BlockComparison,
        BlockModules,
        CheckpointFacts,
        Comparison,
        Inspection,
        Norm,
        Part,
    )
    from loralathe.language import (
        ExtractOptions,
        Recipe,
        Save,
        make_recipe,
        read_recipe,
        recipe_text,
        unused_names,
    )
    from loralathe.progress import (
        BarSink,
        CallableSink,
        Cancel,
        Cancelled,
        CellEvent,
        Event,
        JsonSink,
        Progress,
        SilentSink,
        Sink,
    )
    from loralathe.strengths import AdapterUse, parse_number, parse_size, parse_whole
    from loralathe.studies import BlockReport, GridResult, bar_chart
    from loralathe.studies.analyzer import bar
    from loralathe.studies.plan import GridPlan
    from loralathe.studies.weights import BlockWeight, WeightStudy
    from loralathe.tensorfiles import in_memory, write_text
    from loralathe.verification import BlockCheck, Verification

__all__ = [
    "MEMORY", "AdapterCoverage", "AdapterFacts", "AdapterOutput", "AdapterUse", "BarSink", "BlockCheck",
    "BlockComparison", "BlockEnergy", "BlockModules", "BlockReport", "BlockWeight", "BlocksChoices",
    "BlocksPlan", "CallableSink", "Cancel", "Cancelled", "CellEvent", "CheckpointFacts", "Comparison",
    "Event", "ExtractOptions", "ExtractionReport", "GridChoices", "GridPlan", "GridResult", "InputError",
    "InputUse", "Inspection", "JsonSink", "LatheError", "MachineError", "Message", "ModelOptions",
    "Norm", "OpenModel", "Part", "Picture", "PicturePlan", "Planned", "Prepared", "PreparedBlocks",
    "PreparedGrid", "PreparedPictures", "Progress", "Recipe", "Report", "RunOptions", "Save",
    "SilentSink", "Sink", "Verification", "WeightStudy", "WeightsOutput", "WeightsReport", "__version__",
    "add_difference", "as_flag", "axis_examples", "bar", "bar_chart", "block_norms", "block_weights",
    "blocks", "combine", "compare", "component_name", "convert", "counted", "did_you_mean", "evaluate",
    "extract", "family_by_id", "few", "file_hashes", "grid", "in_memory", "inspect", "is_out_of_memory",
    "label_of_kind", "make_recipe", "merge", "need_libraries", "open_model", "open_recipe", "option",
    "parse_number", "parse_size", "parse_whole", "picture_notes", "plan", "printable", "read_recipe",
    "readable", "recipe_text", "recorded_recipe", "render", "resize", "run", "shorthand",
    "spelling_hint", "unused_names", "verify", "weighted_sum", "with_equals", "write_text",
]  # fmt: skip

_HOMES = {
    "adapters": ("label_of_kind",),
    "api.arguments": ("MEMORY",),
    "api.files": (
        "add_difference", "combine", "convert", "evaluate", "extract", "merge",
        "plan", "recorded_recipe", "resize", "run", "weighted_sum",
    ),
    "api.look": ("block_norms", "compare", "file_hashes", "inspect", "picture_notes", "verify"),
    "api.picture_options": ("BlocksChoices", "GridChoices", "ModelOptions", "Picture"),
    "api.model": (
        "BlocksPlan", "OpenModel", "PicturePlan", "PreparedBlocks", "PreparedGrid", "PreparedPictures",
    ),
    "api.prepared": ("Planned", "Prepared"),
    "api.pictures": (
        "axis_examples", "block_weights", "blocks", "grid", "need_libraries", "open_model",
        "open_recipe", "render",
    ),
    "commands": ("as_flag",),
    "engine": (
        "AdapterCoverage", "AdapterOutput", "BlockEnergy", "ExtractionReport", "InputUse", "Report",
        "RunOptions", "WeightsOutput", "WeightsReport",
    ),
    "errors": (
        "InputError", "LatheError", "MachineError", "Message", "counted", "did_you_mean", "few",
        "is_out_of_memory", "option", "printable", "readable", "spelling_hint", "with_equals",
    ),
    "families": ("component_name", "family_by_id", "shorthand"),
    "inspection": (
        "AdapterFacts", "BlockComparison", "BlockModules", "CheckpointFacts", "Comparison", "Inspection",
        "Norm", "Part",
    ),
    "language": (
        "ExtractOptions", "Recipe", "Save", "make_recipe", "read_recipe", "recipe_text", "unused_names",
    ),
    "progress": (
        "BarSink", "CallableSink", "Cancel", "Cancelled", "CellEvent", "Event", "JsonSink", "Progress",
        "SilentSink", "Sink",
    ),
    "strengths": ("AdapterUse", "parse_number", "parse_size", "parse_whole"),
    "studies": ("BlockReport", "GridResult", "bar_chart"),
    "studies.analyzer": ("bar",),
    "studies.plan": ("GridPlan",),
    "studies.weights": ("BlockWeight", "WeightStudy"),
    "tensorfiles": ("in_memory", "write_text"),
    "verification": ("BlockCheck", "Verification"),
}  # fmt: skip
__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
