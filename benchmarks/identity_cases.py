"""The commands that `benchmarks.identity` runs: name → words.

`{sd1-a}` is the input `in/sd1-a.safetensors`, `{presets.txt}` another file there, `{=merge-fp16}` the result
of an earlier case, `{out}` the folder of the case's own results. Commands that write one file get `-o`.
"""

from __future__ import annotations

import re
import shlex

WRITERS = ("merge", "extract", "combine", "resize", "add-difference", "weighted-sum", "convert", "eval")
OF_FILES = (*WRITERS, "run", "verify", "compare", "inspect")
SETTINGS = "--prompt 'a girl, (smile:1.2)' --size 64x64 --steps 2 --seed 7 --device cpu --sampler Euler"
FACE = "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1"

RECIPES = {
    "several.toml": """
[inputs]
A = "in/sd1-a.safetensors"
B = "in/sd1-b.safetensors"
hina = "in/sd1-lora.safetensors"

[variables]
M = 0.7
rank = 4

[blocks]
Face = "1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1,0,0.5,1,1,1"

[steps]
A1 = "A + 0.7*hina@Face"
lora1 = "extract(A1 - A, rank=rank)"
B2 = "B + 0.8*lora1 - M*(B - A)"
lora2 = "extract(B2 - B, rank=rank)"

[save]
A1 = { file = "OUT/a1.safetensors", dtype = "bf16" }
B2 = { file = "OUT/b2.safetensors" }
lora2 = { file = "OUT/lora2.safetensors" }
""",
    "rendered.toml": """
[inputs]
A = "in/render-a.safetensors"
B = "in/render-b.safetensors"
hina = "in/render-lora.safetensors"

[variables]
M = 0.7
rank = 4

[steps]
A1 = "A + 0.7*hina"
lora1 = "extract(A1 - A, rank=rank)"
B2 = "B + 0.8*lora1 - M*(B - A)"

[save]
B2 = { file = "OUT/b2.safetensors" }
""",
}
RECIPES = {name: text.replace("OUT", f"out/recipe-{name[:7]}") for name, text in RECIPES.items()}

AB = "A={sd1-a} B={sd1-b}"
SD1 = "A={sd1-a} B={sd1-b} C={sd1-c}"
WITH_LORAS = "A={sd1-a} lora={sd1-lora} other={sd1-style}"

