"""loralathe: turn, cut and graft LoRAs of image models; streaming algebra on files.

The functions, their options and their results: docs/api.md. Names are imported when they are used, so that
`import loralathe` stays quick and imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loralathe.lazy import lazy_names

if TYPE_CHECKING:
    from loralathe import errors, progress
    from loralathe.adapters import label_of_kind
    from loralathe.api import (
        bases,
        config,
        cures,
        estimates,
        files,
        given,
        identity,
        live,
        look,
        loras,
        names,
        pictures,
        programs,
        segmenting,
        settings,
        soups,
        sweeps,
        transfers,
        tuning,
    )
    from loralathe.api.bases import *  # noqa: F403
    from loralathe.api.config import *  # noqa: F403
    from loralathe.api.cures import *  # noqa: F403
    from loralathe.api.estimates import *  # noqa: F403
    from loralathe.api.files import *  # noqa: F403
    from loralathe.api.given import *  # noqa: F403
    from loralathe.api.identity import *  # noqa: F403
    from loralathe.api.live import *  # noqa: F403
    from loralathe.api.look import *  # noqa: F403
    from loralathe.api.loras import *  # noqa: F403
    from loralathe.api.names import *  # noqa: F403
    from loralathe.api.pictures import *  # noqa: F403
    from loralathe.api.programs import *  # noqa: F403
    from loralathe.api.recipe_files import *  # noqa: F403
    from loralathe.api.segmenting import *  # noqa: F403
    from loralathe.api.settings import *  # noqa: F403
    from loralathe.api.soups import *  # noqa: F403
    from loralathe.api.sweeps import *  # noqa: F403
    from loralathe.api.transfers import *  # noqa: F403
    from loralathe.api.tuning import *  # noqa: F403
    from loralathe.commands import as_flag, command_for, command_line, quoted
    from loralathe.engine import (
        BUCKETS,
        AdapterCoverage,
        AdapterOutput,
        BlockEnergy,
        ExtractionReport,
        Held,
        InputUse,
        Measured,
        MeasuredNumber,
        Remark,
        Report,
        RoundingReport,
        RunOptions,
        WeightsOutput,
        WeightsReport,
    )
    from loralathe.errors import *  # noqa: F403
    from loralathe.families import component_name, family_by_id, shorthand
    from loralathe.inspection import (
        AdapterFacts,
        BlockComparison,
        BlockFit,
        BlockModules,
        CheckpointFacts,
        Comparison,
        Fitting,
        Inspection,
        Norm,
        Part,
        Stack,
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
    from loralathe.likeness import Card
    from loralathe.progress import *  # noqa: F403
    from loralathe.rounded import fixed, percentage, points, signed, signed_points
    from loralathe.strengths import AdapterUse, parse_number, parse_size, parse_whole, tag_text
    from loralathe.studies import BlockReport, GridResult, bar_chart
    from loralathe.studies.analyzer import bar
    from loralathe.studies.cures.report import CureReport
    from loralathe.studies.everywhere import EverywhereReport
    from loralathe.studies.over_seeds import OverSeeds
    from loralathe.studies.plan import GridPlan
    from loralathe.studies.segments.report import SegmentsReport
    from loralathe.studies.soups.report import SoupReport
    from loralathe.studies.tuning.report import TuneReport
    from loralathe.studies.weights import BlockWeight, WeightStudy
    from loralathe.tensorfiles import in_memory, read_text, write_text, write_whole
    from loralathe.verification import BlockCheck, Verification
    from loralathe.version import __version__
    from loralathe.words import LANGUAGES, Catalogue, read_catalogue, read_page

    __all__ = [
        "BUCKETS",
        "LANGUAGES",
        "AdapterCoverage",
        "AdapterFacts",
        "AdapterOutput",
        "AdapterUse",
        "BlockCheck",
        "BlockComparison",
        "BlockEnergy",
        "BlockFit",
        "BlockModules",
        "BlockReport",
        "BlockWeight",
        "Card",
        "Catalogue",
        "CheckpointFacts",
        "Comparison",
        "CureReport",
        "EverywhereReport",
        "ExtractOptions",
        "ExtractionReport",
        "Fitting",
        "GridPlan",
        "GridResult",
        "Held",
        "InputUse",
        "Inspection",
        "Measured",
        "MeasuredNumber",
        "Norm",
        "OverSeeds",
        "Part",
        "Recipe",
        "Remark",
        "Report",
        "RoundingReport",
        "RunOptions",
        "Save",
        "SegmentsReport",
        "SoupReport",
        "Stack",
        "TuneReport",
        "Verification",
        "WeightStudy",
        "WeightsOutput",
        "WeightsReport",
        "__version__",
        "as_flag",
        "bar",
        "bar_chart",
        "command_for",
        "command_line",
        "component_name",
        "family_by_id",
        "fixed",
        "in_memory",
        "label_of_kind",
        "make_recipe",
        "parse_number",
        "parse_size",
        "parse_whole",
        "percentage",
        "points",
        "quoted",
        "read_catalogue",
        "read_page",
        "read_recipe",
        "read_text",
        "recipe_text",
        "shorthand",
        "signed",
        "signed_points",
        "tag_text",
        "unused_names",
        "write_text",
        "write_whole",
    ]  # fmt: skip
    __all__ += errors.__all__
    __all__ += bases.__all__
    __all__ += config.__all__
    __all__ += cures.__all__
    __all__ += estimates.__all__
    __all__ += files.__all__
    __all__ += given.__all__
    __all__ += identity.__all__
    __all__ += live.__all__
    __all__ += look.__all__
    __all__ += loras.__all__
    __all__ += names.__all__
    __all__ += pictures.__all__
    __all__ += programs.__all__
    __all__ += progress.__all__
    __all__ += segmenting.__all__
    __all__ += settings.__all__
    __all__ += soups.__all__
    __all__ += sweeps.__all__
    __all__ += tuning.__all__
    __all__ += transfers.__all__

_HOMES = {
    "adapters": ("label_of_kind",),
    "commands": ("as_flag", "command_for", "command_line", "quoted"),
    "engine": (
        "BUCKETS", "AdapterCoverage", "AdapterOutput", "BlockEnergy", "ExtractionReport", "Held",
        "InputUse", "Measured", "MeasuredNumber", "Remark", "Report", "RoundingReport", "RunOptions",
        "WeightsOutput", "WeightsReport",
    ),
    "families": ("component_name", "family_by_id", "shorthand"),
    "inspection": (
        "AdapterFacts", "BlockComparison", "BlockFit", "BlockModules", "CheckpointFacts", "Comparison",
        "Fitting", "Inspection", "Norm", "Part", "Stack",
    ),
    "language": (
        "ExtractOptions", "Recipe", "Save", "make_recipe", "read_recipe", "recipe_text", "unused_names",
    ),
    "likeness": ("Card",),
    "rounded": ("fixed", "percentage", "points", "signed", "signed_points"),
    "strengths": ("AdapterUse", "parse_number", "parse_size", "parse_whole", "tag_text"),
    "studies": ("BlockReport", "GridResult", "bar_chart"),
    "studies.analyzer": ("bar",),
    "studies.cures.report": ("CureReport",),
    "studies.everywhere": ("EverywhereReport",),
    "studies.over_seeds": ("OverSeeds",),
    "studies.plan": ("GridPlan",),
    "studies.segments.report": ("SegmentsReport",),
    "studies.soups.report": ("SoupReport",),
    "studies.tuning.report": ("TuneReport",),
    "studies.weights": ("BlockWeight", "WeightStudy"),
    "tensorfiles": ("in_memory", "read_text", "write_text", "write_whole"),
    "verification": ("BlockCheck", "Verification"),
    "version": ("__version__",),
    "words": ("LANGUAGES", "Catalogue", "read_catalogue", "read_page"),
}  # fmt: skip
_OPEN = (
    "errors",
    "progress",
    "api.look",
    "api.names",
    "api.files",
    "api.recipe_files",
    "api.pictures",
    "api.settings",
    "api.config",
    "api.cures",
    "api.estimates",
    "api.loras",
    "api.segmenting",
    "api.tuning",
    "api.soups",
    "api.sweeps",
    "api.bases",
    "api.transfers",
    "api.identity",
    "api.live",
    "api.given",
    "api.programs",
)
"""Modules that give all names of their `__all__`."""
__getattr__ = lazy_names(__name__, _HOMES, _OPEN)


def __dir__() -> list[str]:
    import loralathe

    return sorted({*globals(), *loralathe.__all__})
