"""One folder of small models and adapters, the real `lathe` command, and one renderer for all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from checkpoints import second_checkpoint, write_safetensors
from loralathe.cli import lathe
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.latents import LatentRenderer
from loralathe.rendering.prepare import prepare
from loralathe.tensorfiles import read_header
from rendering.conftest import as_tucker, make_checkpoint, make_lora

FAMILIES = ("sd1", "sdxl")
REQUEST = ImageRequest(
    "", prompt="a portrait, (blue:1.2) hair", negative="bad", seed=3, steps=2, cfg=3.0, sampler="Euler",
    width=64, height=64,
)  # fmt: skip


@dataclass
class Atelier:
    """Files by stem: `sd1`, `sdxl` (fp32), another model near each (`sd1-near`), adapters in `loras`."""

    folder: Path
    renderer: LocalRenderer
    made: set[str] = field(default_factory=set)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def lora(self, name: str) -> Path:
        return self.folder / "loras" / f"{name}.safetensors"

    def base(self, family: str) -> Path:
        if family not in self.made:
            write_safetensors(self.path(family), make_checkpoint(family))
            self.made.add(family)
        return self.path(family)

    def near(self, family: str) -> Path:
        """A model of the same family, every weight a little different."""
        name = f"{family}-near"
        if name not in self.made:
            write_safetensors(self.path(name), second_checkpoint(make_checkpoint(family), 0.02, 8))
            self.made.add(name)
        return self.path(name)

    def lathe(self, *words: object) -> None:
        """Run the command, which must succeed."""
        result = CliRunner().invoke(lathe, [str(word) for word in words], prog_name="lathe")
        assert result.exit_code == 0, result.output

    def merged(self, family: str, *adapters: str, blocks: Sequence[str] = ()) -> Path:
        """The fp32 file that `lathe merge` writes; adapters as `stem:te=…:unet=…`."""
        output = self.path("merged")
        words = []
        for adapter in adapters:
            stem, colon, rest = adapter.partition(":")
            words.append(f"{self.lora(stem)}{colon}{rest}")
        lists = [word for one in blocks for word in ("--blocks", one)]
        self.lathe(
            "merge", self.base(family), *words, *lists, "-o", output, "--force", "--dtype", "fp32", "--quiet"
        )
        assert dtypes_of(output) == dtypes_of(self.base(family))
        return output

    def latents(self, checkpoint: Path, prompt: str = REQUEST.prompt, **changes: object) -> torch.Tensor:
        """(4, h, w): the latents behind the picture, finer than its 8-bit levels.

        A file that was written anew is opened anew.
        """
        request = replace(REQUEST, checkpoint=str(checkpoint), prompt=prompt, **changes)  # type: ignore[arg-type]
        with torch.inference_mode():
            latent_renderer = LatentRenderer(
                self.renderer._models.get(str(checkpoint), None), self.renderer._settings
            )
            return latent_renderer.latents([prepare(0, request, self.renderer._folders)])[0]


def dtypes_of(path: Path) -> set[str]:
    return {info.dtype for info in read_header(path).tensors.values()}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_cache_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def atelier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Atelier]:
    folder = tmp_path_factory.mktemp("atelier")
    (folder / "loras").mkdir()
    for family in FAMILIES:
        conv = make_lora(family, conv=True)
        for kind, tensors in {
            "linear": make_lora(family),
            "other": make_lora(family, seed=6),
            "conv": conv,
            "tucker": as_tucker(conv),
        }.items():
            write_safetensors(folder / "loras" / f"{family}-{kind}.safetensors", tensors)
    with LocalRenderer("cpu", lora_dirs=[folder / "loras"], keep_models=3) as renderer:
        yield Atelier(folder, renderer)