CASES = {
    # merge: dtypes, strengths, blocks, elements, kinds, families
    "merge-source": "merge {sd1-a} {sd1-lora}:0.7",
    "merge-fp16": "merge {sd1-fp32} {sd1-lora}:0.7 --dtype fp16",
    "merge-bf16": "merge {sd1-a} {sd1-lora}:0.7 --dtype bf16",
    "merge-fp32": "merge {sd1-a} {sd1-lora}:-0.7 --dtype fp32",
    "merge-te-unet": "merge {sd1-a} {sd1-lora}:0.7:te=0.2:unet=0.9 --te 0.5 --unet 1.5",
    "merge-list": f"merge {{sd1-a}} {{sd1-lora}}:0.7:{FACE}",
    "merge-names": "merge {sd1-a} {sd1-style}:0.7:IN04=0.3,OUT03=1 --missing-blocks 0",
    "merge-built-in-preset": "merge {sd1-a} {sd1-style}:OUTALL",
    "merge-named-list": f"merge {{sd1-a}} {{sd1-lora}}:0.7:Mine --blocks Mine={FACE}",
    "merge-preset-file": "merge {sd1-a} {sd1-lora}:0.7:Half --presets {presets.txt}",
    "merge-elements": "merge {sd1-a} {sd1-style} --elements OUT03-OUT05:attn2:0.5 --elements IN01:ff:0",
    "merge-include": "merge {sd1-a} {sd1-style} --include 'IN04-OUT05 TE1' --exclude 'ff'",
    "merge-several": "merge {sd1-a} {sd1-lora}:0.7 {sd1-style}:0.4:OUTALL {sd1-loha}:0.2",
    "merge-little-memory": "merge {sd1-a} {sd1-lora} {sd1-style}:0.5 --memory 80MB",
    "merge-vae": "merge {sd1-a} {sd1-lora} --bake-vae {sd1.vae.pt} --discard 'position_ids'",
    "merge-metadata": "merge {sd1-a} {sd1-lora} --metadata merge --metadata-json '{\"x\": \"y\"}' --no-hash",
    "merge-pickle": "merge {sd1-a.ckpt} {sd1-lora.pt}:0.7",
    "merge-loha": "merge {sd1-a} {sd1-loha}:0.8",
    "merge-lokr": "merge {sd1-a} {sd1-lokr}:0.8:te=0.5",
    "merge-dora": "merge {sd1-a} {sd1-dora}:0.8",
    "merge-full": "merge {sd1-a} {sd1-full}:0.8",
    "merge-diffusers": "merge {sd1-a} {sd1-diffusers}:0.8",
    "merge-sd2": "merge {sd2-a} {sd2-lora}:0.7",
    "merge-sd2-blocks": "merge {sd2-a} {sd2-style}:0.7:INALL --dtype fp32",
    "merge-sdxl": "merge {sdxl-a} {sdxl-lora}:0.7 {sdxl-style}:0.4",
    "merge-sdxl-blocks": "merge {sdxl-a} {sdxl-style}:0.7:IN04=0.5,MID=1 --missing-blocks 1 --dtype bf16",
    "merge-flux": "merge {flux-a} {flux-lora}:0.7",
    "merge-flux-blocks": "merge {flux-a} {flux-lora}:0.7:D01=0.5,S00=-1 --missing-blocks 1 --dtype fp32",
    "merge-flux-peft": "merge {flux-a} {flux-peft}:0.7",
    "merge-sdxl-loha": "merge {sdxl-a} {sdxl-loha}:0.7",
    "merge-sdxl-loha-tucker": "merge {sdxl-a} {sdxl-loha-tucker}:0.7",
    "merge-sdxl-locon-tucker": "merge {sdxl-a} {sdxl-locon-tucker}:0.7",
    "merge-sdxl-dora": "merge {sdxl-a} {sdxl-dora}:0.7",
    "merge-sdxl-full": "merge {sdxl-a} {sdxl-full}:0.7",
    "merge-sdxl-norm": "merge {sdxl-a} {sdxl-norm}:0.7",
    "merge-sdxl-peft": "merge {sdxl-a} {sdxl-peft}:0.7",
    "merge-sdxl-peft-dora": "merge {sdxl-a} {sdxl-peft-dora}:0.7",
    "merge-sdxl-diffusers": "merge {sdxl-a} {sdxl-diffusers}:0.7",
    "merge-plan": "merge {sd1-a} {sd1-lora}:0.7 --dry-run --json",
    "merge-json": "merge {sd1-a} {sd1-lora}:0.7 --json",
    "merge-wrong-family": "merge {sd1-a} {sdxl-lora}:0.7",
    "merge-missing-file": "merge {sd1-a} {nothing}",
    "merge-missing-blocks": "merge {sd1-a} {sd1-lora}:IN99=1",
    # extract
    "extract-rank": "extract {sd1-b} {sd1-a} --rank 4",
    "extract-conv-rank": "extract {sd1-b} {sd1-a} --rank 4 --conv-rank 2 --dtype bf16",
    "extract-energy": "extract {=merge-fp32} {sd1-a} --energy 0.9 --rank 8",
    "extract-size": "extract {=merge-fp32} {sd1-a} --size 60kB",
    "extract-exact": "extract {sd1-b} {sd1-a} --rank 3 --exact",
    "extract-pad-ranks": "extract {=merge-fp32} {sd1-a} --rank 6 --pad-ranks --dtype fp32",
    "extract-keep-noise": "extract {=merge-source} {sd1-a} --rank 8 --keep-noise",
    "extract-noise": "extract {=merge-source} {sd1-a} --rank 8",
    "extract-ratio": "extract {sd1-b} {sd1-a} --mode ratio --linear-ratio 0.5 --conv-ratio 0.6",
    "extract-threshold": "extract {sd1-b} {sd1-a} --mode threshold --linear-threshold 0.02",
    "extract-quantile": "extract {sd1-b} {sd1-a} --mode quantile --linear-quantile 0.4",
    "extract-fro": "extract {sd1-b} {sd1-a} --dynamic-method sv_fro --dynamic-param 0.6",
    "extract-full": "extract {=merge-full} {sd1-a} --mode full --conv",
    "extract-choices": "extract {sd1-b} {sd1-a} --rank 4 --no-te1 --alpha 1.2 --beta 0.9 --min-diff 0.001",
    "extract-bare": "extract {sd1-b} {sd1-a} --rank 2 --no-metadata",
    "extract-sd2": "extract {sd2-b} {sd2-a} --rank 4",
    "extract-sdxl": "extract {sdxl-b} {sdxl-a} --rank 4 --conv-rank 2 --no-te2",
    "extract-flux": "extract {flux-b} {flux-a} --rank 4",
    "extract-json": "extract {sd1-b} {sd1-a} --rank 4 --json",
    # combine, resize
    "combine-exact": "combine {sd1-lora}:0.7 {sd1-style}:0.4:OUTALL",
    "combine-rank": "combine {sd1-lora}:0.7 {sd1-style}:-0.4 --rank 4 --conv-rank 1 --metadata merge",
    "combine-energy": "combine {sd1-lora} {sd1-loha}:0.5 {sd1-lokr} --energy 0.9 --metadata all",
    "combine-elements": "combine {sd1-lora} {sd1-style} --te 0.5 --elements IN01:attn1:0.2 --exclude ff",
    "combine-sdxl": "combine {sdxl-lora}:0.7 {sdxl-peft}:0.3 {sdxl-diffusers}:0.2 --dtype fp32",
    "combine-flux": "combine {flux-lora}:0.7 {flux-peft}:0.3 --rank 4",
    "resize-rank": "resize {sd1-style} --rank 2",
    "resize-energy": "resize {sd1-style} --energy 0.8 --rank 4",
    "resize-size": "resize {sd1-style} --size 50kB --metadata minimal",
    "resize-ratio": "resize {sd1-style} --mode ratio --linear-ratio 0.5 --conv-ratio 0.5",
    "resize-quantile": "resize {sd1-style} --mode quantile --linear-quantile 0.6",
    "resize-fro": "resize {sd1-lora} --dynamic-method sv_fro --dynamic-param 0.8",
    "resize-threshold": "resize {sd1-lora} --mode threshold --linear-threshold 0.5",
    "resize-lokr": "resize {sd1-lokr} --rank 3 --conv-rank 2 --dtype fp32",
    "resize-sdxl": "resize {sdxl-loha} --rank 3 --metadata new",
    # sums, convert
    "add-difference": "add-difference {sd1-a} {sd1-b} {sd1-c} -m 0.7",
    "add-difference-negative": "add-difference {sdxl-a} {sdxl-b} {sdxl-c} -m -0.7 --dtype fp16",
    "add-difference-flux": "add-difference {flux-a} {flux-b} {flux-c} -m 1",
    "weighted-sum": "weighted-sum {sd1-a} {sd1-b} -m 0.3 --metadata merge --copy-config none",
    "weighted-sum-pickle": "weighted-sum {sd1-c} {sd1-a.ckpt} -m 0.3 --metadata B",
    "weighted-sum-sd2": "weighted-sum {sd2-a} {sd2-b} -m 0.5 --dtype bf16",
    "convert-dtype": "convert {sd1-fp32} --dtype fp16",
    "convert-vae": "convert {sd1-a} --bake-vae {sd1-fp32} --dtype source",
    "convert-pickle": "convert {sd1-a.ckpt}",
    "convert-discard": "convert {sdxl-a} --discard '^conditioner' --dtype fp32 --check-finite",
    # eval: formulas and the methods of docs/merge-methods.md
    "eval-formula": (
        f"eval 'A + lora@Face - M*(B - A)' {AB} lora={{sd1-lora}} --blocks Face={FACE} --set M=0.7"
    ),
    "eval-rounding": f"eval 'fp16(A + 0.5*(B - A)) + 0.1*(bf16(B) - C)' {SD1} --dtype fp32",
    "eval-extract": f"eval 'extract(B - A - 0.5*(C - B), rank=3)' {SD1}",
    "eval-weighted-sum": f"eval 'weighted_sum(A, B, 0.3)' {AB}",
    "eval-weighted-sum-blocks": (
        f"eval \"weighted_sum(A, B, 'BASE=0.2,IN04=0.5,*=1', elements='IN05:attn2:0.8')\" {AB}"
    ),
    "eval-add-difference": f"eval 'add_difference(A, B, C, 0.7)' {SD1}",
    "eval-triple-sum": f"eval 'triple_sum(A, B, C, 0.3, 0.2)' {SD1}",
    "eval-sum-twice": f"eval \"sum_twice(A, B, C, 0.3, 'IN04=0.5,*=0.1')\" {SD1}",
    "eval-slerp": f"eval 'slerp(A, B, 0.4)' {AB}",
    "eval-slerp-loras": f"eval 'A + slerp(lora, other, 0.5)' {WITH_LORAS}",
    "eval-cosine-a": f"eval 'cosine_a(A, B, 0.3, low=0.9)' {AB}",
    "eval-cosine-b": f"eval 'cosine_b(A, B, 0.3)' {AB}",
    "eval-dora": "eval 'A + dora(A, 0.7*lora)' A={sd1-a} lora={sd1-dora}",
    "eval-train-difference": f"eval 'train_difference(A, B, C, 1)' {SD1}",
    "eval-smooth-add": f"eval 'smooth_add(A, B, C, 1)' {SD1}",
    "eval-ties": f"eval 'ties(A, B, C, density=0.3)' {SD1}",
    "eval-ties-loras": f"eval 'A + 0.8*ties(lora, other, density=0.5)' {WITH_LORAS}",
    "eval-dare": f"eval 'A + dare(B - A, 0.7, seed=1)' {AB}",
    "eval-della": (
        f"eval 'A + ties(della(B - A, 0.6), della(C - A, 0.6, seed=1), density=1)' {SD1}"
    ),
    "eval-breadcrumbs": f"eval 'A + breadcrumbs(B - A, top=0.01, bottom=0.85)' {AB}",
    "eval-adjust": "eval \"adjust(A + 0.7*lora, 'IN=2,CONT=1,BRI=0.5')\" A={sd1-a} lora={sd1-lora}",
    "eval-adjust-sdxl": "eval \"adjust(A, '1,2,3,0.5,0.2,0.1,0.3,0.4')\" A={sdxl-a}",
    "eval-ties-sdxl": "eval 'ties(A, B, C, density=0.3)' A={sdxl-a} B={sdxl-b} C={sdxl-c}",
    "eval-slerp-flux": "eval 'A + slerp(B - A, C - A, 0.5)' A={flux-a} B={flux-b} C={flux-c}",
    "eval-cosine-sd2": "eval 'cosine_b(A, B, 0.3)' A={sd2-a} B={sd2-b}",
    "eval-extract-ties": "eval 'extract(ties(A, A + lora, A + other) - A, rank=4)' " + WITH_LORAS,
    "eval-extract-ties-loras": "eval 'extract(ties(lora, other), rank=4)' " + WITH_LORAS,
    "eval-wrong-name": "eval 'A + X' A={sd1-a}",
    "eval-wrong-formula": "eval 'A + (B' A={sd1-a} B={sd1-b}",
    # recipes and records
    "recipe-several": "run several.toml",
    "recipe-set": (
        "run several.toml --set M=-0.5 --set rank=3 -o A1={out}/a.safetensors -o B2={out}/b.safetensors "
        "-o lora2={out}/l.safetensors --json"
    ),
    "recipe-plan": "run several.toml --set M=0.5 --dry-run --force",
    "recipe-show": "run several.toml --show",
    "rerun-merge": "run {=merge-list} -o {out}/again.safetensors --search in",
    "rerun-extract": "run {=extract-conv-rank} -o {out}/again.safetensors --search in",
    "rerun-recipe": "run out/recipe-several/lora2.safetensors -o {out}/again.safetensors --search in",
    "rerun-dora": "run {=merge-dora} sd1_a={sd1-a} -o {out}/again.safetensors --search in",
    "rerun-recipe-file": "run {=eval-formula} --write-recipe {out}/again.toml --search in",
    # verify, compare, inspect
    "verify-merge": "verify {=merge-list} --search in --json",
    "verify-te-unet": "verify {=merge-te-unet} --search in --json",
    "verify-all": "verify {=merge-several} --search in --all --json",
    "verify-extract": "verify {=extract-rank} --search in --json",
    "verify-ties": "verify {=eval-ties} --search in --json --seed 3 --share 0.05",
    "verify-sdxl": "verify {=merge-sdxl} --search in --json",
    "verify-flux": "verify {=merge-flux-peft} --search in --no-exact",
    "verify-input": "verify {sd1-a} --json",
    "compare-checkpoints": "compare {sd1-a} {sd1-b} --json",
    "compare-adapters": "compare {sd1-lora} {sd1-style} --json",
    "compare-kinds": "compare {sd1-loha} {sd1-lokr} --json --rank 2",
    "compare-base": "compare {sd1-b} {sd1-c} --base {sd1-a} --rank 4 --json",
    "compare-sdxl": "compare {sdxl-peft} {sdxl-diffusers}",
    "compare-flux": "compare {flux-a} {flux-b} --json",
    "inspect-checkpoints": "inspect {sd1-a} {sd2-a} {sdxl-a} {flux-a} {sd1-a.ckpt} --json",
    "inspect-adapters": (
        "inspect {sd1-lora} {sd1-loha} {sd1-lokr} {sd1-dora} {sd1-full} {sdxl-peft} {sdxl-diffusers} "
        "{flux-peft} --json"
    ),
    "inspect-norms": "inspect {sd1-a} {sd1-lora} {sdxl-loha} --norms --hash --json",
    "inspect-results": "inspect {=merge-list} {=extract-energy} {=combine-rank} --json",
    "inspect-text": "inspect {sd1-a} {sd1-lora} --norms",
    # pictures
    "render": f"render {{render-a}} {{render-lora}}:0.7 {SETTINGS} --count 2 -o {{out}}/p",
    "render-tags": (
        "render {render-a} --lora-dir in --prompt 'a girl <lora:render-lora:0.5:lbw=OUTALL> AND (hat:1.3)' "
        "--size 64x64 --steps 3 --seed 3 --device cpu --negative bad --cfg 5 --clip-skip 2 --hash "
        "-o {out}/p.png"
    ),
    "render-blocks": (
        f"render {{render-a}} {{render-conv}}:0.7:te=0.5:IN04=0.3,OUT03=1 {SETTINGS} --missing-blocks 1 "
        "--schedule Karras -o {out}/p.png"
    ),
    "render-ancestral": (
        "render {render-a} --prompt 'a [cat:dog:0.5]' --size 64x64 --steps 3 --seed 1 --device cpu "
        "--sampler 'Euler a' -o {out}/p.png"
    ),
    "render-xl": f"render {{render-xl}} {{render-xlora}}:0.7 {SETTINGS} -o {{out}}/p.png",
    "render-plan": f"render {{render-a}} {{render-lora}} {SETTINGS} --dry-run -o {{out}}/p.png",
    "grid-strength": (
        f"grid {{render-a}} {{render-lora}} {SETTINGS} --x 'render-lora = 0, 0.5, 1' --y 'seed = 1, 2' "
        "-o {out}/g"
    ),
    "grid-blocks": (
        f"grid {{render-a}} {{render-lora}} {SETTINGS} --x 'render-lora blocks = ALL, OUTALL' "
        "--y 'render-lora IN04-IN08 = 0, 1' -o {out}/g"
    ),
    "grid-others": (
        f"grid {{render-a}} {{render-lora}} {{render-mio}}:0.3 {SETTINGS} --x 'cfg = 4, 8' "
        "--y 'prompt s/r = girl, boy' --z 'clip skip = 1, 2' --sub-grids --scorer none -o {out}/g"
    ),
    "grid-recipe": (
        f"grid --recipe rendered.toml {SETTINGS} --x 'M = -0.7, 0.7' --y 'rank = 2, 4' -o {{out}}/g"
    ),
    "blocks-pictures": (
        f"blocks {{render-a}} {{render-lora}} {SETTINGS} --range 0,1 --blocks 'BASE, IN04-IN05, MID' "
        "--threshold 0 --seeds 2 -o {out}/b --json"
    ),
    "blocks-weights": "blocks --weights {sd1-a} {sd1-lora} {sd1-style} --json",
    "blocks-weights-sdxl": "blocks --weights {sdxl-a} {sdxl-style} --te --json",
}  # fmt: skip


def words_of(case: str) -> list[str]:
    """The words of a case's command, files put in."""

    def file(found: re.Match[str]) -> str:
        name = found[1]
        if name == "out":
            return f"out/{case}"
        if name.startswith("="):
            return f"out/{name[1:]}/result.safetensors"
        return f"in/{name}" if "." in name else f"in/{name}.safetensors"

    words = [re.sub(r"\{(=?[\w.-]+)\}", file, word) for word in shlex.split(CASES[case])]
    if words[0] in WRITERS:
        words += ["-o", f"out/{case}/result.safetensors"]
    if words[0] in OF_FILES or "--weights" in words:
        words += ["--threads", "1"]
    return words
