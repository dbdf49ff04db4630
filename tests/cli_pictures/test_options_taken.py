"""Every option that a command's --help offers is taken by it: it stands in a line below that is planned.

An option that is offered and then refused, whatever is typed with it, could have no line here.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from checkpoints import write_safetensors
from cli.kit import Run
from likeness.models import pixels
from loralathe.cli import lathe
from rendering.conftest import make_lora

TOLD = "--json -q --lang en"
FOLDERS = "--lora-dir loras --checkpoint-dir ."
PLANNED = f"--force --dry-run {FOLDERS} {TOLD}"
MADE = f"-o made.safetensors {PLANNED}"
COMPUTED = "--dtype fp16 --allow-unmatched --check-finite --hash --device cpu --threads 1 --memory 1GB"
SAVED = (
    "--bake-vae baseB.safetensors --discard ^first_stage_model --metadata none"
    " --metadata-json note.json --copy-config none"
)
LISTS = "--presets lbwpresets.txt --missing-blocks 1"
OF_LORA = "--te 0.5 --unet 0.5 --include IN04 --exclude OUT03 --blocks Face=17ALL --elements IN04:attn1:0"
DRAWN = (
    "--prompt hina,sea --negative blurry --seed 7 --steps 2 --cfg 5 --sampler Euler --schedule Karras"
    " --size 64x64 --vae baseB.safetensors --clip-skip 2 --styles styles.csv --style film --hires 2"
    " --hires-upscaler Lanczos --hires-steps 1 --hires-denoising 0.5 --settings own.toml"
    f" --save-settings mine.toml --device cpu --dtype fp32 {LISTS} --element-presets elempresets.txt"
    " --low-vram --batch 2 --prediction epsilon --comfyui . --webui . --embeddings embeddings --hash"
    f" --allow-unmatched {PLANNED}"
)
MODELS = "baseA.safetensors hina.safetensors"
EPOCHS = "hina.safetensors mio.safetensors"
LIST = "--blocks Face=17ALL"
SCORED = "--scorer family --photo her0.png --face-box 0.2,0.2,0.8,0.8"
JUDGED = f"{SCORED} --card hina.card --likeness 'is hina' --trigger hina --also hina,night"
WEIGHED = "--goal likeness --goal bleed --within 2 --weigh bleed=2"
SEEDS = "--first-seeds 2 --most-seeds 4 --check-seeds 3 --error 0.1"
SEARCHED = f"{JUDGED} {WEIGHED} {SEEDS} --search nsga2 --budget '50 pictures' --sweep 'hina = 0..1' {LIST}"
PAGE = "-o study --title Hina --embed"
APART = "--devices cpu,cpu --prompt hina,sea --dry-run"
AXES = '--x "hina = 0, 1" --y "steps = 2, 3" --z "cfg = 5, 6"'
RECIPE = "--recipe article.toml --step B2 --set M=0.5"
LINES = (
    f"render {MODELS} -o hina.png --count 2 --card hina.card {LIST} {DRAWN}",
    f"grid {MODELS} {AXES} --max-cells 9 --redo 1,1 --vary-seed z --card hina.card --bleed --reference 2,1"
    f" --no-legend --margin 9 --sub-grids {SCORED} {LIST} {PAGE} {DRAWN}",
    f"render -o hina.png --prompt hina {RECIPE} {PLANNED}",
    f'grid --x "vae = none" --vae-dir . --prompt hina {RECIPE} {PLANNED}',
    f"blocks {MODELS} --range 0,1 --blocks IN04,OUT03 --threshold 9 --color white --swap --seeds 2 --coarse"
    f" --coarse-floor 0.2 --card hina.card --te --adapter hina --list Face=17ALL {PAGE} {DRAWN}",
    f"blocks {MODELS} --segments --most-seeds 4 {DRAWN}",
    f"blocks {MODELS} --weights --threads 1",
    f"tune {MODELS} --reuse old {SEARCHED} {PAGE} {DRAWN}",
    f'tune --sweep "M = 0, 1" {RECIPE} {JUDGED} {DRAWN}',
    f"everywhere hina.safetensors --bases baseB.safetensors --from baseA.safetensors --segments 2 {SEARCHED}"
    f" {PAGE} {DRAWN}",
    f"soup {EPOCHS} -o soup.safetensors --base baseA.safetensors --folder study --weights 1,2"
    " --save-dtype fp32 --metadata first --strength 0.9 --threads 1 --rank 4 --conv-rank 2"
    f" {JUDGED} {WEIGHED} {SEEDS} {LIST} {DRAWN}",
    f"soup hina-000010.safetensors hina-000020.safetensors --ema 0.9 --energy 0.9 {PLANNED}",
    f"render {MODELS} {APART}",
    f'grid {MODELS} --x "cfg = 5, 6" {APART}',
    f"blocks {MODELS} {APART}",
    f'tune {MODELS} --sweep "hina = 0..1" {JUDGED} {APART}',
    f"everywhere hina.safetensors --bases baseB.safetensors {JUDGED} {APART}",
    f"soup {EPOCHS} --base baseA.safetensors {JUDGED} {APART}",
    f"cure {MODELS} -o cured.safetensors --folder study --people boy --keep 3 --strength 0.9 --watch 2"
    f" --refine 1 {JUDGED} {SEEDS} {LIST} {DRAWN}",
    f"merge {MODELS} {OF_LORA} {LISTS} {COMPUTED} {SAVED} {MADE}",
    f"add-difference baseA.safetensors baseB.safetensors baseA.safetensors -m 0.5 {COMPUTED} {SAVED} {MADE}",
    f"weighted-sum baseA.safetensors baseB.safetensors -m 0.5 {COMPUTED} {SAVED} {MADE}",
)
LEFT_OUT = {"guidance", "tokenizer", "text_encoder", "difference", "measured", "on", "help"}
"""Of families, files and programs that are not here, or not to be planned; their own tests use them."""


def command(name: str) -> click.Command:
    found = lathe.get_command(click.Context(lathe), name)
    assert found is not None
    return found


def offered(name: str) -> dict[str, tuple[str, ...]]:
    """The options in its --help: name → spellings."""
    return {
        one.name or "": (*one.opts, *one.secondary_opts)
        for one in command(name).params
        if isinstance(one, click.Option) and not one.hidden
    }


@pytest.fixture
def there(here: Path, done: Run) -> Path:
    """More that a person may have beside models: a card, lists, profiles, two epochs."""
    pixels(here / "eye.onnx")
    rng = np.random.default_rng(0)
    for i in range(3):
        values = np.clip(rng.integers(-40, 41, (20, 20, 3)) + np.array([230, 128, 20]), 0, 255)
        Image.fromarray(values.astype(np.uint8)).save(here / f"her{i}.png")
    photos = [str(here / f"her{i}.png") for i in range(3)]
    done("identity", "make", "hina.card", *photos, "--model", "eye.onnx", "--trigger", "hina")
    (here / "lbwpresets.txt").write_text(f"MINE:{','.join('1' * 17)}\n", encoding="utf-8")
    (here / "elempresets.txt").write_text("OFF:IN05-OUT05:attn1:0\n", encoding="utf-8")
    (here / "own.toml").write_text("steps = 3\n", encoding="utf-8")
    (here / "note.json").write_text("{}", encoding="utf-8")
    for epoch in (10, 20):
        write_safetensors(here / f"hina-0000{epoch}.safetensors", make_lora("sd1", seed=epoch))
    return here


@pytest.mark.long
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split()[0])
def test_a_line_is_planned(there: Path, done: Run, line: str) -> None:
    done(*shlex.split(line))


@pytest.mark.parametrize("name", sorted({line.split()[0] for line in LINES}))
def test_every_option_that_help_offers_is_in_a_line(name: str) -> None:
    typed = {word for line in LINES if line.split()[0] == name for word in shlex.split(line)}
    unused = {option for option, spellings in offered(name).items() if not typed & set(spellings)}
    assert unused <= LEFT_OUT
