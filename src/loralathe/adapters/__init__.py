"""LoRA files of every kind and dialect: read, fitted to a family, turned into deltas, written.

`open_adapter` reads the file, `load_factors` and `delta` give the numbers, `kohya_tensors` turns factors into
a file again.
"""

from loralathe.adapters.adapter import (
    Adapter,
    open_adapter,
    shows_dora,
)
from loralathe.adapters.factors import (
    delta,
    load_factors,
    load_magnitudes,
)
from loralathe.adapters.fit import (
    Fit,
    Mismatch,
    check_against,
    require_fit,
    weight_shape,
)
from loralathe.adapters.modules import (
    AdapterModule,
)
from loralathe.adapters.write import (
    AdapterFormat,
    NamedTensor,
    kohya_specs,
    kohya_tensors,
)

__all__ = [
    "Adapter",
    "AdapterFormat",
    "AdapterModule",
    "Fit",
    "Mismatch",
    "NamedTensor",
    "check_against",
    "delta",
    "kohya_specs",
    "kohya_tensors",
    "load_factors",
    "load_magnitudes",
    "open_adapter",
    "require_fit",
    "shows_dora",
    "weight_shape",
]
