"""What other programs do with an adapter file: which modules they use, leave out in silence, or misread.

The rules are data: `PROGRAMS` says which names, kinds and words a program knows, `RULES` what it gets wrong.
The names of a family's network are in the family (`families/loaders.py`). Sources: the programs' own loaders
(ComfyUI a125cd84, Forge dfdcbab6, diffusers 0.42, sd-scripts 48d368fa); docs/loras.md says it in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from loralathe.adapters.adapter import Adapter
from loralathe.adapters.dialects import WRITTEN
from loralathe.adapters.keys import group_by_module
from loralathe.adapters.kinds import kinds_named, label_of_kind
from loralathe.adapters.module import AdapterModule
from loralathe.families import BIAS, Component, Family
from loralathe.families.layers import flat

ENCODER_LAYER = re.compile(r"text_model\.encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])")
"""The layers of CLIP that trainers change, and tables of programs have."""
T5_LAYERS = "encoder.block."
EVERY = ("lora", "locon", "loha", "lokr", "full", "norm", "glora", "oft", "boft")
USED, IGNORED, WRONG = "used", "ignored", "wrong"


@dataclass(frozen=True)
class Seen:
    """A module of a file with all that rules ask of it."""

    file: FileFacts
    module: AdapterModule
    keys: Mapping[str, str] = field(hash=False)

    @property
    def component(self) -> Component:
        return self.file.family.component(self.module.name.partition(".")[0])

    @property
    def path(self) -> str:
        return self.module.name.removesuffix(BIAS).partition(".")[2]

    @property
    def raw_name(self) -> str:
        return self.module.raw_name

    @property
    def kinds(self) -> tuple[str, ...]:
        own, beside = kinds_named(self.module.kind)
        return tuple(kind.id for kind in (own, beside) if kind is not None)


@dataclass(frozen=True)
class FileFacts:
    """What rules ask of the whole file."""

    adapter: Adapter
    parts: Mapping[str, Mapping[str, str]]

    @property
    def family(self) -> Family:
        return self.adapter.family

    @cached_property
    def modules(self) -> tuple[AdapterModule, ...]:
        """As the file has them: the row slices of a fused layer one by one."""
        found = (
            [piece for _, piece in module.pieces] or [module] for module in self.adapter.modules.values()
        )
        return tuple(module for group in found for module in group)

    @cached_property
    def stray(self) -> tuple[str, ...]:
        """Keys of no module, and the words for prompts in it."""
        bundled = (key for keys in self.adapter.embeddings.values() for key in keys)
        return (*self.adapter.unmatched, *bundled)

    @cached_property
    def alphas(self) -> frozenset[tuple[float, int]]:
        """(scale, rank) of its modules: one where every module has the same."""
        return frozenset((module.scale, module.rank) for module in self.modules)

    def seen(self) -> list[Seen]:
        return [Seen(self, module, self.parts[module.raw_name]) for module in self.modules]


@dataclass(frozen=True)
class Program:
    """A program that loads adapters.

    finds:    whether it looks for a module under its name
    kinds:    that it applies;  words: how tensors of a LoRA may be called, None: as any dialect does
    most:     more stray keys than this, and it refuses the file; None: it loads the rest
    to:       the dialect that it reads best
    """

    id: str
    label: str
    finds: Callable[[Seen], bool]
    kinds: Collection[str]
    words: Collection[str] | None
    most: int | None
    to: str


@dataclass(frozen=True)
class Rule:
    """What a program takes otherwise than the trainer meant it. applies: to a module that it finds."""

    programs: tuple[str, ...]
    verdict: str
    why: str
    applies: Callable[[Seen], bool]
    bake: bool = False


@dataclass(frozen=True)
class Finding:
    """Modules that a program leaves out or misreads, for one reason."""

    verdict: str
    why: str
    modules: tuple[str, ...]
    bake: bool = False


@dataclass(frozen=True)
class Loading:
    """What a program makes of an adapter file.

    modules:  of the file;  used: those that it applies as they are meant
    refused:  why it loads nothing at all, None where it loads
    findings: modules that it leaves out or misreads
    mended:   how many modules it would find after a conversion to the dialect that it reads best
    """

    program: Program
    modules: int
    used: int
    refused: str | None
    findings: tuple[Finding, ...]
    mended: int

    @property
    def ok(self) -> bool:
        return self.refused is None and not self.findings

    @property
    def needs_base(self) -> bool:
        return any(finding.bake for finding in self.findings)


def denoiser_names(family: Family, path: str, program: str) -> set[str]:
    """Every name under which a program looks for a layer of the U-Net or transformer."""
    starts = family.loaders[program]
    others = [
        other for other in family.component("unet").other_paths(path) if not other.startswith(starts.lacks)
    ]
    unet = family.denoiser.kind == "U-Net"
    found = {_spelled(start, path) for start in starts.original}
    for start in starts.diffusers:
        for other in others:
            old = program == "comfyui" and unet and not start.endswith("_")
            found.add(_spelled(start, _processor(other) if old else other))
    return found


def _spelled(start: str, path: str) -> str:
    return start + (flat(path) if start.endswith("_") else path)


def _processor(path: str) -> str:
    """ComfyUI knows dotted names of attention by their oldest spelling alone."""
    return re.sub(r"\.to_(q|k|v|out)(\.0)?$", r".processor.to_\1", path)


def _found_by_comfyui(seen: Seen) -> bool:
    component, raw, path = seen.component, seen.raw_name, seen.path
    if component.structure:
        return raw in denoiser_names(seen.file.family, seen.path, "comfyui")
    if raw.startswith("text_encoders."):
        return True
    trained = ENCODER_LAYER.fullmatch(path) is not None
    projection = path == "text_projection" and raw.startswith(("lora_te1_", "lora_te2_"))
    if "." in raw:
        return trained and raw == f"{component.folder}.{path}"
    return trained or projection or path.startswith(T5_LAYERS)


def _found_by_diffusers(seen: Seen) -> bool:
    component, raw, path = seen.component, seen.raw_name, seen.path
    if component.structure:
        raw = raw.replace(".processor.", ".")
        names = denoiser_names(seen.file.family, seen.path, "diffusers")
        return raw in names or (raw.endswith(".to_out") and f"{raw}.0" in names)
    if path.startswith(T5_LAYERS):
        return False
    if "." in raw:
        return raw.startswith(f"{component.folder}.")
    return ENCODER_LAYER.fullmatch(path) is not None


def _found_by_kohya(seen: Seen) -> bool:
    component, raw = seen.component, seen.raw_name
    if component.structure:
        return raw in denoiser_names(seen.file.family, seen.path, "kohya")
    trained = ENCODER_LAYER.fullmatch(seen.path) or seen.path.startswith(T5_LAYERS)
    return bool(trained and component.kohya) and raw == f"{component.kohya[0]}{flat(seen.path)}"


LORA = ("lora", "locon")
KOHYA_PARTS = ("lora_up.weight", "lora_down.weight", "alpha")
PROGRAMS: Mapping[str, Program] = {
    program.id: program
    for program in (
        Program("comfyui", "ComfyUI", _found_by_comfyui, EVERY, None, None, "kohya"),
        Program("forge", "Forge", _found_by_comfyui, EVERY[:-2], None, 12, "kohya"),
        Program("diffusers", "diffusers", _found_by_diffusers, LORA, None, 0, "diffusers"),
        Program("kohya", "sd-scripts", _found_by_kohya, LORA, KOHYA_PARTS, None, "kohya"),
    )
}  # fmt: skip


def _dora_of_outputs(seen: Seen) -> bool:
    info = seen.module.tensors.get("dora_scale")
    return info is not None and (*info.shape, 1)[0] == seen.module.shape[0] != 1


def _alpha_is_noted(seen: Seen) -> bool:
    """Its scale stands in the metadata or in a config beside the file, and in no tensor."""
    return "alpha" not in seen.keys and seen.module.scale != 1


def _is_kohya(seen: Seen) -> bool:
    return "lora_down.weight" in seen.keys and "." not in seen.raw_name


def _mixed_attention(seen: Seen) -> bool:
    """diffusers 0.42 files the alpha of attention under a name that matches nothing: the commonest counts."""
    unet = seen.file.family.denoiser.kind == "U-Net"
    attention = re.search(r"attn\d?\.to_|self_attn\.", seen.path) is not None
    return unet and attention and _is_kohya(seen) and len({alpha for alpha, _ in seen.file.alphas}) > 1


def _alone_in_open_clip(seen: Seen) -> bool:
    """A1111 and Forge use an attention of OpenCLIP only if q, k, v and out are there."""
    together = seen.file.family.read_together(seen.module.name)
    return bool(together) and any(name not in seen.file.adapter.modules for name in together)


def _outside(seen: Seen) -> bool:
    """A layer that trainers leave alone: embedders, the first and the last layer, projections of texts."""
    return seen.file.family.module(seen.module.name).scope == "outside"


RULES: tuple[Rule, ...] = (
    Rule(
        ("kohya",), IGNORED, "a layer that it does not train",
        lambda seen: _outside(seen) and seen.file.family.denoiser.kind == "U-Net",
    ),
    Rule(
        ("diffusers",), IGNORED, "a layer outside of the blocks, under kohya's name",
        lambda seen: _outside(seen) and _is_kohya(seen) and seen.file.family.denoiser.kind != "U-Net",
    ),
    Rule(
        ("diffusers", "kohya"), IGNORED, "a core (CP, Tucker), which it does not know",
        lambda seen: "mid" in seen.module.tensors,
    ),
    Rule(
        ("comfyui", "forge", "kohya"), WRONG, "alpha stands in the metadata, which it does not read",
        _alpha_is_noted,
    ),
    Rule(("comfyui", "forge"), WRONG, "DoRA of outputs, divided by other norms", _dora_of_outputs, True),
    Rule(
        ("comfyui", "forge"), WRONG, "DoRA of PEFT, whose magnitudes it does not read",
        lambda seen: "lora_magnitude_vector" in seen.module.tensors, True,
    ),
    Rule(
        ("diffusers", "kohya"), WRONG, "DoRA, read as if it were a LoRA",
        lambda seen: "dora_scale" in seen.module.tensors, True,
    ),
    Rule(("comfyui",), WRONG, "OFT and BOFT, which count a strength other than 1 twice",
         lambda seen: seen.kinds[:1] in (("oft",), ("boft",)), True),
    Rule(
        ("diffusers",), WRONG, "alpha / rank differs between modules, and attention gets the commonest",
        _mixed_attention,
    ),
    Rule(("forge",), IGNORED, "an attention of OpenCLIP without all of q, k, v and out", _alone_in_open_clip),
    Rule(
        ("comfyui", "forge", "kohya"), IGNORED, "PEFT's name of the adapter in the keys",
        lambda seen: any(
            key != f"{seen.raw_name}.{part}" and ".default" not in key and ".lora_" in key
            for part, key in seen.keys.items()
        ),
    ),
)  # fmt: skip


def check_loading(adapter: Adapter, program: Program) -> Loading:
    """What a program makes of an adapter, module by module; only headers and alphas are read."""
    file = FileFacts(adapter, group_by_module(adapter.file.header.tensors.keys()).parts)
    everything = file.seen()
    verdicts: dict[tuple[str, str, bool], list[str]] = {}
    used = 0
    for seen in everything:
        verdict = _verdict(seen, program)
        if verdict is None:
            used += 1
        else:
            verdicts.setdefault(verdict, []).append(seen.raw_name)
    if file.stray and program.most is None:
        verdicts.setdefault((IGNORED, "parts of no module that it knows", False), []).extend(file.stray)
    findings = tuple(
        Finding(verdict, why, tuple(names), bake) for (verdict, why, bake), names in verdicts.items()
    )
    refused = _refusal(file, program, findings)
    used = 0 if refused else used
    return Loading(program, len(everything), used, refused, findings, _mended(everything, program))


def _mended(everything: Sequence[Seen], program: Program) -> int:
    """Modules of which a program would find all names that the dialect gives them."""
    dialect = WRITTEN[program.to]
    count = 0
    for seen in everything:
        names = dialect.names(seen.component, seen.path)
        renamed = (replace(seen, module=replace(seen.module, raw_name=name)) for name, _ in names)
        count += bool(names) and all(map(program.finds, renamed))
    return count


def _verdict(seen: Seen, program: Program) -> tuple[str, str, bool] | None:
    """(verdict, why, whether only the base mends it), None for a module that is used as it is meant."""
    if not program.finds(seen):
        return IGNORED, "a name that it does not look for", False
    kind = seen.kinds[0] if seen.kinds else ""
    if seen.module.name.endswith(BIAS) and program.kinds is EVERY:
        return None
    if kind not in program.kinds:
        return IGNORED, f"of the kind {label_of_kind(seen.module.kind)}, which it does not know", True
    if program.words is not None and not set(seen.keys) <= {*program.words, "dora_scale"}:
        return IGNORED, "tensors that it calls otherwise", False
    for rule in RULES:
        if program.id in rule.programs and rule.applies(seen):
            return rule.verdict, rule.why, rule.bake
    return None


def _refusal(file: FileFacts, program: Program, findings: Sequence[Finding]) -> str | None:
    """Why a program does not load the file at all."""
    if program.most is None:
        return None
    ignored = {name for finding in findings if finding.verdict == IGNORED for name in finding.modules}
    keys = sum(len(file.parts.get(name, ())) for name in ignored) + len(file.stray)
    if keys <= program.most:
        return None
    if program.id == "diffusers" and not _diffusers_refuses(file, ignored):
        return None
    return f"it knows nothing of {keys} tensors, and refuses the whole file"


def _diffusers_refuses(file: FileFacts, ignored: set[str]) -> bool:
    """Names of kohya must be all of them: other keys, and other tensors, are an error."""
    kohya = any("." not in name for name in file.parts)
    t5 = {module.raw_name for module in file.modules if module.name.startswith("te3.")}
    return bool(file.stray) or (kohya and bool(ignored - t5))
