"""The choices of the chapters: how much the demo shows, prompts, strengths, file names and recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

SCENES = (
    "smiling, navy shirt, forest",
    "serious, yellow shirt, night",
    "surprised, white shirt, blossom",
    "smiling, scarlet shirt, sky",
    "serious, teal shirt, room",
    "surprised, purple shirt, sunset",
)
PEOPLE = (
    "brown hair, short hair, green eyes, fair skin, smiling, navy shirt, forest",
    "silver hair, long hair, amber eyes, tan skin, serious, scarlet shirt, night",
    "black hair, ponytail, red eyes, dark skin, surprised, yellow shirt, sky",
    "orange hair, twin tails, green eyes, fair skin, smiling, glasses, teal shirt, room",
    "blond hair, long hair, blue eyes, tan skin, smiling, beret, purple shirt, sunset",
    "pink hair, short hair, amber eyes, dark skin, serious, white shirt, blossom",
)


class PictureSettings(TypedDict):
    """Settings of a picture."""

    negative: str
    seed: int
    steps: int
    cfg: float


@dataclass(frozen=True)
class Settings:
    """The size of the story.

    steps: of the sampler.  strengths: of the first grid.  crossed: of both LoRAs in the second.
    people, scenes: how many prompts.  swept: how many scenes for M.  seeds: pictures beside one another.
    analyzed: the analyzer's seeds.
    differences: values of M, both signs.  proof_scenes, proof_seeds: the last grids.
    """

    steps: int = 12
    strengths: tuple[float, ...] = (0, 0.3, 0.5, 0.7, 0.9, 1)
    crossed: tuple[float, ...] = (0, 0.5, 0.7, 1)
    people: int = 6
    scenes: int = 3
    swept: int = 6
    seeds: int = 6
    analyzed: int = 4
    differences: tuple[float, ...] = (-0.7, -0.4, -0.2, -0.1, 0, 0.1, 0.35)
    proof_scenes: int = 6
    proof_seeds: int = 5

    def of_pictures(self) -> PictureSettings:
        """What all pictures of the demo have in common; their size is in the models' metadata."""
        return {"negative": NEGATIVE, "seed": SEED, "steps": self.steps, "cfg": CFG}


FULL = Settings()
QUICK = Settings(
    steps=8,
    strengths=(0, 0.7, 1),
    crossed=(0, 1),
    people=2,
    scenes=1,
    swept=1,
    seeds=2,
    analyzed=2,
    differences=(-0.7, -0.2, 0, 0.35),
    proof_scenes=2,
    proof_seeds=2,
)

SIDE = 128
CFG = 4
NEGATIVE = "picture"
"""A word that says nothing to these models. SDXL reads an empty negative prompt as zeros, which the family
was never shown."""

SEED = 1
PROFILE = "settings.toml"
"""The profile with these settings, which the printed commands name."""
STRENGTH = 0.9
"""Strength of `hina` when she is merged into base A."""

CARRY = 1.0
"""Strength of the extracted LoRA on base B."""

RANK = 8
FINAL_RANK = 64
"""Of the last LoRA, which holds what sets two whole models apart, too: nearly all that layers of 64 and 128
channels have."""

RANKS = (4, 8, 16)
MULTIPLIERS = {"towards": 0.7, "away": 0.1}
"""M of the two recipes: the article's 0.7 towards A; away from A what the sweep shows to hold."""

PROVED = "towards"
"""The direction whose model and LoRA the last chapter looks at."""

RANGE = "0.3,0.7"

BASE_A = "baseA.safetensors"
BASE_B = "baseB.safetensors"
HINA = "hina.safetensors"
SAILOR = "sailor.safetensors"
A_UNIFORM = "A_uniform.safetensors"
A_BLOCKS = "A_blocks.safetensors"
A_FOUND = "A_found.safetensors"
LORA1 = f"hina_r{RANK}.safetensors"
LORA1_EXACT = "hina_exact.safetensors"
B1 = "B1.safetensors"

LIST_NAME = "HinaBlock"
FOUND_NAME, FOUND_LIST = "FoundBlock", "1,0,1,0,1,1,1,1,1,0.5,1,1"
"""What `training/blocks.py` found on base A with other seeds than the demo's."""

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


def start_of_forms() -> dict[str, object]:
    """What forms hold at first, so that the family can be tried at once; files by the workshop's names."""
    return {
        "checkpoint": f"checkpoints/{BASE_A}",
        "loras": [{"file": f"loras/{HINA}", "strength": STRENGTH}],
        "settings": {"prompt": f"hina, {SCENES[0]}", **FULL.of_pictures()},
    }
