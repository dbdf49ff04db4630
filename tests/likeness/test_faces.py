"""Faces found, turned upright and made vectors: both kinds of detector, against loops and closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from likeness.models import FIVE, STRIDES, detector, mean_colour, pixels, save
from loralathe.errors import InputError
from loralathe.likeness import open_embedder, read_card, write_card
from loralathe.likeness.alignment import TEMPLATE, aligned, similarity, template
from loralathe.likeness.card import card_of
from loralathe.likeness.detectors import Detector, decode_scrfd, decode_yunet, without_overlaps
from loralathe.likeness.embedders import Faces
from loralathe.likeness.preparation import Preparation

pytest.importorskip("onnxruntime")
RED = (255, 0, 0)
KINDS = ("yunet", "scrfd")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path / "cache"))


def with_face(column: int, row: int, stride: int, size: tuple[int, int] = (640, 640)) -> Image.Image:
    """A grey picture, red at one place of a stride."""
    image = Image.new("RGB", size, (90, 90, 90))
    image.paste(RED, (column * stride, row * stride, (column + 1) * stride, (row + 1) * stride))
    return image


def noise(shape: tuple[int, ...], seed: int, low: float = -1, high: float = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def test_yunet_is_decoded_as_opencv_does_it() -> None:
    """A loop over places, as OpenCV's face_detect.cpp has it."""
    side = 64
    counts = [(side // s) ** 2 for s in STRIDES]
    outputs = [noise((1, n, w), 10 * w + n, -0.2, 1.3) for w in (1, 1, 4, 10) for n in counts]
    outputs[3:6] = [noise((1, n, 1), n, -0.2, 1.3) for n in counts]  # objectness is not the class score
    found = decode_yunet(outputs, side)
    at = 0
    for level, s in enumerate(STRIDES):
        cls, obj, box, kps = (outputs[level + 3 * part][0] for part in range(4))
        for r in range(side // s):
            for c in range(side // s):
                i = r * (side // s) + c
                score = math.sqrt(min(max(cls[i, 0], 0), 1) * min(max(obj[i, 0], 0), 1))
                assert found.scores[at] == pytest.approx(score, abs=1e-6)
                cx, cy = (c + box[i, 0]) * s, (r + box[i, 1]) * s
                w, h = math.exp(box[i, 2]) * s, math.exp(box[i, 3]) * s
                corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                assert found.boxes[at] == pytest.approx(corners, abs=1e-4)
                for k in range(5):
                    point = (kps[i, 2 * k] + c) * s, (kps[i, 2 * k + 1] + r) * s
                    assert found.points[at, k] == pytest.approx(point, abs=1e-4)
                at += 1
    assert at == len(found.scores)


def test_scrfd_is_decoded_as_insightface_does_it() -> None:
    side = 64
    counts = [2 * (side // s) ** 2 for s in STRIDES]
    outputs = [noise((n, w), 10 * w + n, 0, 3) for w in (1, 4, 10) for n in counts]
    found = decode_scrfd(outputs, side)
    at = 0
    for level, s in enumerate(STRIDES):
        score, box, kps = (outputs[level + 3 * part] for part in range(3))
        for r in range(side // s):
            for c in range(side // s):
                for anchor in range(2):
                    i = 2 * (r * (side // s) + c) + anchor
                    x, y = c * s, r * s
                    d = [value * s for value in box[i]]
                    assert found.scores[at] == score[i, 0]
                    assert found.boxes[at] == pytest.approx(
                        [x - d[0], y - d[1], x + d[2], y + d[3]], abs=1e-4
                    )
                    for k in range(5):
                        point = x + kps[i, 2 * k] * s, y + kps[i, 2 * k + 1] * s
                        assert found.points[at, k] == pytest.approx(point, abs=1e-4)
                    at += 1
    assert at == len(found.scores)


@pytest.mark.parametrize("decode", [decode_yunet, decode_scrfd])
def test_outputs_of_other_sizes_are_refused(decode) -> None:  # type: ignore[no-untyped-def]
    outputs = [np.zeros((7, width), np.float32) for width in (1, 1, 4, 10) for _ in range(3)]
    with pytest.raises(ValueError, match="is not"):
        decode(outputs, 64)


def test_a_damaged_yunet_does_not_overflow() -> None:
    n = [(32 // s) ** 2 for s in STRIDES]
    outputs = [np.full((1, count, w), 1e30, np.float32) for w in (1, 1, 4, 10) for count in n]
    assert np.isfinite(decode_yunet(outputs, 32).boxes).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [640, "side"])
def test_a_face_is_found_where_it_is(tmp_path: Path, kind: str, side: int | str) -> None:
    finder = Detector(detector(tmp_path / "d.onnx", kind, side))
    for stride, column, row in ((8, 5, 60), (16, 20, 3), (32, 18, 17)):
        found = finder.faces(with_face(column, row, stride))
        middle = np.array([column + 0.5, row + 0.5]) * stride
        assert found.boxes[0] == pytest.approx([*(middle - 1.5 * stride), *(middle + 1.5 * stride)], abs=1e-3)
        assert found.points[0] == pytest.approx(middle + FIVE * stride, abs=1e-3)
        assert found.scores[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_any_size_are_fitted_in(tmp_path: Path, kind: str) -> None:
    """1,280 × 640 is seen at half its size."""
    finder = Detector(detector(tmp_path / "d.onnx", kind))
    found = finder.faces(with_face(30, 8, 32, (1280, 640)))
    assert found.boxes[0] == pytest.approx([(30.5 - 1.5) * 32, (8.5 - 1.5) * 32, 32 * 32, 10 * 32], abs=1e-3)
    small = finder.faces(with_face(4, 6, 8, (160, 160)))
    assert small.points[0] == pytest.approx((np.array([4.5, 6.5]) + FIVE) * 8, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_face_that_fills_the_picture_is_found_at_half_size(tmp_path: Path, kind: str) -> None:
    """A red square of four places: each has red neighbours, so that it is found when it is one place."""
    finder = Detector(detector(tmp_path / "d.onnx", kind))
    image = Image.new("RGB", (640, 640), (90, 90, 90))
    image.paste(RED, (256, 256, 320, 320))
    found = finder.faces(image)
    assert len(found.scores) == 1
    assert found.points[0] == pytest.approx(288 + FIVE * 64, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_face(tmp_path: Path, kind: str) -> None:
    finder = Detector(detector(tmp_path / "d.onnx", kind))
    assert len(finder.faces(Image.new("RGB", (300, 200), (90, 90, 90))).scores) == 0
    embedder = Faces(mean_colour(tmp_path / "f.onnx", 112), tmp_path / "d.onnx", Preparation())
    assert embedder.vectors([Image.new("RGB", (300, 200), (90, 90, 90)), with_face(18, 17, 32)])[0] is None
    assert embedder.vectors([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_face_counts(tmp_path: Path, kind: str) -> None:
    image = with_face(18, 17, 32)
    image.paste(RED, (40, 40, 48, 48))
    found = Detector(detector(tmp_path / "d.onnx", kind)).faces(image)
    assert found.points[0].mean(0) == pytest.approx((np.array([18.5, 17.5]) + FIVE.mean(0)) * 32, abs=1e-3)
    assert len(found.scores) >= 2


def test_overlaps_leave_the_best() -> None:
    rng = np.random.default_rng(4)
    corner = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (80, 2))], axis=1)
    scores = rng.uniform(0, 1, 80)

    def union(a: np.ndarray, b: np.ndarray) -> float:
        w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        areas = [(one[2] - one[0]) * (one[3] - one[1]) for one in (a, b)]
        return w * h / (sum(areas) - w * h)

    expected: list[int] = []
    for i in np.argsort(-scores):
        if all(union(boxes[i], boxes[j]) <= 0.3 for j in expected):
            expected.append(int(i))
    assert list(without_overlaps(boxes, scores, 0.3)) == expected
    assert len(without_overlaps(np.zeros((0, 4)), np.zeros(0), 0.3)) == 0


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3) by the SVD, as Umeyama 1991 and scikit-image have it."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, d, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / a.var(0).sum()
    return np.column_stack([scale * turn, target.mean(0) - scale * turn @ source.mean(0)])


@pytest.mark.parametrize("seed", range(4))
def test_the_similarity_is_umeyamas(seed: int) -> None:
    points = TEMPLATE * 3 + np.random.default_rng(seed).normal(0, 20, (5, 2)) + 50
    found = similarity(points, TEMPLATE)
    assert found is not None
    a, b = found
    expected = umeyama(points, TEMPLATE)
    assert np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]) == pytest.approx(
        expected, abs=1e-9
    )
    assert similarity(np.ones((5, 2)), TEMPLATE) is None


def test_an_aligned_face_has_its_points_where_models_want_them() -> None:
    """Discs of five colours at the points of a turned, large face land on the template."""
    turn = np.array([[math.cos(0.4), -math.sin(0.4)], [math.sin(0.4), math.cos(0.4)]])
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    for scale in (0.9, 1.7, 3.6):
        points = (TEMPLATE - 56) @ turn.T * scale + 300
        canvas = np.zeros((600, 600, 3), np.uint8)
        down, right = np.mgrid[:600, :600]
        for (x, y), colour in zip(points, colours, strict=True):
            canvas[np.hypot(right - x, down - y) < 6 * scale] = colour
        image = Image.fromarray(canvas)
        for side in (112, 224, 128):
            face = aligned(image, points, side)
            assert face is not None
            assert face.size == (side, side)
            values = np.asarray(face, dtype=np.float64)
            for (x, y), colour in zip(template(side), colours, strict=True):
                assert values[round(y), round(x)] == pytest.approx(colour, abs=30)
            # The middle of each disc, weighted, is the point itself.
            rows, columns = np.mgrid[:side, :side]
            red = (values[..., 0] > 128) & (values[..., 1] < 128)
            middle = np.array([columns[red].mean(), rows[red].mean()])
            assert middle == pytest.approx(template(side)[0], abs=0.25), (scale, side)


def test_faces_are_fitted_towards_the_template() -> None:
    """Real points never fit exactly. Then the fit must be that of ArcFace's makers, points to template: a
    white pixel of the picture lies where their matrix takes it."""
    points = TEMPLATE * 1.5 + np.random.default_rng(2).normal(0, 9, (5, 2)) + 40
    matrix = umeyama(points, TEMPLATE)
    assert abs(np.linalg.inv(np.vstack([umeyama(TEMPLATE, points), [0, 0, 1]]))[:2] - matrix).max() > 0.01
    rows, columns = np.mgrid[:112, :112]
    for x, y in ((80, 90), (150, 120), (120, 180)):
        canvas = np.zeros((260, 260, 3), np.uint8)
        canvas[y - 2 : y + 3, x - 2 : x + 3] = 255
        face = aligned(Image.fromarray(canvas), points, 112)
        assert face is not None
        light = np.asarray(face, dtype=np.float64)[..., 0]
        middle = [(light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()]
        assert middle == pytest.approx(list(matrix @ [x, y, 1]), abs=0.25)


def test_points_that_are_no_face_give_none(tmp_path: Path) -> None:
    assert aligned(Image.new("RGB", (9, 9)), np.full((5, 2), 3.0), 112) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_of_faces(tmp_path: Path, kind: str) -> None:
    """Two people: each face has a colour of its own around the red spot that the detector finds."""

    def person(colour: tuple[int, int, int], column: int, row: int) -> Image.Image:
        image = Image.new("RGB", (640, 640), (90, 90, 90))
        x, y = column * 32, row * 32
        image.paste(colour, (x - 40, y - 40, x + 72, y + 72))
        image.paste(RED, (x, y, x + 32, y + 32))
        return image

    blue, green = (0, 60, 200), (40, 200, 0)
    embedder = open_embedder(pixels(tmp_path / "face.onnx", 112), detector(tmp_path / "find.onnx", kind))
    assert embedder.kind == "face"
    places = ((5, 5), (10, 6), (9, 14))
    card = card_of(embedder, ["a", "b", "c"], [person(blue, *at) for at in places])
    her, other, nobody = card.likeness(
        [person(blue, 14, 3), person(green, 14, 3), Image.new("RGB", (64, 64), (9, 9, 99))]
    )
    assert card.is_person(her)
    assert not card.is_person(other)
    assert nobody is None
    again = read_card(write_card(tmp_path / "her.card", card))
    assert again.detector is not None
    assert again.detector.name == "find.onnx"
    assert again.likeness([person(blue, 14, 3)]) == [her]
    with pytest.raises(InputError, match="no face is found") as caught:
        card_of(embedder, ["a", "wall.png", "c"], [person(blue, 5, 5), noise_picture(), person(blue, 9, 9)])
    assert caught.value.where == "wall.png"


def noise_picture() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(60, 90, (64, 64, 3), dtype=np.uint8))


def test_detectors_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no detector of faces that is known"):
        Detector(mean_colour(tmp_path / "m.onnx", 64)).faces(noise_picture())
    with pytest.raises(InputError, match="no detector of faces that is known"):
        Detector(detector(tmp_path / "d.onnx", "yunet", 100)).faces(noise_picture())
    nodes = [helper.make_node("Flatten", ["x"], [f"y{i}"]) for i in range(9)]
    shapes = {f"y{i}": [1, f"n{i}"] for i in range(9)}
    flat = save(tmp_path / "f.onnx", nodes, {"x": [1, 3, 64, 64]}, shapes, {})
    with pytest.raises(InputError, match="no detector of faces that is known"):
        Detector(flat).faces(noise_picture())
    judge = tmp_path / "judge.safetensors"
    judge.write_bytes(b"")
    with pytest.raises(InputError, match="needs no detector"):
        open_embedder(judge, flat)
