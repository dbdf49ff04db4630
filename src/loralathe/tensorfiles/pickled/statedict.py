"""Which of the dictionaries in a pickle is the model: the plain one, or one inside training wrappers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loralathe.tensorfiles.pickled.values import Fault, TensorRef

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "params")
"""Names under which trainers keep the model among their own things; web UIs look for the first."""
EMBEDDING = "string_to_param"
"""Under this name the web UIs' textual inversion keeps its vectors, by placeholder."""
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class StateDict:
    """tensors: by name;  left_out: what is beside them;  lost: how many tensors are in that."""

    tensors: Mapping[str, TensorRef]
    left_out: tuple[str, ...]
    lost: int


def find_state_dict(value: object, tensors_in_file: int) -> StateDict:
    """The model's tensors; Fault when the pickle is no dictionary of them."""
    left_out: list[str] = []
    held = value if isinstance(value, dict) else {}
    for _ in range(_DEEPEST):
        inner = next((name for name in WRAPPERS if isinstance(held.get(name), dict)), None)
        if inner is None:
            break
        left_out += (name for name in held if name != inner)
        held = held[inner]
    found = {name: ref for name, ref in held.items() if isinstance(ref, TensorRef)}
    left_out += (name for name in held if name not in found)
    if not found and EMBEDDING in held:
        raise Fault("a textual-inversion embedding, not a model", "give a checkpoint or a LoRA")
    if not found:
        raise Fault("the pickle is no dictionary of tensors", _PLAIN)
    lost = tensors_in_file - len({id(ref) for ref in found.values()})
    return StateDict(found, tuple(left_out), max(lost, 0))


_PLAIN = "a model file holds tensors by name; save its state_dict()"
