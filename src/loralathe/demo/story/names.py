"""Names of the files that the story makes, and the recipes that it leaves."""

from __future__ import annotations

from loralathe.demo.settings import CARRY, FINAL_RANK, MULTIPLIERS, RANK, STRENGTH

BASE_A = "baseA.safetensors"
BASE_B = "baseB.safetensors"
HINA = "hina.safetensors"
SAILOR = "sailor.safetensors"
A_UNIFORM = "A_uniform.safetensors"
A_BLOCKS = "A_blocks.safetensors"
LORA1 = f"hina_r{RANK}.safetensors"
LORA1_EXACT = "hina_exact.safetensors"
B1 = "B1.safetensors"

LIST_NAME = "HinaBlock"
DIRECTIONS = (
    ("towards", "-", "towards A: the printed formula"),
    ("away", "+", "away from A: the article's clicks"),
)


def extracted(rank: int) -> str:
    """The LoRA taken back out of the merged file at a rank."""
    return f"hina_r{rank}.safetensors"


def model_of(direction: str) -> str:
    """The last model, by the direction of Add difference."""
    return f"B2_{direction}.safetensors"


def lora_of(direction: str) -> str:
    """The last LoRA."""
    return f"lora2_{direction}.safetensors"


RECIPE = """\
# {title}
# lathe run {direction}.toml
[inputs]
A    = "baseA.safetensors"
B    = "baseB.safetensors"
hina = "hina.safetensors"

[variables]
M    = {multiplier}
rank = {rank}
last = {last}

[blocks]
{name} = "{blocks}"

[steps]
A1    = "A + {strength}*hina"                  # or, with weights per block: A + {strength}*hina@{name}
lora1 = "extract(A1 - A, rank=rank)"    # subtract base A again: a new LoRA
B1    = "B + {carry}*lora1"                 # carry it to base B
B2    = "B1 {sign} M*(B - A)"                # Add difference
lora2 = "extract(B2 - B, rank=last, conv_rank=last)"

[save]
B2    = {{ file = "{model}", dtype = "fp16" }}
lora2 = {{ file = "{lora}", dtype = "fp16" }}
"""


def recipe_text(direction: str, sign: str, title: str, blocks: str) -> str:
    """The whole loop as one recipe, with this sign of Add difference."""
    return RECIPE.format(
        title=title,
        direction=direction,
        sign=sign,
        name=LIST_NAME,
        blocks=blocks,
        strength=STRENGTH,
        carry=CARRY,
        multiplier=MULTIPLIERS[direction],
        rank=RANK,
        last=FINAL_RANK,
        model=model_of(direction),
        lora=lora_of(direction),
    )
