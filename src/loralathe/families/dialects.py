"""Adapter files: how a tensor's key splits into a module and a part, and what kind that makes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from loralathe.families.recognition import TensorLike

# What stands after the module's name, and the kind of adapter it shows ('' = shows nothing alone).
PARTS: Mapping[str, str] = {
    **dict.fromkeys(("lora_up.weight", "lora_down.weight", "lora_mid.weight"), "lora"),
    **dict.fromkeys(("lora_A.weight", "lora_B.weight", "lora_A", "lora_B"), "lora"),
    **dict.fromkeys(("lora.up.weight", "lora.down.weight"), "lora"),
    **dict.fromkeys(("lora_linear_layer.up.weight", "lora_linear_layer.down.weight"), "lora"),
    **dict.fromkeys(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"), "loha"),
    **dict.fromkeys(("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_t1"), "lokr"),
    **dict.fromkeys(("lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"), "lokr"),
    **dict.fromkeys(("diff", "diff_b", "set_weight"), "full"),
    **dict.fromkeys(("w_norm", "b_norm"), "norm"),
    **dict.fromkeys(("oft_blocks", "oft_diag"), "oft"),
    **dict.fromkeys(("a1.weight", "a2.weight", "b1.weight", "b2.weight"), "glora"),
    "on_input": "ia3",
    "dora_scale": "",
    "lora_magnitude_vector": "",
    "alpha": "",
    "scale": "",
    "scalar": "",
    "rescale": "",
    "bm": "",
    "reshape_weight": "",
    **dict.fromkeys(("bias_indices", "bias_values", "bias_size"), ""),
}
TUCKER = frozenset({"lora_mid.weight", "hada_t1", "hada_t2", "lokr_t1", "lokr_t2"})
DORA = frozenset({"dora_scale", "lora_magnitude_vector"})
PROCESSOR_ENDS = ("_lora.up.weight", "_lora.down.weight")


def split_adapter_key(key: str) -> tuple[str, str] | None:
    """`lora_unet_x.lora_up.weight` → ('lora_unet_x', 'lora_up.weight'); None if adapters have no such key.

    PEFT's adapter name is taken out (`lora_A.default.weight` is `lora_A.weight`), and the oldest
    diffusers spelling `to_q_lora.up.weight` reads as module `to_q`, part `lora.up.weight`.
    """
    for end in PROCESSOR_ENDS:
        if key.endswith(end):
            return key[: -len(end)], end[1:]
    tokens = key.split(".")
    for count in (3, 2, 1):
        if len(tokens) <= count:
            continue
        part = ".".join(tokens[-count:])
        if part in PARTS:
            return ".".join(tokens[:-count]), part
        if count > 1 and tokens[-count] in ("lora_A", "lora_B", "lora_magnitude_vector"):
            ending = ".weight" if tokens[-count] != "lora_magnitude_vector" else ""
            return ".".join(tokens[:-count]), tokens[-count] + ending
    return None


def shows_adapter(keys: Iterable[str]) -> bool:
    """Is there a key that shows a kind of adapter by itself? No tensor of a supported checkpoint does."""
    return any(split is not None and PARTS[split[1]] for split in map(split_adapter_key, keys))


@dataclass(frozen=True, slots=True)
class RawModules:
    """An adapter's tensors by module: raw module name → part → key; and the keys that are no part of any."""

    parts: Mapping[str, Mapping[str, str]]
    unrecognized_keys: tuple[str, ...]


def group_by_module(keys: Collection[str]) -> RawModules:
    """Group an adapter's keys by the module they belong to, in the order of the file."""
    grouped: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    for key in keys:
        split = split_adapter_key(key)
        if split is None:
            unknown.append(key)
        else:
            grouped.setdefault(split[0], {})[split[1]] = key
    unrecognized_keys: list[str] = []
    for key in unknown:  # (IA)³ keeps its vector under a bare `weight`
        module, _, part = key.rpartition(".")
        if part == "weight" and "on_input" in grouped.get(module, ()):
            grouped[module]["weight"] = key
        else:
            unrecognized_keys.append(key)
    return RawModules(grouped, tuple(unrecognized_keys))


def kind_of_module(parts: Mapping[str, str], tensors: Mapping[str, TensorLike]) -> str:
    """Kind of one module from the parts it has.

    'lora', 'locon' (a convolution with a kernel above 1x1), 'loha', 'lokr', 'full', 'norm', 'oft',
    'boft', 'glora', 'ia3', 'unknown'; with '-tucker' for a core tensor and '+dora' for a magnitude.
    """
    kind = next((PARTS[part] for part in parts if PARTS.get(part)), "unknown")
    if kind == "lora" and _has_kernel(parts, tensors):
        kind = "locon"
    if kind == "oft" and len(_shape("oft_blocks", parts, tensors)) == 4:
        kind = "boft"
    if not TUCKER.isdisjoint(parts):
        kind += "-tucker"
    return kind if DORA.isdisjoint(parts) else kind + "+dora"


def _has_kernel(parts: Mapping[str, str], tensors: Mapping[str, TensorLike]) -> bool:
    wide = ("lora_down.weight", "lora_A.weight", "lora.down.weight", "lora_mid.weight")
    return any(size > 1 for part in wide for size in _shape(part, parts, tensors)[2:])


def _shape(part: str, parts: Mapping[str, str], tensors: Mapping[str, TensorLike]) -> tuple[int, ...]:
    return tensors[parts[part]].shape if part in parts else ()
