"""The three epochs of `hina` that tests keep: their order, and what a cut costs their average."""

from __future__ import annotations

from pathlib import Path

import loralathe
from loralathe.adapters.epochs import order_of_epochs
from loralathe.tensorfiles import read_header

EPOCHS = sorted((Path(__file__).parents[1] / "data" / "epochs").glob("hina-*.safetensors"))


def test_their_metadata_tells_the_order() -> None:
    assert [path.stem for path in EPOCHS] == ["hina-000080", "hina-000100", "hina-000120"]
    metadata = [read_header(path).metadata for path in reversed(EPOCHS)]
    assert order_of_epochs(["x", "y", "z"], metadata) == [2, 1, 0]


def test_epochs_of_one_training_share_their_directions(tmp_path: Path) -> None:
    """Three rank-2 files average to rank 6, of which two directions hold nearly all."""
    made = loralathe.soup(*EPOCHS, ranks={"rank": 2}, output=tmp_path / "soup.safetensors", threads=1)
    total = made.report.extractions[0].total()
    assert total.kept / total.energy > 0.995
    assert total.kept / total.energy < 1
