"""The renderer as studies see it: order, call-backs, texts encoded once, trouble on the way."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image

from checkpoints import write_safetensors
from loralathe.adapters import ModelFolders
from loralathe.errors import InputError, MachineError, is_out_of_memory
from loralathe.progress import CallableSink, Event, Progress
from loralathe.rendering import ImageRequest, LocalRenderer, Renderer, local
from loralathe.rendering.command import RenderOptions, render
from loralathe.rendering.decoding import decode
from loralathe.rendering.encoding import emphasised
from loralathe.rendering.infotext import png_text, read_infotext
from loralathe.rendering.latents import LatentRenderer
from loralathe.rendering.machine import batch_size_for, in_batches
from loralathe.rendering.model_cache import ModelCache
from loralathe.strengths import AdapterUse

Tensors = dict[str, torch.Tensor]
CheckpointOf = Callable[[str], Tensors]
BASE = ImageRequest("sd1", prompt="x", seed=1, steps=2, sampler="Euler", width=64, height=64)


def drawn(renderer: LocalRenderer, requests: Sequence[ImageRequest]) -> dict[int, Image]:
    found: dict[int, Image] = {}
    renderer.render(requests, lambda index, image: found.update({index: image}))
    return found


def test_requests_have_stable_keys() -> None:
    request = replace(BASE, adapters=(AdapterUse("a", 0.5, 0.7, "ALL", stop=3),))
    assert request.key() == replace(request).key()
    assert len({request.key(), BASE.key(), replace(BASE, seed=2).key()}) == 3


@pytest.mark.parametrize(
    "wrong", [{"width": 100}, {"steps": 0}, {"seed": -1}, {"clip_skip": 0}, {"cfg": float("nan")}]
)
def test_requests_that_no_renderer_can_fulfil(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(BASE, **wrong)


def test_the_loading_of_a_file_is_told_in_bytes(checkpoint_of: CheckpointOf, tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    write_safetensors(path, checkpoint_of("sd1"))
    events: list[Event] = []
    with LocalRenderer("cpu", progress=Progress(CallableSink(events.append))) as renderer:
        drawn(renderer, [replace(BASE, checkpoint=str(path))] * 2)
    told = [event for event in events if event.task == "loading base.safetensors"]
    assert [event.kind for event in told].count("start") == 1
    assert told[-1].kind == "end"
    assert 0.99 < told[-1].done / (told[-1].total or 1) <= 1


@pytest.mark.long
def test_models_are_opened_once_and_texts_encoded_once(
    checkpoint_of: CheckpointOf, monkeypatch: pytest.MonkeyPatch, lora_folder: Path
) -> None:
    from loralathe.rendering import latents, model_cache

    opens: list[str] = []
    texts: list[str] = []
    open_model, encode = model_cache.open_model, latents.encode_texts

    def counted_open(weights: Any, *args: Any, **more: Any) -> Any:
        opens.append(weights.name)
        return open_model(weights, *args, **more)

    def counted_encode(model: Any, jobs: Any, *args: Any) -> Any:
        texts.extend(job.text for job in jobs)
        return encode(model, jobs, *args)

    monkeypatch.setattr(model_cache, "open_model", counted_open)
    monkeypatch.setattr(latents, "encode_texts", counted_encode)
    one, two = checkpoint_of("sd1"), checkpoint_of("sd1")
    requests = [
        replace(BASE, checkpoint=name, seed=seed, adapters=(AdapterUse("sd1-linear", 0.0, unet),))
        for seed in (1, 2)
        for unet in (0.2, 0.7)
        for name in ("one", "two")
    ]
    with LocalRenderer(weights={"one": one, "two": two}, lora_dirs=[lora_folder]) as renderer:
        assert isinstance(renderer, LocalRenderer)
        as_protocol: Renderer = renderer
        found: dict[int, Image] = {}
        as_protocol.render(requests, lambda index, image: found.update({index: image}))
    assert sorted(found) == list(range(8))
    assert opens == ["one", "two"]
    assert sorted(texts) == ["", "", "x", "x"]


def test_what_is_wrong_with_the_last_request_is_said_first(studio: LocalRenderer) -> None:
    for wrong in ({"sampler": "Eular"}, {"prompt": "<lora:nobody>"}, {"checkpoint": "none.safetensors"}):
        with pytest.raises(InputError):
            studio.render([BASE, replace(BASE, **wrong)], lambda index, image: pytest.fail("rendered"))


def test_odd_prompts_are_told_and_rendered(checkpoint_of: CheckpointOf) -> None:
    events: list[Event] = []
    progress = Progress(CallableSink(events.append))
    with LocalRenderer(weights={"sd1": checkpoint_of("sd1")}, progress=progress) as renderer:
        found = drawn(renderer, [replace(BASE, prompt="x <lora:a:te=z>"), BASE])
    assert np.array_equal(np.asarray(found[0]), np.asarray(found[1]))
    (told,) = [event.text for event in events if event.kind == "message"]
    assert "character 11" in told
    advances = [event for event in events if event.kind == "advance"]
    assert (advances[-1].done, advances[-1].total) == (4, 4)


def test_schedules_switch_where_they_say(studio: LocalRenderer) -> None:
    base = replace(BASE, steps=4, sampler="Heun")
    found = drawn(
        studio,
        [replace(base, prompt=p) for p in ("cat", "[cat:dog:1.0]", "dog", "[cat:dog:0]", "[cat:dog:2]")],
    )
    shown = {index: np.asarray(image) for index, image in found.items()}
    assert np.array_equal(shown[0], shown[1])
    assert np.array_equal(shown[2], shown[3])
    assert not np.array_equal(shown[4], shown[0])
    assert not np.array_equal(shown[4], shown[2])


def test_infotext_is_in_the_picture(studio: LocalRenderer, tmp_path: Path) -> None:
    paths = render(studio, RenderOptions(BASE, tmp_path / "out", seed=9, count=2))
    again = render(studio, RenderOptions(BASE, tmp_path / "out", seed=9))
    with pytest.raises(InputError, match="one file"):
        render(studio, RenderOptions(BASE, tmp_path / "x.png", count=2))
    assert [path.name for path in (*paths, *again)] == ["00000-9.png", "00001-10.png", "00002-9.png"]
    text = png_text(paths[1])
    assert text is not None
    assert read_infotext(text).entries["Seed"] == "10"


def test_clip_skip(studio: LocalRenderer) -> None:
    requests = [replace(BASE, checkpoint=c, clip_skip=s) for c in ("sd1", "sdxl") for s in (1, 2, 3)]
    shown = {i: np.asarray(image) for i, image in drawn(studio, requests).items()}
    with pytest.raises(InputError, match="clip skip"):
        drawn(studio, [replace(BASE, clip_skip=9)])
    assert not np.array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[1], shown[2])
    assert np.array_equal(shown[3], shown[4])  # 2 is SDXL's own
    assert not np.array_equal(shown[4], shown[5])


def test_low_vram_gives_the_same_pictures(checkpoint_of: CheckpointOf) -> None:
    weights = {"sd1": checkpoint_of("sd1")}
    with (
        LocalRenderer("cpu", weights=weights) as plain,
        LocalRenderer("cpu", weights=weights, low_vram=True) as thrifty,
    ):
        one, other = drawn(plain, [BASE])[0], drawn(thrifty, [BASE])[0]
    assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("dtype", "apart"), [("fp16", 1.0), pytest.param("bf16", 6.0, marks=pytest.mark.slow)]
)
def test_half_precision_is_close(
    studio: LocalRenderer, checkpoint_of: CheckpointOf, lora_folder: Path, dtype: Any, apart: float
) -> None:
    requests = [
        replace(BASE, prompt="(x:1.2) <lora:sd1-tucker:0.2>", sampler=name) for name in ("Euler", "DDIM")
    ]
    expected = drawn(studio, requests)
    weights = {"sd1": checkpoint_of("sd1")}
    with LocalRenderer("cpu", dtype, weights=weights, lora_dirs=[lora_folder]) as renderer:
        found = drawn(renderer, requests)
    for index, image in expected.items():
        difference = np.abs(np.asarray(found[index]).astype(int) - np.asarray(image).astype(int))
        assert 0 < difference.mean() < apart


def test_emphasis_keeps_the_mean_of_each_row() -> None:
    z = torch.randn(3, 77, 8, dtype=torch.float64) + 0.5
    weights = torch.ones(3, 77, dtype=torch.float64)
    weights[0, 3:6], weights[2, 1] = 1.4, -0.5
    found = emphasised(z, weights)
    assert torch.equal(found[1], z[1])
    for row in (0, 2):
        assert found[row].mean().item() == pytest.approx(z[row].mean().item(), rel=1e-5)
        scaled = z[row] * weights[row][:, None]
        assert torch.allclose(found[row], scaled * (z[row].mean() / scaled.mean()), rtol=1e-5)


# Trouble


def test_batches_are_halved_when_memory_runs_out() -> None:
    done: list[int] = []
    tried: list[int] = []
    told: list[str] = []

    def run(batch: Sequence[int]) -> None:
        tried.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(batch)

    assert in_batches(list(range(7)), 5, run, lambda: None, told.append) == 2
    assert done == list(range(7))
    assert tried == [5, 2, 2, 2, 1]
    assert told == ["out of memory; going on with batches of 2"]

    def never(batch: Sequence[int]) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(MachineError, match="single image"):
        in_batches([1, 2], 2, never, lambda: None, told.append)
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_a_renderer_that_runs_out_of_memory_goes_on(
    checkpoint_of: CheckpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loralathe.rendering import latents

    sample = latents.sample

    def tight(model: Any, network: Any, noise: Any, **more: Any) -> Any:
        if len(noise.generators) > 1:
            more["on_step"]()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sample(model, network, noise, **more)

    monkeypatch.setattr(latents, "sample", tight)
    events: list[Event] = []
    progress = Progress(CallableSink(events.append))
    with LocalRenderer(weights={"sd1": checkpoint_of("sd1")}, batch_size=2, progress=progress) as renderer:
        found = drawn(renderer, [replace(BASE, seed=seed) for seed in range(3)])
    assert sorted(found) == [0, 1, 2]
    assert events[-1].done == 6


def test_room_on_a_gpu_counts_what_torch_keeps_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def free(device: Any) -> tuple[int, int]:
        assert device is None or isinstance(device, int)  # torch 2.4 takes no torch.device without a number
        asked.append(device)
        return 1 << 30, 8 << 30

    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 6 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3 << 30)
    for name in ("cuda", "cuda:1"):
        assert batch_size_for(512, 512, torch.device(name), torch.float16) == 7  # 0.7 · 4 GiB / 0.4 GB
    assert asked == [None, 1]


@pytest.mark.long
def test_a_model_is_gone_before_the_next_one_is_read(
    checkpoint_of: CheckpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once need twice the memory, which a small GPU has not."""
    opened: list[weakref.ref[Any]] = []
    open_one = ModelCache._opened

    def watched(self: ModelCache, name: str) -> Any:
        assert [model() for model in opened] == [None] * len(opened)
        model = open_one(self, name)
        opened.append(weakref.ref(model.denoiser))
        return model

    monkeypatch.setattr(ModelCache, "_opened", watched)
    weights = {name: checkpoint_of("sd1") for name in ("one", "two", "three")}
    for low_vram in (False, True):
        with LocalRenderer("cpu", weights=weights, low_vram=low_vram) as renderer:
            drawn(renderer, [replace(BASE, checkpoint=name, steps=1) for name in weights])
        opened.clear()


