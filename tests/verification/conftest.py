"""Very small models of both families, and files that loralathe made of them, once for all tests here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from loralathe.engine import RunOptions, run_recipe
from loralathe.language import Save, make_recipe
from rendering.conftest import shallow

WIDTHS = {"sd1": 64, "sdxl": 64}
FACE = {"sd1": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,1,1,1,1,1", "sdxl": "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1"}
FEW = r"^(?!.*(input_blocks\.(0|1|4)\.|resblocks\.0\.|layers\.0\.|position_ids|label_emb|logit_scale))"
"""Everything but a few tensors of every kind: so much less to check."""
STEPS = {
    "A1": "A + 0.7*lora@Face",
    "small": "extract(A1 + 0.3*(B - A) - A, rank=rank)",
    "B1": "B + 0.8*fp16(small) - M*(B - A)@'INALL'",
}


@dataclass(frozen=True)
class Workshop:
    """inputs: A, B and lora;  checkpoint, adapter: made of them by STEPS, with choices of every kind."""

    family: str
    folder: Path
    checkpoint: Path
    adapter: Path

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


@pytest.fixture(scope="session", autouse=True)
def no_cache_in_the_home(tmp_path_factory: pytest.TempPathFactory):
    patch = pytest.MonkeyPatch()
    patch.setenv("LORALATHE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return build("sd1", tmp_path_factory)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return build("sdxl", tmp_path_factory)


@pytest.fixture(params=["sd1", "sdxl"])
def shop(request: pytest.FixtureRequest) -> Workshop:
    """Both families, each built once."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Workshop)
    return found


def build(name: str, factory: pytest.TempPathFactory) -> Workshop:
    folder = factory.mktemp(name)
    width = WIDTHS[name]
    base = shallow(tiny_checkpoint(name, seed=1, width_divisor=width))
    write_safetensors(folder / "A.safetensors", base, {"note": "A"})
    write_safetensors(folder / "B.safetensors", second_checkpoint(base, 2e-3, seed=2))
    lora = shallow(tiny_lora(name, rank=2, alpha=1.0, seed=3, width_divisor=width))
    write_safetensors(folder / "lora.safetensors", lora)
    made = folder / "made"
    made.mkdir()
    saves = [
        Save("B1", made / "B1.safetensors", "bf16", FEW, {"author": "me"}),
        Save("small", made / "small.safetensors", None, None, {"note": "x"}),
    ]
    recipe = make_recipe(
        inputs={key: folder / f"{key}.safetensors" for key in ("A", "B", "lora")},
        steps=STEPS,
        variables={"M": 0.7, "rank": 3, "unused": 1.0},
        blocks={"Face": FACE[name]},
        saves=saves,
    )
    run_recipe(recipe, RunOptions(threads=1, missing_blocks=1, allow_unmatched=True))
    return Workshop(name, folder, saves[0].file, saves[1].file)
