"""Scorers: built-in numbers, and the extras with a tiny model or without one."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loralathe.errors import InputError, MachineError
from loralathe.studies.grid import GridOptions, run_grid
from loralathe.studies.scorers import (
    DEFAULT_SCORERS,
    IdentityScorer,
    PromptScorer,
    Scored,
    plain_prompt,
    score_all,
)
from studies.fakes import FakeRenderer, picture, request


def items() -> list[Scored]:
    first, second = picture(request()), picture(request(seed=8))
    other_size = picture(request(width=64))
    return [
        Scored(first, first, "a"),
        Scored(second, first, "b"),
        Scored(other_size, first, "c"),
        Scored(first, None, "d"),
    ]


def test_built_in_scorers_compare_with_the_reference() -> None:
    rows = score_all(DEFAULT_SCORERS, iter(items()), lambda n: None)
    assert rows[0] == {"diff %": 0.0, "SSIM": pytest.approx(1), "pHash": 0.0}
    assert all(value is not None and value != rows[0][name] for name, value in rows[1].items())
    assert rows[2]["diff %"] is None
    assert rows[2]["SSIM"] is None
    assert rows[2]["pHash"] is not None
    assert set(rows[3].values()) == {None}


def test_batches_report_what_they_did() -> None:
    done: list[int] = []
    score_all(DEFAULT_SCORERS[:1], iter(items() * 5), done.append)
    assert done == [16, 4]


def test_missing_models_say_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file") as caught:
        IdentityScorer(tmp_path / "face.onnx", (tmp_path / "me.jpg",)).score(items())
    assert "face.onnx" in str(caught.value)
    with pytest.raises(InputError, match="CLIP model") as caught:
        PromptScorer(tmp_path / "clip").score(items())
    assert "config.json" in str(caught.value)
    renderer = FakeRenderer()
    with pytest.raises(InputError, match="CLIP model"):
        run_grid(GridOptions(request(), tmp_path / "g", scorers=(PromptScorer(tmp_path / "clip"),)), renderer)
    assert renderer.rendered == [], "a missing model is told before anything is rendered"


def test_missing_packages_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "face.onnx").write_bytes(b"x")
    with pytest.raises(MachineError, match="onnxruntime") as caught:
        IdentityScorer(tmp_path / "face.onnx", (tmp_path / "me.png",)).check()
    assert "loralathe[identity]" in str(caught.value)


def test_prompts_are_read_plainly() -> None:
    assert plain_prompt("<lora:hina:0.7> (a girl:1.2), [hat] BREAK ((smile))") == "a girl, hat , smile"


def field(number: int, payload: bytes | int) -> bytes:
    """One protobuf field: a varint, or bytes with their length."""

    def varint(value: int) -> bytes:
        out = b""
        while True:
            value, low = value >> 7, value & 127
            out += bytes([low | (128 if value else 0)])
            if not value:
                return out

    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def tiny_face_model() -> bytes:
    """ONNX: mean colour of the picture, (n, 3, 8, 8) to (n, 3)."""

    def value(name: str, dims: list[int | str]) -> bytes:
        shape = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d.encode())) for d in dims)
        return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, shape)))

    def node(kind: str, source: str, target: str) -> bytes:
        return field(1, field(1, source.encode()) + field(2, target.encode()) + field(4, kind.encode()))

    graph = node("GlobalAveragePool", "x", "m") + node("Flatten", "m", "y") + field(2, b"g")
    graph += field(11, value("x", ["n", 3, 8, 8])) + field(12, value("y", ["n", 3]))
    return field(1, 8) + field(8, field(1, b"") + field(2, 13)) + field(7, graph)


def test_identity_is_the_cosine_with_the_photos(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the identity scorer needs onnxruntime")
    (tmp_path / "face.onnx").write_bytes(tiny_face_model())
    Image.new("RGB", (20, 20), (255, 128, 0)).save(tmp_path / "me.png")
    half = Image.new("RGB", (16, 16), (0, 0, 255))
    half.paste((255, 128, 0), (0, 0, 16, 8))
    shots = [Scored(Image.new("RGB", (9, 9), (255, 128, 0)), None, ""), Scored(half, None, "")]
    whole = IdentityScorer(tmp_path / "face.onnx", (tmp_path / "me.png",)).score(shots)
    assert whole[0] == pytest.approx(1, abs=1e-5)
    assert whole[1] is not None
    assert whole[1] < 0.5
    top = IdentityScorer(tmp_path / "face.onnx", (tmp_path / "me.png",), box=(0, 0, 1, 0.5)).score(shots)
    assert top[1] == pytest.approx(1, abs=1e-5)
    (tmp_path / "bad.onnx").write_bytes(struct.pack("<q", 7))
    with pytest.raises(InputError, match="cannot be loaded"):
        IdentityScorer(tmp_path / "bad.onnx", (tmp_path / "me.png",)).score(shots)


@pytest.mark.slow
def test_prompt_scores_are_cosines_of_a_local_clip(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the prompt scorer needs transformers")
    torch = pytest.importorskip("torch")
    folder = tiny_clip(tmp_path, transformers)
    shots = [
        Scored(picture(request()), None, "(a:1.2) <lora:x:1>"),
        Scored(picture(request(seed=9)), None, "b"),
    ]
    got = PromptScorer(folder).score(shots)
    model = transformers.CLIPModel.from_pretrained(folder)
    processor = transformers.CLIPProcessor.from_pretrained(folder)
    with torch.inference_mode():
        inputs = processor(
            text=["a", "b"], images=[s.image for s in shots], return_tensors="pt", padding=True
        )
        out = model(**inputs)
    image, text = (np.asarray(e.double()) for e in (out.image_embeds, out.text_embeds))
    expected = 100 * (image * text).sum(1) / np.linalg.norm(image, axis=1) / np.linalg.norm(text, axis=1)
    assert got == pytest.approx(list(expected), abs=1e-3)


def tiny_clip(folder: Path, transformers) -> Path:  # type: ignore[no-untyped-def]
    import json

    letters = [chr(c) for c in range(97, 123)]
    tokens = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={
            **small,
            "vocab_size": len(tokens),
            "max_position_embeddings": 16,
            "bos_token_id": 52,
            "eos_token_id": 53,
            "pad_token_id": 53,
        },
        vision_config={**small, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    tokenizer.model_max_length = 16
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder
