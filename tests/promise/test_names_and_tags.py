"""What a name or a tag stands for is the same wherever it is read, and never yesterday's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from checkpoints import write_safetensors
from loralathe.rendering import ImageRequest, LocalRenderer
from loralathe.rendering.prompts import lift_tags
from loralathe.strengths import AdapterUse, read_argument, tag_text
from rendering.conftest import make_checkpoint

REQUEST = ImageRequest("m", steps=1, width=64, height=64, cfg=1.0, sampler="Euler")


def drawn(renderer: LocalRenderer, request: ImageRequest) -> bytes:
    found: list[bytes] = []
    renderer.render([request], lambda index, image: found.append(image.tobytes()))
    return found[0]


def test_other_weights_under_a_known_name(tmp_path: Path) -> None:
    """A file written anew, and a name in memory that now means other tensors, are opened anew."""
    first, second = make_checkpoint("sd1", seed=1), make_checkpoint("sd1", seed=2)
    held: dict[str, dict[str, torch.Tensor]] = {}  # filled after the renderer was made, as recipes do
    file = tmp_path / "m.safetensors"
    in_file = ImageRequest(str(file), steps=1, width=64, height=64, cfg=1.0, sampler="Euler")
    with LocalRenderer("cpu", weights=held, keep_models=2) as renderer:
        shown = []
        for tensors in (first, second):
            held["m"] = tensors
            write_safetensors(file, tensors)
            shown.append(drawn(renderer, REQUEST))
            assert drawn(renderer, in_file) == shown[-1]
    assert shown[0] != shown[1]


@pytest.mark.parametrize(
    "rules", ["IN04-OUT02:attn2:0.2", "NOT BASE:to_v:0.6,:ff:1.2", ":NOT attn:0", "DEEP"]
)
def test_element_rules_are_spelt_alike_in_tags_and_on_the_command_line(rules: str) -> None:
    items = f"te=0.4:lbwe={rules}:lbw=ALL"
    (use,) = lift_tags(f"<lora:n:{items}>").adapters
    spec = read_argument(f"n.safetensors:{items}")
    assert use == AdapterUse("n", 0.4, 1.0, "ALL", rules)
    assert (spec.te, spec.unet, spec.blocks, spec.elements) == (use.te, use.unet, use.blocks, use.elements)
    assert lift_tags(tag_text(use)).adapters == (use,)
