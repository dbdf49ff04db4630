"""Commands that use every fragment of docs/options.md, by the heading that it stands under.

«fragment» has an effect: without it (a formula: with A in its place) the command does
something else, or fails.
‹fragment› must be taken; what it does shows only in pictures, on another device or in the other lines.
Lines with && are one after the other in the same folder.
"""

from __future__ import annotations

FILES = "A=a.safetensors B=b.safetensors C=c.safetensors hina=hina.safetensors -o out.safetensors"
MERGE = "lathe merge a.safetensors"
RENDER = "lathe render a.safetensors --lora-dir . --seed 1 --dry-run --prompt"
GRID = 'lathe grid a.safetensors hina.safetensors --prompt "a girl, smile" --seed 1 --dry-run'
BLOCKS = 'lathe blocks a.safetensors hina.safetensors --prompt "a girl" --seed 1 --dry-run'
EXTRACT = "lathe extract b.safetensors a.safetensors"
COMBINE = "lathe combine hina.safetensors style.safetensors"
LIST = "1,0,0,0,0,0,0,1,1,1,1,1,0,0,0,0,0"


def tags(*fragments: str) -> tuple[str, ...]:
    """Each tag in a prompt of its own."""
    return tuple(f'{RENDER} "a girl «{fragment}»"' for fragment in fragments)


def formulas(*fragments: str) -> tuple[str, ...]:
    """Each formula by itself."""
    return tuple(f'lathe eval "«{fragment}»" {FILES}' for fragment in fragments)


