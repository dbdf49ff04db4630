"""Models that look at whole pictures: both layouts, fixed batches, and models that read something else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from likeness.models import mean_colour, pixels, save
from loralathe.errors import InputError
from loralathe.likeness import Preparation, WholePicture

pytest.importorskip("onnxruntime")
CLIP = Preparation((0.481, 0.458, 0.408), (0.269, 0.261, 0.276), fit="crop")


def picture(seed: int = 0, size: tuple[int, int] = (4, 4)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("last", [False, True])
def test_values_are_prepared_as_asked(tmp_path: Path, last: bool) -> None:
    embedder = WholePicture(pixels(tmp_path / "m.onnx", last=last), CLIP)
    image = picture()
    values = (np.asarray(image, dtype=np.float64) / 255 - CLIP.mean) / CLIP.std
    expected = (values if last else values.transpose(2, 0, 1)).ravel()
    (found,) = embedder.vectors([image])
    assert found is not None
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_crop_takes_the_middle(tmp_path: Path) -> None:
    wide = Image.new("RGB", (12, 4), (0, 0, 0))
    wide.paste(picture(3), (4, 0))
    crop = WholePicture(pixels(tmp_path / "m.onnx"), Preparation(fit="crop"))
    assert np.array_equal(crop.vectors([wide])[0], crop.vectors([picture(3)])[0])
    stretch = WholePicture(tmp_path / "m.onnx")
    assert not np.array_equal(stretch.vectors([wide])[0], stretch.vectors([picture(3)])[0])


def test_a_box_is_looked_at_alone(tmp_path: Path) -> None:
    wide = Image.new("RGB", (16, 8))
    wide.paste(picture(3), (4, 2))
    part = WholePicture(pixels(tmp_path / "m.onnx"), Preparation(box=(0.25, 0.25, 0.5, 0.75)))
    assert np.array_equal(part.vectors([wide])[0], WholePicture(tmp_path / "m.onnx").vectors([picture(3)])[0])
    sliver = Preparation(box=(0.999, 0.999, 1, 1)).cut(wide)
    assert sliver.size == (1, 1)


def test_a_fixed_batch_is_fed_one_by_one(tmp_path: Path) -> None:
    images = [picture(i) for i in range(3)]
    one = WholePicture(mean_colour(tmp_path / "one.onnx", 4, batch=1)).vectors(images)
    many = WholePicture(mean_colour(tmp_path / "many.onnx", 4)).vectors(images)
    assert np.allclose(np.stack(one), np.stack(many), atol=1e-6)


def test_models_that_read_or_say_something_else(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    flat = save(tmp_path / "flat.onnx", [node], {"x": ["n", 12]}, {"y": ["n", 12]}, {})
    with pytest.raises(InputError, match="reads no square colour pictures"):
        WholePicture(flat).vectors([picture()])
    total = helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)
    one = save(tmp_path / "one.onnx", [total], {"x": ["n", 3, 4, 4]}, {"y": []}, {})
    with pytest.raises(InputError, match="one vector for each picture"):
        WholePicture(one).vectors([picture()])
    both = helper.make_node("Add", ["x", "z"], ["s"])
    out = helper.make_node("Flatten", ["s"], ["y"])
    shapes = {"x": ["n", 3, 4, 4], "z": ["n", 3, 4, 4]}
    two = save(tmp_path / "two.onnx", [both, out], shapes, {"y": ["n", 48]}, {})
    with pytest.raises(InputError, match="cannot be run"):
        WholePicture(two).vectors([picture()])


def test_of_several_outputs_the_vector_is_taken(tmp_path: Path) -> None:
    """Encoders of CLIP give the states of all patches, too."""
    nodes = [
        helper.make_node("Identity", ["x"], ["patches"]),
        helper.make_node("GlobalAveragePool", ["x"], ["m"]),
        helper.make_node("Flatten", ["m"], ["vector"]),
    ]
    outputs = {"patches": ["n", 3, 4, 4], "vector": ["n", 3]}
    both = save(tmp_path / "both.onnx", nodes, {"x": ["n", 3, 4, 4]}, outputs, {})
    alone = mean_colour(tmp_path / "alone.onnx", 4)
    assert np.array_equal(
        WholePicture(both).vectors([picture()])[0], WholePicture(alone).vectors([picture()])[0]
    )


def test_onnx_models_bring_no_torch(tmp_path: Path) -> None:
    model = str(mean_colour(tmp_path / "m.onnx"))
    script = (
        "import sys\nfrom pathlib import Path\nfrom PIL import Image\n"
        "from loralathe.likeness import open_embedder\n"
        f"open_embedder(Path({model!r})).vectors([Image.new('RGB', (9, 9))])\n"
        "print('torch' in sys.modules)"
    )
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert done.stdout.split() == ["False"]
