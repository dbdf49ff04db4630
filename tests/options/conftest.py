"""The files that docs/options.md speaks of, in a folder of their own for each command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from checkpoints import second_checkpoint, tiny_checkpoint, tiny_lora, write_safetensors
from rendering.conftest import shallow

WIDTH = 64
VAE = ("encoder.conv_in", "decoder.conv_out", "quant_conv", "post_quant_conv")
"""All that is kept of the VAE: its other tensors would take longer than everything else."""
MIX = """
[inputs]
A = "a.safetensors"
B = "b.safetensors"
[variables]
M = 0.3
[steps]
mix = "weighted_sum(A, B, M)"
[save]
mix = { file = "mix.safetensors" }
"""


def make_model() -> dict[str, torch.Tensor]:
    """SD 1.5 with three text-encoder layers, a stub of a VAE, and one EMA tensor."""
    held = {
        key: tensor
        for key, tensor in shallow(tiny_checkpoint("sd1", seed=1, width_divisor=WIDTH, dtype="F32")).items()
        if not key.startswith("first_stage_model.") or key.split(".", 1)[1].rsplit(".", 1)[0] in VAE
    }
    held["model_ema.decay"] = torch.tensor(0.9999)
    return held


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a, b, c of SD 1.5 in fp32; hina and mio (linear), style (with convolutions); texts. Never changed."""
    folder = tmp_path_factory.mktemp("options")
    first = make_model()
    second = second_checkpoint(first, 0.003, 2)
    for name, tensors in (("a", first), ("b", second), ("c", second_checkpoint(second, 0.003, 3))):
        write_safetensors(folder / f"{name}.safetensors", tensors, {f"title.{name}": name})
    for name, conv, seed in (("hina", None, 5), ("mio", None, 6), ("style", 2, 7)):
        lora = shallow(tiny_lora("sd1", rank=4, alpha=2, conv_rank=conv, seed=seed, width_divisor=WIDTH))
        write_safetensors(
            folder / f"{name}.safetensors", lora, {"ss_output_name": name, "ss_tag_frequency": "{}"}
        )
    (folder / "b.yaml").write_text("model: b\n", encoding="utf-8")
    (folder / "c.yaml").write_text("model: c\n", encoding="utf-8")
    (folder / "mix.toml").write_text(MIX, encoding="utf-8")
    (folder / "note.json").write_text('{"note": "mine"}', encoding="utf-8")
    (folder / "lbwpresets.txt").write_text(f"Mine:{','.join('10' * 8)},1\n", encoding="utf-8")
    (folder / "embeddings").mkdir()
    write_safetensors(folder / "embeddings" / "badhand.safetensors", {"emb_params": torch.ones(2, 12)})
    (folder / "styles.csv").write_text("name,prompt,negative_prompt\nfilm,film still,\n", encoding="utf-8")
    (folder / "elempresets.txt").write_text("OFF:IN05-OUT05:attn1:0\n", encoding="utf-8")
    return folder