EXERCISES: dict[str, tuple[str, ...]] = {
    "A1111: Checkpoint Merger": (
        "‹lathe add-difference a.safetensors b.safetensors c.safetensors› «-m 0.7» «-o mix.safetensors»"
        ' «--dtype fp16» «--bake-vae c.safetensors» «--discard "^first_stage_model"» «--metadata merge»'
        " «--metadata-json note.json» «--copy-config none»",
        "lathe add-difference a.safetensors b.safetensors c.safetensors -m 0.7 ‹--copy-config B›",
        "lathe add-difference a.safetensors b.safetensors c.safetensors -m 0.7 «--copy-config C»"
        " «--metadata none»",
        "lathe add-difference a.safetensors b.safetensors c.safetensors -m 0.7 ‹--copy-config any›",
        "‹lathe weighted-sum a.safetensors b.safetensors› -m 0.7",
        "‹lathe convert a.safetensors› --dtype bf16 && ‹lathe inspect a.safetensors›",
    ),
    "A1111: one picture": (
        "‹lathe render a.safetensors› --lora-dir . --dry-run"
        ' «--prompt "(a girl:1.2) [smile:frown:0.5] AND sea"» «--negative blurry» «--vae c.safetensors»'
        ' «--sampler "Euler a"» «--schedule Karras» «--steps 4» «--cfg 5» «--size 64x64» «--count 2»'
        " ‹--batch 2› «--seed 7» «--clip-skip 2» ‹--low-vram› ‹--dtype fp32› «-o girl.png»",
        "‹lathe render a.safetensors› --dry-run «--prompt badhand --embeddings embeddings»",
        '‹lathe render a.safetensors› --dry-run --prompt "a girl"'
        " «--hires 2 --hires-upscaler Lanczos --hires-steps 2 --hires-denoising 0.5»",
        '‹lathe render a.safetensors› --dry-run --prompt "a girl" «--styles styles.csv --style film»',
        *tags("<lora:hina:0.7>", "<lyco:hina:0.7>"),
        '‹lathe render a.safetensors hina.safetensors:0.7› --dry-run --seed 1 --prompt "a girl"',
    ),
    "A1111: X/Y/Z plot": (
        f'{GRID} «--x "steps = 10, 20"» «--y "cfg = 4..8 (+2)"» «--z "seed = 1-3"» ‹--no-legend›'
        " ‹--sub-grids› ‹--margin 8›",
        f'{GRID} «--x "steps = 10, 20"» --y "cfg = 4, 5" ‹--vary-seed xy›',
        f'{GRID} ‹--x "seed = 1-3"›',
        f'{GRID} ‹--x "prompt s/r = smile, frown"›',
        f'{GRID} «--x "prompt order = a girl, smile"»',
        f'{GRID} «--x "sampler = Euler a, DPM++ 2M Karras"»',
        f'{GRID} --x "sampler = Euler a, Euler" «--y "schedule = Karras, Exponential"»',
        f'{GRID} ‹--x "checkpoint = a.safetensors, b.safetensors"› «--y "vae = none, c.safetensors"»',
        f'{GRID} «--x "clip skip = 1, 2"»',
        f'{GRID} «--x "size = 64x64, 128x64"»',
        f'{GRID} «--hires 2 --x "denoising = 0.3, 0.5"» «--y "hires steps = 1, 2"»'
        ' «--z "hires upscaler = Latent, Lanczos"»',
    ),
    "LoRA Block Weight: tags and words": (
        *tags(
            "<lora:hina:0.7>",
            "<lora:hina:te=0.5:unet=0.8>",
            "<lora:hina:1:0.5>",
            "<lora:hina:1:lbw=OUTALL>",
            "<lora:hina:1:w=OUTALL>",
            "<lora:hina:1:lbwe=IN05-OUT05:attn1:0>",
            "<lora:hina:1:lbw=1,X,X,0,0,0,0,1,1,1,1,1,0,0,0,0,0:x=0.7>",
            "<lora:hina:1:lbw=1,R,U,0,0,0,0,1,1,1,1,1,0,0,0,0,0>",
            "<lora:hina:1:start=1:stop=2>",
            "<lora:hina:1:step=1-2>",
        ),
        f"{MERGE} «hina.safetensors:0.7»",
        f"{MERGE} «hina.safetensors:te=0.5:unet=0.8»",
        f"{MERGE} «hina.safetensors:0.7:OUTALL»",
        f'{MERGE} «"hina.safetensors:{LIST}"»',
        f'{MERGE} «"hina.safetensors:IN04=0.3,OUT05=1,*=0"» «--elements IN05-OUT05:attn2:0.5»',
        f'{MERGE} "style.safetensors:{LIST}" «--missing-blocks 0»',
        f"{MERGE} hina.safetensors:Mine style.safetensors:Face «--presets lbwpresets.txt»"
        ' «--blocks "Face=IN04=0.3,*=0"»',
        f'{RENDER} "a girl <lora:hina:1:lbwe=OFF>" ‹--element-presets elempresets.txt›',
    ),
    "Its X/Y/Z plot": (
        f'{GRID} «--x "values = 0, 0.5, 1"» «--y "block id = IN04, IN05-IN08, NOT BASE"» «--z "seed = 1-3"»',
        f'{GRID} «--x "hina IN04-IN08 = 0, 1"»',
        f'{GRID} «--x "original weights = ALL, OUTALL"»',
        f'{GRID} «--x "elements = IN05-OUT05:attn1:0, MID::0.5"»',
        "lathe grid a.safetensors ‹hina.safetensors:OUTALL› --prompt girl --seed 1 --dry-run"
        ' --x "hina MID = 0, 1"',
        "lathe grid a.safetensors --lora-dir . --seed 1 --dry-run"
        ' --prompt "a girl <lora:hina:1:lbw=XYZ> ‹<lora:mio:1:lbw=ZYX>›"'
        ' --x "values = 0, 1" --y "block id = MID"',
    ),
    "Effective Block Analyzer": (
        f'{BLOCKS} «--blocks "BASE, IN04-IN08, MID"» «--seeds 2»',
        'lathe blocks a.safetensors style.safetensors --prompt "a girl" --seed 1 --dry-run'
        ' «--blocks 17ALL» ‹--range "0.5,1"› ‹--color white› ‹--threshold 10› ‹--swap›',
    ),
    "Merge to checkpoint, merge LoRAs": (
        "‹lathe merge a.safetensors› «hina.safetensors:0.7:OUTALL style.safetensors:0.4»"
        " «--te 0.5 --unet 0.8»",
        f"{MERGE} hina.safetensors:Mine «--presets lbwpresets.txt» ‹--device cpu› ‹-o out.safetensors›",
        "‹lathe combine hina.safetensors:0.7 style.safetensors:0.4› «--dtype bf16» «--rank 2»"
        " «--metadata merge» «-o out.safetensors»",
        f"{COMBINE} ‹--metadata new›",
        f"{COMBINE} -o out.safetensors && {COMBINE} -o out.safetensors «--metadata all» «--force»",
        f"{COMBINE} «--metadata first»",
        '‹lathe render a.safetensors --lora-dir .› --dry-run --prompt "a girl <lora:hina:0.7>"',
        "‹lathe inspect hina.safetensors style.safetensors›",
    ),
    "Make LoRA, extract from two": (
        "‹lathe extract b.safetensors a.safetensors› «--alpha 0.9 --beta 0.9» «--rank 2» «--dtype bf16»"
        " «-o out.safetensors» ‹--device cpu› ‹--force›",
        *formulas("extract(1.1*B - 0.9*A, unbalanced=True)"),
    ),
    "SuperMerger: merging models": (
        *formulas(
            "weighted_sum(A, B, 0.3)",
            "add_difference(A, B, C, 0.7)",
            "triple_sum(A, B, C, 0.3, 0.2)",
            "sum_twice(A, B, C, 0.3, 0.2)",
            "weighted_sum(A, B, 'BASE=0.2,IN04=0.5,*=1')",
            "sum_twice(A, B, C, 0.3, 'IN04=0.5')",
            "weighted_sum(A, B, 0.3, elements='MID:attn1:0.8')",
            "weighted_sum(A, B, 0.3, elements='IN04-IN08:attn2:0.5')",
            "cosine_a(A, B, 0.3, low=0.9)",
            "cosine_b(A, B, 0.3)",
            "train_difference(A, B, C, 1)",
            "smooth_add(A, B, C, 1)",
            "adjust(A, 'IN=2,CONT=1,BRI=0.5')",
            "weighted_sum(A, B, 'IN04=0.5,*=0')",
            "A + 0.7*hina",
        ),
        f'lathe eval "weighted_sum(A, B, Mine)" {FILES} «--blocks "Mine=BASE=0.2,*=1"» «--dtype fp16»'
        " «--bake-vae c.safetensors» ‹--force›",
        f'lathe eval "A" {FILES} «--discard "^model_ema"»',
        f'lathe eval "A + 0.7*hina" {FILES} && ‹lathe verify out.safetensors›'
        " && ‹lathe run out.safetensors -o again.safetensors›",
        '‹lathe grid --recipe mix.toml› --prompt girl --seed 1 --dry-run «--x "M = 0, 0.5"»',
        f'{GRID} «--x "checkpoint = a.safetensors, b.safetensors"»',
        f'{GRID} «--x "seed = 1-3"»',
        f'{GRID} «--x "prompt s/r = smile, frown"»',
        f'{GRID} «--x "elements = IN05-OUT05:attn1:0, MID::0.5"»',
        f'lathe eval "A" {FILES} ‹--copy-config any›',
        "‹lathe compare a.safetensors b.safetensors›",
        "‹lathe inspect a.safetensors --norms›",
    ),
    "extract_lora_from_models.py": (
        "‹lathe extract b.safetensors a.safetensors› «--dim 2» «--conv-dim 2» «--dtype bf16»"
        " «--min-diff 0.01» «--no-metadata» «-o out.safetensors» ‹--device cpu›",
    ),
    "merge_lora.py, sdxl_merge_lora.py, svd_merge_lora.py": (
        f'‹lathe merge a.safetensors› «"hina.safetensors:{LIST}"» "style.safetensors:{LIST}"'
        " «--missing-blocks 1»",
        "‹lathe combine hina.safetensors:0.7 style.safetensors:0.4› «--rank 2» «--conv-rank 1» «--dtype bf16»"
        " «-o out.safetensors» ‹--device cpu› «--metadata minimal»",
        "‹lathe merge a.safetensors hina.safetensors› -o out.safetensors",
    ),
    "resize_lora.py": (
        "‹lathe resize hina.safetensors› «--rank 2» «--dtype bf16» «-o out.safetensors» ‹--device cpu›"
        " «--json»",
        "lathe resize style.safetensors --rank 2 «--conv-rank 1»",
        "lathe resize hina.safetensors «--dynamic-method sv_ratio --dynamic-param 2»",
        "lathe resize hina.safetensors «--dynamic-method sv_fro --dynamic-param 0.9»",
        "lathe resize hina.safetensors «--dynamic-method sv_cumulative --dynamic-param 0.9»",
    ),
    "Other scripts, and the tabs of kohya_ss": (
        "‹lathe inspect hina.safetensors --norms›",
        "‹lathe inspect hina.safetensors --json›",
        "‹lathe resize hina.safetensors --rank 2›",
        *formulas("0.5*A + 0.3*B + 0.2*C", "weighted_sum(A, B, 'BASE=0,*=0.5')"),
        f'lathe eval "A + 0.7*hina" {FILES} «--dtype fp16»',
        "‹lathe convert a.safetensors --dtype fp16›",
        "‹lathe extract b.safetensors a.safetensors› -o out.safetensors",
        "‹lathe merge a.safetensors hina.safetensors› -o out.safetensors",
        "‹lathe convert hina.safetensors --to kohya› -o out.safetensors",
    ),
    "LyCORIS: merge.py": (
        "‹lathe merge a.safetensors hina.safetensors› «-o out.safetensors» «--dtype bf16» ‹--device cpu›",
        f"{MERGE} «hina.safetensors:0.7»",
    ),
    "LyCORIS: extract_locon.py": (
        "‹lathe extract b.safetensors a.safetensors› «--mode fixed --linear-dim 2 --conv-dim 2»"
        " ‹--device cpu› «-o out.safetensors»",
        f"{EXTRACT} «--mode threshold --linear-threshold 0.02 --conv-threshold 0.03»",
        f"{EXTRACT} «--mode ratio --linear-ratio 0.5 --conv-ratio 0.5»",
        f"{EXTRACT} «--mode quantile --linear-quantile 0.5 --conv-quantile 0.5»",
        f"{EXTRACT} ‹--mode full›",
    ),
}
