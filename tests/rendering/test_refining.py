"""Looking into layers while pictures are sampled, and a few steps of training towards what models predict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from checkpoints import write_safetensors
from loralathe.adapters import open_adapter
from loralathe.adapters.damped import replaced_factors, write_replaced
from loralathe.errors import InputError
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.refining import Schooling
from loralathe.strengths import AdapterUse
from rendering.conftest import Tensors, make_checkpoint, make_lora
from rendering.narrow import FLUX, VAE, assembled, narrow_lora, write_tokenizer

STEPS = 2


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.safetensors and hina.safetensors, narrow."""
    folder = tmp_path_factory.mktemp("sdxl")
    write_safetensors(folder / "model.safetensors", make_checkpoint("sdxl"))
    write_safetensors(folder / "hina.safetensors", make_lora("sdxl", conv=True, std=0.1))
    return folder


def request(folder: Path, *, lora: bool, prompt: str = "hina, a girl", **more: object) -> ImageRequest:
    uses = (AdapterUse(str(folder / "hina.safetensors"), 0.8, 0.8),) if lora else ()
    return ImageRequest(
        checkpoint=str(folder / "model.safetensors"), prompt=prompt, seed=3, steps=STEPS, width=64, height=64,
        sampler="Euler", adapters=uses, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_moments_are_those_of_the_rows_that_follow_the_prompt(sdxl: Path) -> None:
    with open_adapter(sdxl / "hina.safetensors") as adapter:
        names = list(adapter.modules)
    cross = next(name for name in names if name.endswith("attn2.to_k"))
    stem = cross.removesuffix("attn2.to_k")
    conv = next(name for name in names if len(adapter.modules[name].shape) == 4)
    wanted = request(sdxl, lora=True)
    with LocalRenderer("cpu") as renderer:
        text = next(name for name in names if not name.startswith("unet."))
        looked = [f"{stem}attn1.to_q", cross, cross.replace("to_k", "to_v"), conv, text]
        found = renderer.input_moments([wanted], looked, lambda: None)
        opened = renderer._models.get(wanted.checkpoint, None)
        seen: dict[str, list[torch.Tensor]] = {}
        handles = [
            opened.model.modules[name]
            .slices[0][0]
            .register_forward_pre_hook(
                lambda _, inputs, name=name: seen.setdefault(name, []).append(inputs[0])  # type: ignore[misc]
            )
            for name in (f"{stem}attn1.to_q", cross, conv)
        ]
        renderer.render([wanted], lambda index, image: None)
        for handle in handles:
            handle.remove()
    for name, inputs in seen.items():
        assert all(len(x) == 2 for x in inputs), "a row for the prompt, one for the negative one"
        rows = [x[0].movedim(0, -1) if name == conv else x[0] for x in inputs]
        flat = torch.cat([row.reshape(-1, row.shape[-1]) for row in rows]).double()
        assert found[name].moment.count == len(flat)
        torch.testing.assert_close(found[name].moment.total.double(), flat.T @ flat, rtol=1e-3, atol=1e-3)
    assert found[cross].of_text
    assert not found[f"{stem}attn1.to_q"].of_text
    assert found[cross].moment is found[cross.replace("to_k", "to_v")].moment
    assert found[text].of_text


def refined(folder: Path, renderer: LocalRenderer, steps: int) -> Path:
    """The LoRA after so many steps towards itself with the word and the base without it."""
    source = folder / "hina.safetensors"
    found = renderer.refine(
        [request(folder, lora=True)],
        [request(folder, lora=False, prompt="a girl")],
        str(source),
        Schooling(steps, 0.8, rate=5e-3, rows=1),
        lambda: None,
    )
    output = folder / f"refined-{steps}.safetensors"
    with open_adapter(source) as adapter:
        tensors: Tensors = {}
        for name, factors in found.items():
            tensors.update(replaced_factors(adapter.modules[name], factors))
    return write_replaced(source, output, tensors, {}, force=True)


def far(folder: Path, renderer: LocalRenderer, lora: Path | None) -> float:
    """How far the picture without the word is from the base's."""
    uses = () if lora is None else (AdapterUse(str(lora), 0.8, 0.8),)
    pictures: list[torch.Tensor] = []
    plain = request(folder, lora=False, prompt="a girl")
    for adapters in ((), uses):
        one = ImageRequest(**{**{f: getattr(plain, f) for f in plain.__slots__}, "adapters": adapters})
        renderer.render(
            [one], lambda _, image: pictures.append(torch.tensor(list(image.tobytes()), dtype=torch.float))
        )
    return float((pictures[0] - pictures[1]).abs().mean())


@pytest.mark.slow
def test_a_few_steps_bring_the_picture_without_the_word_nearer_to_the_base(sdxl: Path) -> None:
    with LocalRenderer("cpu") as renderer:
        before = far(sdxl, renderer, sdxl / "hina.safetensors")
        after = far(sdxl, renderer, refined(sdxl, renderer, 25))
    assert before > 2
    assert after < 0.75 * before


@pytest.mark.slow
def test_a_transformer_is_looked_into_and_trained(tmp_path: Path) -> None:
    tensors = assembled((*FLUX, VAE))
    write_safetensors(tmp_path / "model.safetensors", tensors)
    write_safetensors(tmp_path / "hina.safetensors", narrow_lora(tensors, r"(double|single)_blocks"))
    write_tokenizer(tmp_path / "tokenizer_2", ("<pad>", "</s>", "<unk>"))
    from loralathe.rendering.loading import PartFiles

    with (
        LocalRenderer("cpu", files=PartFiles(tokenizer=tmp_path / "tokenizer_2")) as renderer,
        open_adapter(tmp_path / "hina.safetensors") as adapter,
    ):
        names = list(adapter.modules)
        found = renderer.input_moments([request(tmp_path, lora=True, cfg=1.0)], names, lambda: None)
        assert found.keys() == set(names)
        assert all(
            read.moment.total.shape[0] == adapter.modules[name].shape[1] for name, read in found.items()
        )
        before = far(tmp_path, renderer, tmp_path / "hina.safetensors")
        after = far(tmp_path, renderer, refined(tmp_path, renderer, 25))
    assert after < 0.8 * before


def test_prompts_that_change_are_refused(sdxl: Path) -> None:
    one = request(sdxl, lora=True, prompt="hina, [a girl:a boy:1]")
    with LocalRenderer("cpu") as renderer, pytest.raises(InputError, match="prompts of one text"):
        renderer.refine(
            [one], [request(sdxl, lora=False)], str(sdxl / "hina.safetensors"), Schooling(1), lambda: None
        )
