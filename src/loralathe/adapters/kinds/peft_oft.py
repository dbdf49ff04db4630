"""PEFT's OFT: groups of a layer's inputs are turned, by vectors that hold half of a skew matrix each.

    oft_R.weight (n, b(b − 1)/2)    n·b = in·k·k;  with `block_share` n is 1, and one block turns all groups

The numbers of a row are those above the diagonal of Q, whose other half is their negative. How Q makes R, the
adapter_config.json tells (`peft/tuners/oft/layer.py`), and the two ways turn in opposite directions:

    use_cayley_neumann     I + 2Q + 2Q² + … + Qᵗ, t = num_cayley_neumann_terms − 1
    else                   (I − Q)(I + Q)⁻¹
    coft                   before that Q is shortened to eps / √n where it is longer

The inputs x of a group become x·R, so the columns of the weight become W·Rᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from loralathe.adapters.kind import ANY, DeltaShape, Kind, MakeChange, ModuleData, ModuleHeader, Weight
from loralathe.errors import InputError

if TYPE_CHECKING:
    import torch

VECTORS = "oft_R"
MOST_TERMS = 64
SETTINGS = ("use_cayley_neumann", "num_cayley_neumann_terms", "coft", "eps")


def delta_shape(header: ModuleHeader) -> DeltaShape:
    """The number of inputs, unless one block may be shared by all; InputError for rows of no triangle."""
    header.check_missing([] if VECTORS in header.tensors else ["oft_R.weight"])
    info = header.tensors[VECTORS]
    terms = header.settings["num_cayley_neumann_terms"]
    if not 1 <= terms <= MOST_TERMS or terms % 1:
        raise InputError(
            f"num_cayley_neumann_terms is {terms:g}; it should be a whole number from 1 to {MOST_TERMS}",
            where=header.place(info),
            fix="the adapter_config.json beside the file is damaged, or made to harm",
        )
    whole = len(info.shape) == 2 and _size(info.shape[1]) * (_size(info.shape[1]) - 1) == 2 * info.shape[1]
    header.check_axes(info, whole, "(blocks, size·(size − 1)/2)")
    blocks, width = info.shape[0], info.shape[0] * _size(info.shape[1])
    inputs = (ANY,) if blocks == 1 else header.unflattened(info, width)
    return DeltaShape((ANY, *inputs), width, None)


def _size(elements: int) -> int:
    """b of b(b − 1)/2."""
    return (1 + math.isqrt(1 + 8 * elements)) // 2


def change(module: ModuleData, weight: Weight) -> MakeChange:
    """W·Rᵀ − W, row by row."""
    vectors = module.read(VECTORS)
    size = _size(vectors.shape[1])
    turns = _turns(vectors, size, module.settings)
    if math.prod(weight.shape[1:]) % (len(turns) * size):
        raise InputError(
            f"blocks of {size} do not fit a layer of {list(weight.shape)}",
            where=f"tensor '{module.tensors[VECTORS].name}'",
            fix="the adapter was made for another model, or the file is damaged",
        )

    def make(values: torch.Tensor, rows: range) -> torch.Tensor:
        groups = values.reshape(-1, len(turns), size).transpose(0, 1)
        turned: torch.Tensor = groups @ turns.mT
        return turned.transpose(0, 1).reshape(values.shape) - values

    return make


def _turns(vectors: torch.Tensor, size: int, settings: Mapping[str, float]) -> torch.Tensor:
    """R of every block, (n, b, b), computed in float64."""
    import torch

    skew = torch.zeros(len(vectors), size, size, dtype=torch.float64)
    above = torch.triu_indices(size, size, 1)
    skew[:, above[0], above[1]] = vectors.double()
    skew = skew - skew.mT
    if settings["coft"]:
        most, norms = settings["eps"] / math.sqrt(len(skew)), skew.norm(dim=(1, 2), keepdim=True)
        skew = torch.where(norms <= most, skew, skew * (most / norms))
    unit = torch.eye(size, dtype=torch.float64)
    if settings["use_cayley_neumann"]:
        return _series(skew, unit, int(settings["num_cayley_neumann_terms"])).to(vectors.dtype)
    turns: torch.Tensor = torch.linalg.solve(unit + skew, unit - skew)
    return turns.to(vectors.dtype)


def _series(skew: torch.Tensor, unit: torch.Tensor, terms: int) -> torch.Tensor:
    """The first terms of (I + Q)(I − Q)⁻¹ as PEFT adds them up: of three or more, the last counts half."""
    total, power = unit.expand_as(skew).clone(), skew
    last = max(terms, 4) - 1 if terms > 2 else terms - 1
    for number in range(1, last + 1):
        total += power if number == last and terms > 2 else 2 * power
        power = power @ skew
    return total


KINDS = (
    Kind("peft_oft", "OFT (PEFT)", {"oft_R.weight": VECTORS}, delta_shape, change=change, settings=SETTINGS),
)