def test_a_model_that_does_not_fit(checkpoint_of: CheckpointOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, *place: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with (
        LocalRenderer("cpu", weights={"sd1": checkpoint_of("sd1")}) as renderer,
        pytest.raises(MachineError, match="does not fit into the memory of the device 'cpu'"),
    ):
        drawn(renderer, [BASE])


@pytest.mark.parametrize("fits", [True, False])
def test_a_picture_too_large_to_decode_is_decoded_in_tiles(
    checkpoint_of: CheckpointOf, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    """Also one of the size that its family was trained at: a tile is smaller."""
    sizes: list[int] = []

    def decoded(vae: Any, latents: torch.Tensor, *more: Any) -> Any:
        sizes.append(vae.tile_latent_min_size if vae.use_tiling else latents.shape[-1])
        if sizes[-1] > 64 or not fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(vae, latents[:, :8, :8], *more)

    monkeypatch.setattr(local, "decode", decoded)
    monkeypatch.setattr(LatentRenderer, "latents", lambda self, batch, on_step: torch.zeros(1, 4, 128, 128))
    told: list[str] = []
    progress = Progress(CallableSink(lambda event: told.append(event.text)))
    request = replace(BASE, checkpoint="xl", width=1024, height=1024, steps=1)
    with LocalRenderer("cpu", weights={"xl": checkpoint_of("sdxl")}, progress=progress) as renderer:
        if fits:
            assert list(drawn(renderer, [request])) == [0]
        else:
            with pytest.raises(MachineError, match="single image"):
                drawn(renderer, [request])
    assert sizes == [128, 64]
    assert any("works in tiles from now on" in text for text in told)


def test_low_vram_leaves_the_device_to_the_vae(
    checkpoint_of: CheckpointOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def decoded(vae: Any, *more: Any) -> Any:
        order.append("decode")
        return decode(vae, *more)

    monkeypatch.setattr(local, "decode", decoded)
    with LocalRenderer("cpu", weights={"sd1": checkpoint_of("sd1")}, low_vram=True, batch_size=1) as renderer:
        unet = renderer._models.get("sd1", None).model.denoiser
        monkeypatch.setattr(unet, "to", lambda place: order.append(f"U-Net to {place}"), raising=False)
        drawn(renderer, [BASE, replace(BASE, seed=2)])
    assert order == ["U-Net to cpu", "decode"] * 2


def test_fp32_is_fp32_on_a_gpu(checkpoint_of: CheckpointOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's convolutions are TF32 unless told otherwise: a LoRA and its merged model would differ."""
    seen: list[bool] = []
    original = LatentRenderer.latents

    def watched(*args: Any) -> torch.Tensor:
        seen.append(torch.backends.cudnn.allow_tf32)
        return original(*args)

    monkeypatch.setattr(LatentRenderer, "latents", watched)
    for dtype in ("fp32", "fp16"):
        with LocalRenderer("cpu", dtype, weights={"sd1": checkpoint_of("sd1")}) as renderer:
            drawn(renderer, [replace(BASE, steps=1)])
    assert seen == [False, True]
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_devices_that_are_not_there(device: str) -> None:
    with pytest.raises(InputError, match=f"the device '{device}' cannot be used"):
        LocalRenderer(device)


class FragileVae:
    """Overflows in half precision."""

    config = type("Config", (), {"scaling_factor": 1.0, "shift_factor": None})()

    def __init__(self, *, hopeless: bool = False) -> None:
        self.dtype = torch.float16
        self._hopeless = hopeless

    def to(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        bad = self._hopeless or self.dtype == torch.float16
        return (torch.full((1, 3, 16, 16), float("nan") if bad else 1.0),)


def test_nan_of_the_vae_is_told_and_decoded_again() -> None:
    told: list[str] = []
    vae = FragileVae()
    picture = decode(vae, torch.zeros(4, 2, 2), told.append, "image 1")
    assert np.asarray(picture).min() == 255
    assert vae.dtype == torch.float16
    assert told == ["image 1: the VAE gave NaN in float16; decoded again in float32"]
    decode(FragileVae(hopeless=True), torch.zeros(4, 2, 2), told.append, "image 2")
    assert "even in float32" in told[-1]
    black = decode(vae, torch.full((4, 2, 2), float("nan")), told.append, "image 3")
    assert "U-Net" in told[-1]
    assert np.asarray(black).max() == 0


def test_adapters_by_name(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "sub").mkdir()
    tensor = {"lora_unet_x.lora_down.weight": torch.zeros(1, 1)}
    save_file({"x": torch.zeros(1)}, tmp_path / "Hinn.safetensors")  # no adapter: not suggested
    save_file(tensor, tmp_path / "Hina.safetensors", {"ss_output_name": "hina_v2"})
    save_file(tensor, tmp_path / "sub" / "twin.safetensors")
    save_file(tensor, tmp_path / "twin.safetensors")
    folders = ModelFolders([tmp_path])
    assert (
        folders.find("Hina")
        == folders.find("hina")
        == folders.find("hina_v2")
        == tmp_path / "Hina.safetensors"
    )
    assert folders.find(str(tmp_path / "Hina.safetensors")) == tmp_path / "Hina.safetensors"
    assert folders.find("sub/twin") == tmp_path / "sub" / "twin.safetensors"
    with pytest.raises(InputError, match="several"):
        folders.find("twin")
    with pytest.raises(InputError) as error:
        folders.find("Hinna")
    assert error.value.fix == "did you mean 'Hina'?"
    with pytest.raises(InputError, match="does not exist"):
        ModelFolders([tmp_path / "none"]).find("x")


def test_devices_and_dtypes_that_do_not_exist() -> None:
    with pytest.raises(InputError, match="device"):
        LocalRenderer("gpu9")
    with pytest.raises(InputError, match="fp8"):
        LocalRenderer("cpu", "fp8")  # type: ignore[arg-type]
