"""What a person gets wrong in pictures: exact texts, exit code 2, nothing rendered."""

# ruff: noqa: E501  lines hold texts as they are printed

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cli.kit import Run

QUICK = "--prompt girl --size 64x64 --steps 1 --seed 1"
R, G, B = (f"{name} baseA.safetensors hina.safetensors {QUICK}" for name in ("render", "grid", "blocks"))
FAMILY = (
    "the shapes of 114 of 114 modules differ from the base's (SD 1.5)\n"
    "  where: xlora.safetensors: lora_te1_text_model_encoder_layers_0_mlp_fc1: [96, 24], the base has [192, 48]; "
    "lora_te1_text_model_encoder_layers_0_mlp_fc2: [24, 96], the base has [48, 192]; "
    "lora_te1_text_model_encoder_layers_0_self_attn_k_proj: [24, 24], the base has [48, 48] and 111 more\n"
    "  fix:   this one is made for SDXL; use a LoRA made for SD 1.5"
)
OTHER_FAMILY = (
    "this LoRA is for SDXL, the checkpoint is SD 1.5\n  where: xlora.safetensors\n"
    "  fix:   use a LoRA made for SD 1.5"
)
CASES = {
    f"{R} --dry-run --prompt '<lora:hinna:1>' --lora-dir .": "no adapter is called 'hinna'\n"
    "  where: .\n  fix:   did you mean 'hina'?",
    f"{R} --dry-run --prompt '<lora:xlora:1>' --lora-dir .": OTHER_FAMILY,
    f"{G} --x lora=hina,hinako2000": "there is no adapter 'hinako2000'\n"
    "  fix:   give a path, or a name from the folder that --lora-dir names",
    f"{R} --sampler Eulre": "no sampler is called 'Eulre'\n  fix:   perhaps 'Euler' or 'Euler a'",
    f"{R} --schedule xyz": "no schedule is called 'xyz'\n  fix:   known: Automatic, Uniform, Karras, "
    "Exponential, Polyexponential, SGM Uniform, KL Optimal, Align Your Steps, Simple, Normal, DDIM",
    f"{R} --schedule Karas": "no schedule is called 'Karas'\n  fix:   perhaps 'Karras'",
    f"{R} --size 100000x100000": "the width 100000 is more than 8192 pixels\n  fix:   ask for 8192 at most",
    f"{R} --size 64x1000000": "the height 1000000 is more than 8192 pixels\n  fix:   ask for 8192 at most",
    f"{R} --steps 1000000000": "1000000000 steps are more than 10000\n  fix:   ask for 10000 at most",
    f"{R} --count 1000000000": "the number of images is 1000000000\n  fix:   ask for 10,000 at most, several times",
    f"{R} --negative {20_001 * 'a'}": "the negative prompt is 20,001 characters long; the most is 20,000\n"
    "  fix:   the model sees little of so much: keep what matters",
    f"{R} --size 100x64": "the width 100 is not a multiple of 8\n  fix:   ask for 96, the nearest that is",
    f"{R} --size big": "'big' is not a size\n  where: --size\n  fix:   write width x height: --size 832x1216",
    f"{R} --seed -2": "Invalid value for '--seed': -2 is not in the range x>=-1\n  fix:   see lathe render --help",
    f"{R} --count 2 -o a.png": "2 images do not fit into one file\n  where: a.png\n  fix:   name a folder",
    f"{R} --vae xl.safetensorz": "no such file\n  where: xl.safetensorz\n"
    "  fix:   did you mean 'xl.safetensors'?",
    f"render basA.safetensors {QUICK}": "no such file\n  where: basA.safetensors\n"
    "  fix:   did you mean 'baseA.safetensors' or 'baseB.safetensors'?",
    f"render baseA.safetensors xlora.safetensors {QUICK}": OTHER_FAMILY,
    f"grid baseA.safetensors xlora.safetensors {QUICK} --x 'xlora = 0, 1'": OTHER_FAMILY,
    f"render baseA.safetensors baseB.safetensors {QUICK}": "this is not an adapter\n"
    "  where: baseB.safetensors\n"
    "  fix:   one checkpoint comes first, adapters follow it; inspect says what a file is",
    f"render baseA.safetensors hnia:0.5 --lora-dir loras {QUICK}": "no adapter is called 'hnia'\n"
    "  where: loras\n  fix:   did you mean 'hina'?",
    f"render baseA.safetensors --lora-dir loras {QUICK} --prompt '<lora:hnia:1>'": "no adapter is called 'hnia'\n"
    "  where: loras\n  fix:   did you mean 'hina'?",
    f"render baseA.safetensors {QUICK} --prompt '<lora:hinna:1>'": "no adapter is called 'hinna'\n"
    "  fix:   did you mean 'hina'?",
    f"render baseA.safetensors {QUICK} --prompt '<lora:kasumi:1>'": "no adapter is called 'kasumi'\n"
    "  fix:   give a path, or name the folder of your files with --lora-dir",
    f"render baseA.safetensors hina.safetensors:OUTT {QUICK}": "there are no block weights called 'OUTT'\n"
    "  fix:   did you mean 'OUTS' or 'OUTD' or 'OUTALL'?",
    f"grid baseA.safetensors hina.safetensors:OUTALLL {QUICK} --x seed=1,2 --dry-run": "there are no block weights "
    "called 'OUTALLL'\n  fix:   did you mean 'OUTALL' or 'ALL'?",
    f"{G} --x hina=0,1 --y hina=0.5": "two axes set hina\n  fix:   put all its values on one axis and drop the other",
    f"render baseA.safetensors hina.safetensors:OUTALLL {QUICK} --dry-run": "there are no block weights "
    "called 'OUTALLL'\n  fix:   did you mean 'OUTALL' or 'ALL'?",
    f"{R} --lora-dir . --dry-run --prompt '<lora:hina:0.5>'": "an adapter is used twice, once by the prompt's tag and "
    "once beside the prompt\n  where: hina.safetensors\n"
    "  fix:   drop one of them: <lora:hina.safetensors:0.5> in the prompt, or hina.safetensors:1",
    f"grid baseA.safetensors --lora-dir . --dry-run {QUICK} --prompt '<lora:hinna:1>' --x seed=1,2": "no adapter is "
    "called 'hinna'\n  where: .\n  fix:   did you mean 'hina'?",
    f"grid baseA.safetensors {QUICK} --prompt '<lora:kasumi:1>' --x seed=1,2 --dry-run": "no adapter is called 'kasumi'\n"
    "  fix:   give a path, or name the folder of your files with --lora-dir",
    f"grid baseA.safetensors --lora-dir . --dry-run {QUICK} --prompt '<lora:NAME:1>' --x s/r=NAME,hina": "no adapter "
    "is called 'NAME'\n  where: .\n  fix:   the first value of prompt S/R is searched for and is a value, too: "
    "write one that can be rendered in place of 'NAME', in the prompt as well",
    f"grid baseA.safetensors --lora-dir . {QUICK} --prompt '<lora:hina:S>' --x 's/r=S,0.3,0.7'": "there are no block "
    "weights called 'S'\n  fix:   the first value of prompt S/R is searched for and is a value, too: "
    "write one that can be rendered in place of 'S', in the prompt as well",
    f"blocks baseA.safetensors --lora-dir . --dry-run {QUICK} --prompt '<lora:hinna:1>'": "no adapter is called 'hinna'\n"
    "  where: .\n  fix:   did you mean 'hina'?",
    f"{R} --dry-run --prompt '<lora:baseC:1>' --lora-dir .": "no adapter is called 'baseC'\n"
    "  where: .\n  fix:   give a path, or another --lora-dir",
    f"{G} --dry-run --x lora=hina,baseC --lora-dir .": "there is no adapter 'baseC'\n"
    "  fix:   give a path, or a name from the folder that --lora-dir names",
    f"{G} --dry-run --x checkpoint=baseA,hima --checkpoint-dir .": "there is no checkpoint 'hima'\n"
    "  fix:   give a path, or a name from the folder that --checkpoint-dir names",
    f"{G} --dry-run --x checkpoint=baseA,hina --checkpoint-dir .": "this is a LoRA (an adapter), not a checkpoint\n"
    "  where: hina.safetensors\n"
    "  fix:   give the base model here; a LoRA is added to it, as in 'base + 0.7*lora'",
    f"{G} --dry-run --x baseC=0,1 --lora-dir .": "there is no axis 'baseC'\n  fix:   take one of seed, steps, cfg, "
    "sampler, schedule, checkpoint, vae, clip skip, denoising, hires steps, hires upscaler, size, prompt s/r, "
    "prompt order, strength, te, unet, lora, blocks, "
    "elements, values, block id, original weights; the help of grid shows examples",
    f"{G} --dry-run --x 'lora = hina, xlora' --lora-dir .": OTHER_FAMILY,
    f"blocks baseA.safetensors --lora-dir . --dry-run {QUICK} --prompt '<lora:xlora:1>'": OTHER_FAMILY,
    f"{B} --dry-run --adapter mio": "there is no adapter 'mio' here\n"
    "  where: the adapters of this cell are hina",
    f"{G} --dry-run --x 'elements = IN04:atn2:0'": "no layer has 'atn2' in its name\n"
    "  where: element rules 'IN04:atn2:0'\n  fix:   did you mean 'attn2' or 'attn' or 'attn1'?",
    f"{G} --x smapler=Euler": "there is no axis 'smapler'\n  fix:   did you mean 'sampler'?",
    f"{G} --x sampler=Eulre": "there is no sampler 'Eulre'\n  fix:   did you mean 'Euler' or 'Euler a'?",
    f"{G} --x blocks=OUTT": "there are no block weights called 'OUTT'\n  fix:   did you mean 'OUTS' or 'OUTD' or 'OUTALL'?",
    f"{G} --x lora=hnia --lora-dir loras": "there is no adapter 'hnia'\n  fix:   did you mean 'hina'?",
    f"{G} --x 'hina = 0..1 (+0.01)' --y seed=1-100": "this grid has 10,100 cells; "
    "more than 400 are made only when asked for\n  where: 101 hina × 100 Seed\n"
    "  fix:   take fewer values, or confirm with --max-cells 10100",
    f"{G} --x s/r=boy,cat": "prompt S/R looks for 'boy', which the prompt does not contain\n"
    "  where: prompt: girl\n  fix:   the first value must occur, letter for letter",
    f"{G} --x size=100x100": "the size 100x100 is not a multiple of 8\n  fix:   for example 96x96",
    f"{G} --x hina=0,one": "'one' is neither a number nor a range\n"
    "  where: character 3\n    0,one\n      ^\n  fix:   write 0.5, or 0-1 (+0.25), or 0..1 [5]",
    f"{G} --redo 9,9": "this grid does not have a cell 9 × 9 × 1\n  where: it has 1 × 1 × 1 cells (x × y × z)",
    f"{G} --redo second": "'second' is not a cell\n  where: --redo\n"
    "  fix:   write column,row or column,row,sheet, counted from 1: --redo \"3,1\"",
    f"{G} --vary-seed w": "'w' names no axes\n  where: --vary-seed\n  fix:   write x, y, z, or several: xy",
    f"{G} --scorer identity=no.onnx": "no such file\n  where: no.onnx\n"
    "  fix:   check the path and the spelling",
    f"{G} --scorer prompt": "the scorer 'prompt' needs a model\n  where: --scorer prompt\n"
    "  fix:   --scorer prompt=clip-vit-base-patch32",
    f"{G} --scorer promt=x": "there is no scorer 'promt'\n  where: --scorer promt=x\n  fix:   did you mean 'prompt'?",
    f"{G} --scorer identity=m.onnx --face-box 1,0,0,1": "'1,0,0,1' is not a box\n  where: --face-box\n"
    "  fix:   left,top,right,bottom as shares of the picture: --face-box \"0.25,0,0.75,0.5\"",
    "grid": "there is nothing to render\n  fix:   give a CHECKPOINT, or --recipe FILE; see lathe grid --help",
    f"{G} --step B2": "--step belongs to a recipe\n  fix:   add --recipe FILE, or leave it out",
    f"grid --recipe article.toml --step lora2 {QUICK}": "step 'lora2' is an adapter, not a model to render\n"
    "  where: article.toml",
    f"grid --recipe article.toml --step B3 {QUICK}": "the recipe has no step 'B3'\n  where: article.toml\n"
    "  fix:   steps are: A1, lora1, B2, lora2",
    f"grid --recipe article.toml --x N=1,2 {QUICK}": "there is no axis 'N'\n"
    "  fix:   take the recipe's variables M, rank, or one of seed, steps, cfg, sampler, schedule, checkpoint, "
    "vae, clip skip, denoising, hires steps, hires upscaler, size, prompt s/r, prompt order, strength, te, unet, lora, "
    "blocks, elements, values, "
    "block id, original weights; the help of grid shows examples",
    f"blocks baseA.safetensors {QUICK}": "no LoRA is given to examine\n"
    "  fix:   give it after the checkpoint, or as a <lora:…> tag in the prompt",
    f"blocks baseA.safetensors hina.safetensors mio.safetensors {QUICK}": "which of the 2 LoRAs should be "
    "examined?\n  fix:   --adapter hina or --adapter mio",
    f"{B} --range 1": "the range has 1 value; it takes two\n  where: '1'\n"
    "  fix:   first the weight of the examined block, then of all others: 0.5,1",
    f"{B} --range 0.3-0.7": "'0.3-0.7' has no step, and the usual step of 1 passes its end\n"
    "  where: character 1\n    0.3-0.7\n    ^\n"
    "  fix:   first the weight of the examined block, then of all others: 0.5,1",
    f"{B} --range 0.3，0.7": "'0.3，0.7' is neither a number nor a range\n  where: character 1\n    0.3，0.7\n"
    "    ^\n  fix:   write it with half-width characters: 0.3,0.7",
    f"{B} --blocks 13ALL": "there is no block list '13ALL'\n"
    "  fix:   write 17ALL, 26ALL, or names of blocks",
    f"{G} --x 'hina ＝ 0, 1'": "an axis is written NAME = VALUES\n  where: 'hina ＝ 0, 1'\n"
    "  fix:   write it with half-width characters: hina = 0, 1",
    f"{G} --x 'hina: 0, 1'": "an axis is written NAME = VALUES\n  where: 'hina: 0, 1'\n  fix:   write hina=0, 1",
    f"{G} --x 'hina = 0 0.5 1'": "'0 0.5 1' is neither a number nor a range\n  where: character 1\n"
    "    0 0.5 1\n    ^\n  fix:   values are separated by commas: 0, 0.5, 1",
    f"{G} --x 'hina = 50%'": "'50%' is neither a number nor a range\n  where: character 1\n"
    "    50%\n    ^\n  fix:   shares are written without a percent sign: 0.5",
    f"{B} --blocks 'BASE, IN99'": "'IN99' is not a block of SD 1.5\n  where: 'IN99'\n"
    "  fix:   did you mean 'IN09'?",
    "blocks --weights baseA.safetensors": "--weights takes one LoRA, or two to compare, not 0\n"
    "  fix:   lathe blocks --weights baseA.safetensors hina.safetensors",
    "blocks --weights baseA.safetensors xlora.safetensors": FAMILY,
}  # fmt: skip


@pytest.mark.quick(30)
@pytest.mark.parametrize("line", CASES)
def test_words(here: Path, run: Run, line: str) -> None:
    before = set(here.iterdir())
    result = run(*shlex.split(line))
    assert result.exit_code == 2, result.output
    assert result.stderr.partition("lathe: error: ")[2] == f"{CASES[line]}\n"
    assert result.stdout == ""
    assert not [path for folder in set(here.iterdir()) - before for path in folder.rglob("*.png")]


@pytest.mark.long
def test_a_gpu_that_is_not_there(here: Path, run: Run) -> None:
    result = run(*shlex.split(f"{R} --device cuda:9"))
    assert result.exit_code == 2
    assert result.stderr.startswith("lathe: error: the device 'cuda:9' cannot be used\n  where: ")
    assert "Traceback" not in result.stderr
