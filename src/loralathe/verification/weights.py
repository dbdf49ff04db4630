"""Tensors of a checkpoint: copied ones byte for byte, computed ones against float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from loralathe.engine import RowSlice, Session, TensorPlan, WeightsOutput
from loralathe.language import Name, Node
from loralathe.lowrank import FLOAT_FORMATS
from loralathe.tensorfiles import TensorFile, TensorInfo
from loralathe.verification.facts import NOTHING_ADDED, Added, TensorCheck, summed
from loralathe.verification.linear import Linear, NoReferenceError
from loralathe.verification.reference import EPSILON, Reference, Value, read_rows, ulp
from loralathe.verification.replay import Replay, Replayed

CANCELLED = 1e-12
"""A change so small beside the terms is what float64 leaves of those that cancel."""
PIECE = 4 << 20
"""Bytes compared at once."""


@dataclass(frozen=True)
class WeightsChecker:
    """Checks the tensors of one checkpoint; safe to use from several threads.

    exact: what differs from the engine's own bytes is a finding.
    """

    session: Session
    output: WeightsOutput
    file: TensorFile
    linear: Linear
    replay: Replay
    exact: bool

    def memory(self, tensor: TensorPlan) -> int:
        """Bytes that checking it takes: the engine's own, and rows in float64."""
        return 0 if tensor.action == "copy" else self.replay.memory(tensor.unit) + (32 << 20)

    def check(self, tensor: TensorPlan, block: str) -> TensorCheck:
        """One tensor of the plan. Its name, shape and dtype are in order: the header is checked before."""
        info = self.file.header.tensors[tensor.spec.name]
        if tensor.action == "copy":
            return self._copied(tensor, info, block)
        return self._computed(tensor, info, block)

    def _copied(self, tensor: TensorPlan, info: TensorInfo, block: str) -> TensorCheck:
        primary = tensor.primary
        source = self.session.sources.checkpoints[primary]
        assert tensor.unit.key is not None
        differing = _differing_bytes(self.file, info, source.file, source.tensors[tensor.unit.key])
        problems = []
        if differing:
            problems.append(f"{differing} bytes are not those of '{primary}'")
        if not self._is_the_first(tensor):
            problems.append("it was copied, though the recipe changes it")
        return TensorCheck(
            info.name, block, "copied", info.numel, differing=differing, problems=tuple(problems)
        )

    def _node(self, tensor: TensorPlan) -> Node:
        """What the tensor is: the step's formula, or one file's own tensor."""
        if tensor.expression != self.output.expression:
            return Name(tensor.primary)
        return self.session.recipe.steps[self.output.save.step]

    def _is_the_first(self, tensor: TensorPlan) -> bool:
        """Whether the formulas give the first checkpoint's tensor and nothing else, in every slice."""
        node = self._node(tensor)
        primary = tensor.primary
        try:
            for row_slice in tensor.unit.slices:
                at = self._reference(tensor, row_slice, Replayed())
                leaves = at.leaves(self.linear.parts(node, row_slice.address))
                rest = [leaf for leaf in leaves if leaf != Name(primary)]
                if leaves.get(Name(primary)) != 1.0 or any(at.reaches(leaf) for leaf in rest):
                    return False
        except NoReferenceError:
            return True
        return True

    def _reference(self, tensor: TensorPlan, row_slice: RowSlice, replayed: Replayed) -> Reference:
        return Reference(
            self.session.sources,
            self.linear,
            tensor.unit,
            row_slice,
            tensor.primary,
            lambda call: self.replay.matrices(replayed, row_slice, call),
        )

    def _computed(self, tensor: TensorPlan, info: TensorInfo, block: str) -> TensorCheck:
        replayed = self.replay.run(tensor.unit)
        differing = replayed.differing.get(info.name, 0)
        kind = "computed"
        ulps: float | None = None
        added = NOTHING_ADDED
        problems: list[str] = []
        try:
            if info.dtype not in FLOAT_FORMATS:
                raise NoReferenceError(info.dtype)
            ulps, problems, added = self._errors(tensor, info, replayed)
        except NoReferenceError:
            kind = "replayed"
        if differing and (self.exact or kind == "replayed") and not problems:
            problems.append(f"{differing} of {info.numel} numbers {_how_far(ulps)}")
        return TensorCheck(info.name, block, kind, info.numel, ulps, None, differing, tuple(problems), added)

    def _errors(
        self, tensor: TensorPlan, info: TensorInfo, replayed: Replayed
    ) -> tuple[float, list[str], Added]:
        """The largest error in ulps, what lies beyond the contract (docs/semantics.md §5), what is added."""
        node = self._node(tensor)
        largest, beyond, worst = 0.0, 0, (0.0, "")
        added: list[Added] = []
        for row_slice in tensor.unit.slices:
            reference = self._reference(tensor, row_slice, replayed)
            for start, stop in reference.bands():
                value = reference.value(node, start, stop)
                there = read_rows(self.file.readinto, info, start, stop)
                added.append(_added(value, reference.first_rows(start, stop), there))
                spacing = ulp(value.exact, info.dtype)
                error = (there - value.exact).abs()
                # Where terms cancel, the dtype has places that no fp32 sum of theirs has.
                largest = max(largest, _finite_max(error / spacing.maximum(EPSILON * value.terms)))
                # "Not within" rather than "beyond": NaN is within nothing.
                bad = ~(error <= spacing + value.error)
                if bool(bad.any()):
                    beyond += int(bad.sum())
                    worst = max(worst, _worst(there, value.exact, spacing, bad, start))
        problems = [f"{beyond} of {info.numel} numbers are not what the recipe gives, such as {worst[1]}"]
        return largest, problems if beyond else [], summed(added)


def _added(value: Value, first: torch.Tensor, there: torch.Tensor) -> Added:
    """The sums of some rows; a change that only float64 makes is none."""
    change, lost = value.exact - first, there - value.exact
    energy = float(change.square().sum())
    if energy <= CANCELLED**2 * float(value.terms.square().sum()):
        return Added(lost=float(lost.square().sum()))
    return Added(energy, float((lost * change).sum()), float(lost.square().sum()))


def _how_far(ulps: float | None) -> str:
    if ulps is None:
        return "are not those that this version computes"
    return "differ in the last bit from those that this version computes (another machine or version?)"


def _finite_max(values: torch.Tensor) -> float:
    if not values.numel():
        return 0.0
    found = float(values.max())
    return found if not math.isnan(found) else math.inf


def _worst(
    there: torch.Tensor, exact: torch.Tensor, spacing: torch.Tensor, bad: torch.Tensor, start: int
) -> tuple[float, str]:
    """How many ulps, and where, in words."""
    distance = torch.where(bad, ((there - exact).abs() / spacing).nan_to_num(math.inf), -1.0)
    row, column = divmod(int(distance.argmax()), distance.shape[1])
    ulps = float(distance[row, column])
    found, wanted = float(there[row, column]), float(exact[row, column])
    return ulps, f"{found:.6g} instead of {wanted:.6g} ({ulps:.3g} ulps) in row {start + row}"


def _differing_bytes(file: TensorFile, info: TensorInfo, source: TensorFile, wanted: TensorInfo) -> int:
    differing = 0
    for start in range(0, info.nbytes, PIECE):
        size = min(PIECE, info.nbytes - start)
        one, other = bytearray(size), bytearray(size)
        file.readinto(info, memoryview(one), start)
        source.readinto(wanted, memoryview(other), start)
        if one != other:
            left, right = (torch.frombuffer(data, dtype=torch.uint8) for data in (one, other))
            differing += int((left != right).sum())
    return differing
