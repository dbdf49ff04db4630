"""Epochs of one training, as a trainer saves them: three files of `hina` at rank 2 for `lathe soup`.

    python -m training.shipped && python -m training.epochs --out tests/data/epochs

The learning rate stays where it is after the warm-up, as it does for most people, so late epochs are not
averaged by a falling rate. There are no pictures of other people in the training (no regularisation). An
epoch is one pass over the pictures. Only U-Net and text encoder factors of rank 2 are kept: 390 kB a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from training.export import lora_metadata, lora_tensors, write
from training.lora import BATCH, PICTURES, Course, LoraSet, train_lora
from training.runs import stage_arguments, start_stage

RANK = 2
EPOCHS = (80, 100, 120)
STEPS_EACH = PICTURES // BATCH


def constant(n: int, steps: int) -> float:
    """Linear warm-up over 20 steps, then constant."""
    return min((n + 1) / 20, 1.0)


def keep_epochs(out: Path, name: str, epochs: tuple[int, ...]) -> Callable[[int, LoraSet], None]:
    """Writes `name-000080.safetensors` after the 80th epoch, and so on."""

    def after(steps: int, loras: LoraSet) -> None:
        epoch, rest = divmod(steps, STEPS_EACH)
        if rest == 0 and epoch in epochs:
            about = {
                "ss_epoch": str(epoch),
                "ss_num_epochs": str(max(epochs)),
                "ss_steps": str(steps),
            }
            path = out / f"{name}-{epoch:06d}.safetensors"
            write(path, lora_tensors(loras.factor_state(), RANK), lora_metadata(name, RANK) | about)

    return after


def epoch_numbers(text: str) -> tuple[int, ...]:
    """`80,120` as numbers; ValueError else."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ValueError(text)
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    parser = stage_arguments("epochs", 0, __doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=epoch_numbers, default=EPOCHS)
    options = parser.parse_args()
    options.steps = options.steps or STEPS_EACH * max(options.epochs)
    options.out.mkdir(parents=True, exist_ok=True)
    after = keep_epochs(options.out, "hina", options.epochs)
    train_lora(start_stage("epochs-hina", options), "hina", Course(RANK, constant), after)
