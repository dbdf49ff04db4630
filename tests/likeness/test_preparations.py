"""How models want pixels: by name, by the file beside them, by what their graph begins with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from likeness.models import mean_colour, pixels, save
from loralathe.errors import InputError
from loralathe.likeness.onnx_graph import does_its_own_scaling, first_operators
from loralathe.likeness.preparation import PREPARATIONS, parse_box, preparation_of


def own_scaling(path: Path) -> Path:
    nodes = [
        helper.make_node("Sub", ["x", "m"], ["a"]),
        helper.make_node("Mul", ["a", "s"], ["b"]),
        helper.make_node("Flatten", ["b"], ["y"]),
    ]
    constants = {"m": np.float32(127.5), "s": np.float32(1 / 128)}
    return save(path, nodes, {"x": ["n", 3, 4, 4]}, {"y": ["n", 48]}, constants)


def test_a_graph_says_whether_it_scales_by_itself(tmp_path: Path) -> None:
    own = own_scaling(tmp_path / "sface.onnx")
    assert first_operators(own) == ("Sub", "Mul", "Flatten")
    assert first_operators(own, 1) == ("Sub",)
    assert does_its_own_scaling(own)
    assert preparation_of(own, None) == PREPARATIONS["pixels"]
    plain = mean_colour(tmp_path / "face.onnx")
    assert first_operators(plain) == ("GlobalAveragePool", "Flatten")
    assert preparation_of(plain, None) == PREPARATIONS["arcface"]


@pytest.mark.parametrize(
    "content", [b"", b"\x3a", b"\x3a\xff\xff\xff\xff\x0f", b"hello", b"\xff" * 40, b"\x3b" * 9]
)
def test_damaged_graphs_have_no_operators(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    assert first_operators(tmp_path / "x.onnx") == ()


def test_cut_files_do_no_harm(tmp_path: Path) -> None:
    whole = pixels(tmp_path / "p.onnx").read_bytes()
    for end in range(len(whole)):
        (tmp_path / "cut.onnx").write_bytes(whole[:end])
        assert first_operators(tmp_path / "cut.onnx") in {(), ("Flatten",)}


CLIP_MEAN, CLIP_STD = 0.48145466, 0.26862954
CLIP = {
    "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "size": 224,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip


HALF, UNIT = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {"image_mean": [1] * 3, "image_std": [1] * 3}
LARGE = CLIP | {"size": {"shortest_edge": 336}, "crop_size": {"height": 336}}
BYTES = {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [128] * 3}


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (CLIP, (CLIP_MEAN, CLIP_STD, 224, "crop")),
        (LARGE, (CLIP_MEAN, CLIP_STD, 336, "crop")),
        (HALF | {"size": {"height": 384}}, (0.5, 0.5, 384, "stretch")),
        (BYTES, (0.5, 128 / 255, 0, "stretch")),
        ({"do_normalize": False}, (0.0, 1.0, 0, "stretch")),
        (UNIT | {"rescale_factor": 1 / 127.5}, (0.5, 0.5, 0, "stretch")),
    ],
)
def test_a_file_says_it(
    tmp_path: Path, config: dict[str, object], wanted: tuple[float, float, int, str]
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    model = mean_colour(tmp_path / "clip.onnx")
    for given in (None, str(tmp_path), str(tmp_path / "preprocessor_config.json")):
        found = preparation_of(model, given)
        assert (found.mean[0], found.std[0]) == pytest.approx(wanted[:2])
        assert (found.side, found.fit) == wanted[2:]
    assert preparation_of(model, "arcface") == PREPARATIONS["arcface"]


@pytest.mark.slow
def test_values_are_those_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).resize((240, 320))
    processor = transformers.CLIPImageProcessor()
    processor.save_pretrained(tmp_path)
    expected = np.asarray(processor(images=image, return_tensors="np")["pixel_values"])[0]
    found = preparation_of(mean_colour(tmp_path / "clip.onnx"), None)
    assert found.side == 224
    assert np.abs(found.values(image, 224) - expected).max() < 0.06
    assert np.abs(found.values(image, 224) - expected).mean() < 0.004


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"image_std": [0, 0, 0]}', '{"image_mean": [1]}', '{"size": 100000}', '{"size": "x"}'],
)
def test_files_that_say_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(InputError, match="does not say how pictures are prepared"):
        preparation_of(mean_colour(tmp_path / "clip.onnx"), None)


def test_other_names_and_boxes(tmp_path: Path) -> None:
    model = mean_colour(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="no preparation 'arcfase'") as caught:
        preparation_of(model, "arcfase")
    assert "did you mean 'arcface'" in str(caught.value)
    assert parse_box("0.25,0,0.75,0.5") == (0.25, 0, 0.75, 0.5)
    for bad in ("", "1,2,3", "0,0,2,1", "0.5,0,0.5,1", "a,b,c,d"):
        with pytest.raises(InputError, match="is not a box"):
            parse_box(bad)
