"""What the first pass of a budget found, and what each module gets of it.

Singular values stay in memory; the factors wait in a file without a name, which ends with the process, so a
killed run leaves nothing. Directions lie one behind the other: a module given r of them reads r.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from loralathe.engine.extraction import Extracted
from loralathe.engine.report import BudgetReport
from loralathe.engine.units import RowSlice, Unit
from loralathe.errors import MachineError, option
from loralathe.language.expressions import ExtractLeaf
from loralathe.tensorfiles import read_at, tensor_bytes, write_at


@dataclass(frozen=True)
class Surveyed:
    """One module as the first pass saw it.

    found:    without its factors, which lie at `place` in the spool: `depth` rows of up, then of down;
    energies: s² of the directions above the noise, (k,) float64;
    most:     the largest rank allowed;  complete: whether deeper directions are noise or not allowed.
    """

    unit: Unit
    row_slice: RowSlice
    found: Extracted
    energies: Tensor
    most: int
    complete: bool
    place: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.row_slice.rows, self.unit.row_elements


class BudgetSurvey:
    """Surveys and allocations by extraction; a context manager that drops the spool."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._spool: IO[bytes] | None = None
        self._end = 0
        self._lock = threading.Lock()
        self._surveys: dict[ExtractLeaf, dict[str, Surveyed]] = {}
        self._ranks: dict[ExtractLeaf, Mapping[str, int]] = {}
        self.reports: dict[ExtractLeaf, BudgetReport] = {}
        self.depths: dict[tuple[ExtractLeaf, str], int] = {}

    def __enter__(self) -> BudgetSurvey:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    def put(self, leaf: ExtractLeaf, unit: Unit, row_slice: RowSlice, found: Extracted, most: int) -> None:
        """Keep what was found of a module; `most` is the most that its rank may be. From any thread."""
        energies, place = torch.zeros(0, dtype=torch.float64), 0
        if found.matrices is not None:
            up, down = found.matrices
            rows = up.T.contiguous()
            # √S is on both sides, so a direction's s is the product of its lengths.
            energies = rows.double().square().sum(1) * down.double().square().sum(1)
            place = self._write(rows, down)
        depth = self.depths.get((leaf, row_slice.address.name), most)
        complete = found.rank < depth or depth >= most
        kept = replace(found, matrices=None)
        with self._lock:
            self._surveys.setdefault(leaf, {})[row_slice.address.name] = Surveyed(
                unit, row_slice, kept, energies, most, complete, place
            )

    def surveys(self, leaf: ExtractLeaf) -> list[Surveyed]:
        """All modules of an extraction, by name: in an order that threads have no part in."""
        held = self._surveys.get(leaf, {})
        return [held[name] for name in sorted(held)]

    def settle(self, leaf: ExtractLeaf, ranks: Mapping[str, int], report: BudgetReport) -> None:
        """The survey is over: each module's rank, and how the budget was spent."""
        self._ranks[leaf] = ranks
        self.reports[leaf] = report

    def get(self, leaf: ExtractLeaf, row_slice: RowSlice) -> Extracted | None:
        """A module's extraction at the rank that it was given; None for what no survey covers."""
        if leaf not in self._ranks or row_slice.address.name not in self._surveys[leaf]:
            return None
        survey = self._surveys[leaf][row_slice.address.name]
        rank = self._ranks[leaf].get(row_slice.address.name, 0)
        held = len(survey.energies)
        reason = "budget" if rank < held or survey.found.reason == "requested" else survey.found.reason
        if rank == 0:
            return replace(survey.found, reason=reason, kept=0.0)
        kept = min(float(survey.energies[:rank].sum()), survey.found.energy)
        return replace(survey.found, matrices=self._read(survey, rank), reason=reason, kept=kept)

    def _write(self, up: Tensor, down: Tensor) -> int:
        with self._lock:
            if self._spool is None:
                self._spool = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            place = self._end
            self._end += 4 * (up.numel() + down.numel())
        try:
            write_at(self._spool.fileno(), tensor_bytes(up), place)
            write_at(self._spool.fileno(), tensor_bytes(down.contiguous()), place + 4 * up.numel())
        except OSError as error:
            raise MachineError(
                f"the first pass cannot be kept on disk: {error.strerror}",
                where=str(self._folder or tempfile.gettempdir()),
                fix=f"free some space there, or lower {option('rank')}",
            ) from error
        return place

    def _read(self, survey: Surveyed, rank: int) -> tuple[Tensor, Tensor]:
        assert self._spool is not None
        rows, columns = survey.shape
        up, down = torch.empty(rank, rows), torch.empty(rank, columns)
        where = "the factors of the first pass"
        read_at(self._spool.fileno(), tensor_bytes(up), survey.place, where)
        after = survey.place + 4 * rows * len(survey.energies)
        read_at(self._spool.fileno(), tensor_bytes(down), after, where)
        return up.T.contiguous(), down
