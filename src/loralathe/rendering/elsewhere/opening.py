"""What a `LocalRenderer` is made with, as data: another process makes the same one from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from loralathe.progress import Progress
from loralathe.rendering.loading import PartFiles
from loralathe.rendering.runtime import Presets

if TYPE_CHECKING:
    from loralathe.rendering.local import LocalRenderer
    from loralathe.rendering.model_cache import WeightsInMemory


@dataclass(frozen=True)
class Opening:
    """The fields are those of `LocalRenderer`, which says what they mean."""

    device: str = "auto"
    dtype: Literal["fp32", "fp16", "bf16"] | None = None
    lora_dirs: tuple[str, ...] = ()
    batch_size: int | None = None
    low_vram: bool = False
    presets: Presets = field(default_factory=Presets)
    prediction: Literal["epsilon", "v_prediction"] | None = None
    allow_unmatched: bool = False
    hashes: bool = False
    files: PartFiles = field(default_factory=PartFiles)

    def __post_init__(self) -> None:
        one = self.presets  # tables that cannot be changed cannot be sent to another process either
        plain = Presets(dict(one.blocks), dict(one.elements), one.missing_blocks)
        object.__setattr__(self, "presets", plain)

    def renderer(
        self, weights: WeightsInMemory | None = None, progress: Progress | None = None
    ) -> LocalRenderer:
        from loralathe.rendering.local import LocalRenderer

        return LocalRenderer(
            self.device,
            self.dtype,
            self.lora_dirs,
            batch_size=self.batch_size,
            low_vram=self.low_vram,
            progress=progress,
            weights=weights,
            presets=self.presets,
            prediction=self.prediction,
            allow_unmatched=self.allow_unmatched,
            hashes=self.hashes,
            files=self.files,
        )
