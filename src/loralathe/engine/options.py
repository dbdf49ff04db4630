"""How a run is carried out, as opposed to what it computes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DTYPES: Mapping[str, str | None] = {"source": None, "fp16": "F16", "bf16": "BF16", "fp32": "F32"}
GIB = 1 << 30


@dataclass(frozen=True)
class RunOptions:
    """Choices that hold for a whole run.

    threads:         worker threads, None = one for each core this process may use.
    memory:          bytes that may be in flight at once; a single larger layer is refused at planning.
    missing_blocks:  weight of modules in blocks that a list lacks; None = an error.
    presets:         block lists by name, on top of the recipe's own.
    hash_inputs:     record content hashes of the inputs in the outputs.
    """

    device: str = "cpu"
    threads: int | None = None
    memory: int = GIB
    force: bool = False
    allow_unmatched: bool = False
    missing_blocks: Literal[0, 1] | None = None
    check_finite: bool = False
    hash_inputs: bool = True
    presets: Mapping[str, str] = field(default_factory=dict)

    def worker_count(self) -> int:
        if self.threads is not None:
            return max(1, self.threads)
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
