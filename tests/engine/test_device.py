"""What surrounds decompositions on a GPU, as far as it can be seen without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from loralathe.engine import RunOptions, check_device, full_precision, prepared, run_recipe
from loralathe.engine import execute as execute_module
from loralathe.errors import InputError
from loralathe.language import Save, make_recipe

BACKENDS = torch.backends
NEW = [
    part
    for part in (BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul, BACKENDS.cudnn)
    if hasattr(part, "fp32_precision")
]


def settings() -> list[object]:
    """Precisions of products and convolutions; old names cannot always read what new ones set."""
    convolutions = [BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn] if NEW else []  # type: ignore[attr-defined]
    found: list[object] = [part.fp32_precision for part in (*NEW, *convolutions)]
    for read in (torch.get_float32_matmul_precision, lambda: BACKENDS.cudnn.allow_tf32):
        try:
            found.append(read())
        except RuntimeError:
            found.append("unreadable")
    return found


def as_it_comes() -> None:
    pass


def by_old_names() -> None:
    torch.set_float32_matmul_precision("medium")
    BACKENDS.cudnn.allow_tf32 = False


def by_new_names() -> None:
    if NEW:
        BACKENDS.cuda.matmul.fp32_precision = "tf32"
        BACKENDS.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True
    for part in NEW:
        part.fp32_precision = "none"
    if NEW:
        BACKENDS.cudnn.conv.fp32_precision = BACKENDS.cudnn.rnn.fp32_precision = "tf32"  # type: ignore[attr-defined]


@pytest.mark.parametrize("change", [as_it_comes, by_old_names, by_new_names])
def test_tf32_is_off_for_a_while(change: Callable[[], None]) -> None:
    change()
    before = settings()
    with full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not BACKENDS.cudnn.allow_tf32
    # A setting that only its new name could read is now read by the old one, too.
    assert [new for new, old in zip(settings(), before, strict=True) if new != old != "unreadable"] == []


def test_workers_find_tf32_off(sd1: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    run_job = execute_module.run_job

    def watched(*args: Any) -> None:
        seen.append((torch.get_float32_matmul_precision(), torch.get_num_threads()))
        run_job(*args)

    monkeypatch.setattr(execute_module, "run_job", watched)
    torch.set_float32_matmul_precision("high")
    inputs = {name: sd1.path(name) for name in "AB"}
    recipe = make_recipe(
        inputs=inputs, steps={"x": "A + 0.5*(B - A)"}, saves=[Save("x", tmp_path / "x.safetensors")]
    )
    run_recipe(recipe, RunOptions(hash_inputs=False))
    assert set(seen) == {("highest", 1)}
    assert torch.get_float32_matmul_precision() == "high"


def test_decompositions_are_loaded_before_threads_meet_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads whose first decomposition on a GPU is at the same time: torch fails one of them."""
    asked = []
    eye = torch.eye

    def here(*size: int, device: str, **more: Any) -> torch.Tensor:
        asked.append(device)
        return eye(*size, **more)

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # kept, and put back afterwards
    monkeypatch.setattr(torch, "eye", here)
    with prepared("cpu"):
        assert asked == []
    with prepared("cuda:1"):
        assert asked == ["cuda:1"]


@pytest.mark.parametrize(
    ("words", "what_fails"),
    [
        ("CUDA error: no kernel image is available for execution on the device\nmore", "__rmul__"),
        ("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't. So", "ones"),
    ],
)
def test_devices_that_cannot_decompose(monkeypatch: pytest.MonkeyPatch, words: str, what_fails: str) -> None:
    """A GPU that this torch has no code for can be given memory; Apple's have no float64."""

    class Made:
        def __rmul__(self, factor: float) -> Any:
            raise RuntimeError(words)

    def ones(*size: int, dtype: torch.dtype, device: str) -> Made:
        if what_fails == "ones" and dtype == torch.float64:
            raise TypeError(words)
        return Made()

    monkeypatch.setattr(torch, "ones", ones)
    with pytest.raises(InputError, match="cannot be used") as caught:
        check_device("pretended")
    assert caught.value.where == words.splitlines()[0].split(". ")[0]
