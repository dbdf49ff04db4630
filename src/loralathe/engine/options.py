"""How a run is carried out, as opposed to what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from loralathe.errors import InputError, option

DTYPES: Mapping[str, str | None] = {"source": None, "fp16": "F16", "bf16": "BF16", "fp32": "F32"}
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class RunOptions:
    """Choices that hold for a whole run; InputError for a value that has no meaning.

    device:          where extractions are decomposed; asked for when a recipe is opened.
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

    def __post_init__(self) -> None:
        if self.threads is not None and not _is_whole(self.threads, least=1):
            raise InputError(
                f"threads = {self.threads!r} cannot be the number of threads",
                fix="give 1 or more, or None for one on every core",
                about="threads",
            )
        if not _is_whole(self.memory, least=MIB):
            raise InputError(
                f"memory = {self.memory!r} cannot be the memory limit",
                fix=f"give bytes, at least {MIB} (1 MiB)",
            )
        # True == 1, but nobody who writes True means the weight 1.
        if isinstance(self.missing_blocks, bool) or self.missing_blocks not in (None, 0, 1):
            raise InputError(
                f"missing_blocks = {self.missing_blocks!r} cannot be the weight of missing blocks",
                fix="give 0 (as LoRA Block Weight), 1 (as kohya), or None, which makes them an error",
            )


def _is_whole(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_device(name: str, fix: str | None = None, *, float64: bool = True) -> None:
    """InputError for a device that is not here, or lacks float64 where that is asked for.

    fix: what to give instead. `cpu` imports no torch.
    """
    if name == "cpu":
        return
    import torch

    try:
        # float64, which Gram matrices need and Apple's GPUs lack. Doubled, because a GPU too old or too new
        # for this torch can be given memory and fails when it is to add. Read back: `meta` holds nothing.
        dtype = torch.float64 if float64 else torch.float32
        (2 * torch.ones(1, dtype=dtype, device=name)).item()
    # A torch without CUDA asserts, an unknown name or a missing GPU is a RuntimeError.
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise InputError(
            f"the device '{name}' cannot be used",
            where=str(error).splitlines()[0].split(". ")[0],
            fix=fix
            or f"leave {option('device')} out, or give cuda, cuda:1 or another "
            "with float64 that torch knows here",
        ) from None
