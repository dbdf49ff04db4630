"""Texts of the errors that the command line itself makes, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.kit import Run

CASES = {
    "megre a b": "there is no command 'megre'; did you mean 'merge'?\n  fix:   see lathe --help",
    "xyzzy": "there is no command 'xyzzy'; commands are add-difference, blocks, check, combine, compare, "
    "config, convert, cure, demo, eval, everywhere, extract, grid, identity, inspect, install, merge, "
    "render, resize, run, soup, transfer, tune, ui, verify, weighted-sum\n"
    "  fix:   see lathe --help",
    "--verison": "there is no option '--verison'\n  fix:   did you mean '--version'? see lathe --help",
    "merge {a}": "Missing argument 'ADAPTER…'\n  fix:   see lathe merge --help",
    "merge {a} {hina} --block X=1": "there is no option '--block'\n"
    "  fix:   did you mean '--blocks' or '--missing-blocks'? see lathe merge --help",
    "merge {a} {hina} --te high": "Invalid value for '--te': 'high' is not a number; write one such as 0.7\n"
    "  fix:   see lathe merge --help",
    "merge {a} {hina} --unet nan": "Invalid value for '--unet': 'nan' is not a finite number; "
    "write a finite number such as 0.7\n"
    "  fix:   see lathe merge --help",
    "merge {a} {hina} --memory 5": "Invalid value for '--memory': '5' is too little memory; "
    "write 2GB or 800MB\n  fix:   see lathe merge --help",
    "merge {a} {hina} --blocks 1,0,0": "--blocks is written NAME=VALUE\n  where: '1,0,0'\n"
    "  fix:   --blocks Face=1,0,0,0.3,0.5,1,0.3,0.3,1,1,1,1",
    "merge {a} {hina} --te 0,7": "Invalid value for '--te': '0,7' is not a number; "
    "a decimal has a point: 0.7\n"
    "  fix:   see lathe merge --help",
    "merge {a} {hina} --blocks Face:1,0": "--blocks is written NAME=VALUE\n  where: 'Face:1,0'\n"
    "  fix:   between name and value stands '=': Face=1,0",
    "merge {a} {hina} --blocks Face＝1,0": "--blocks is written NAME=VALUE\n  where: 'Face＝1,0'\n"
    "  fix:   write it with half-width characters: Face=1,0",
    "merge {a} {hina}：0.7": "no such file\n  where: {hina}：0.7\n"
    "  fix:   write it with half-width characters: {hina}:0.7",
    "merge {a} {hina} 0,7": "'0,7' is a strength, not a file\n  where: among the adapters\n"
    "  fix:   it belongs to its adapter: hina.safetensors:0.7",
    "merge {a} <lora:hina:0.7:lbw=OUTALL>": "a tag belongs in a prompt\n"
    "  where: '<lora:hina:0.7:lbw=OUTALL>'\n"
    "  fix:   here it is written hina.safetensors:0.7:lbw=OUTALL",
    "merge {a} {hina}:0.7,{hina}:0.4 -o x": "several adapters are joined by a comma; "
    "each is a word of its own\n"
    "  where: '{hina}:0.7,{hina}:0.4'\n  fix:   lathe merge {a} {hina}:0.7 {hina}:0.4 -o x",
    "combine {hina}:0.7,sailor:0.4": "several adapters are joined by a comma; each is a word of its own\n"
    "  where: '{hina}:0.7,sailor:0.4'\n  fix:   lathe combine {hina}:0.7 sailor:0.4",
    "merge {a} <lora:hina:1:0.5>": "a tag belongs in a prompt\n  where: '<lora:hina:1:0.5>'\n"
    "  fix:   here it is written hina.safetensors:te=1:unet=0.5",
    "extract {b} {a} --rank 0": "Invalid value for '--rank' / '--dim' / '--linear-dim': 0 is not "
    "in the range x>=1\n"
    "  fix:   see lathe extract --help",
    "extract {b} {a} --rank 32,64": "Invalid value for '--rank' / '--dim' / '--linear-dim': '32,64' is not "
    "a whole number; write one such as 20\n"
    "  fix:   see lathe extract --help",
    "add-difference {a} {b} {c}": "Missing option '-m' / '--multiplier'\n"
    "  fix:   see lathe add-difference --help",
    "merge {a} {hina}:0.7:FOO": "there are no block weights called 'FOO'\n"
    "  where: the merge, step 'merged'\n  fix:   known names: ALL NONE ALL0.5 INS IND INALL MIDD OUTD OUTS "
    "OUTALL; define one with --blocks NAME=LIST",
    "merge {a} {hina} -o {hina}": "the output is one of the inputs\n  where: {hina}\n"
    "  fix:   choose another output name",
    "weighted-sum {a} {b} -a 0.5": "there is no option '-a'\n  fix:   see lathe weighted-sum --help",
    "weighted-sum {a} {b} -m 0.5 -o {c}": "the output exists\n  where: {c}\n"
    "  fix:   choose another name, or replace it with --force",
    "merge {a} {hina} --metadata foo": "nothing called 'foo' to copy metadata from\n"
    "  where: step 'merged'\n  fix:   one of first, new, merge, all, none, a",
    "merge {hina} {a}": "this is a LoRA, not a checkpoint\n  where: {hina}\n"
    "  fix:   the base comes first, its LoRAs after it",
    "merge {a} {b}": "this is not a LoRA\n  where: {b}\n"
    "  fix:   to mix two checkpoints, use weighted-sum or add-difference",
    "combine {hina} {a}": "this is not a LoRA\n  where: {a}\n"
    "  fix:   to mix two checkpoints, use weighted-sum or add-difference",
    "resize {a} --rank 4": "this is not a LoRA\n  where: {a}\n"
    "  fix:   to mix two checkpoints, use weighted-sum or add-difference",
    "extract {a} {hina}": "this is a LoRA, not a checkpoint\n  where: {hina}\n"
    "  fix:   to work on LoRAs without a checkpoint, use combine or resize",
    "convert {a}": "nothing would be converted\n  where: {a}\n"
    "  fix:   add --dtype fp16 or another, --layout diffusers, --bake-vae FILE or --discard REGEX",
    "eval A": "the formula has no files to work on\n"
    '  fix:   lathe eval "A + 0.7*hina" A=base.safetensors hina=hina.safetensors',
    "eval A {a}": "an input is written NAME=VALUE\n  where: '{a}'\n"
    '  fix:   lathe eval "A + 0.7*hina" A=base.safetensors hina=hina.safetensors',
    "eval A A={a} A={b}": "'A' is given twice\n  where: 'A={b}'\n  fix:   keep one of them",
    "eval A A={a} --set M=x": "'x' is not a number\n  where: --set M=x\n  fix:   write one such as 0.7",
    "compare {a} {hina}": "an adapter and a checkpoint cannot be compared\n"
    "  where: {hina} is an adapter, {a} is not\n"
    "  fix:   merge the adapter first, or extract one from the checkpoint: lathe extract TUNED BASE",
    "compare {hina} {style} --base {a}": "--base belongs to checkpoints; adapters are differences already\n"
    "  fix:   leave --base out",
}


@pytest.mark.parametrize("line", CASES)
def test_words(run: Run, models: Path, line: str) -> None:
    names = {name: str(models / f"{name}.safetensors") for name in ("a", "b", "c", "hina", "style")}
    result = run(*(word.format(**names) for word in line.split()))
    assert result.exit_code == 2
    assert result.stderr == f"lathe: error: {CASES[line].format(**names)}\n"
    assert result.stdout == ""


def test_library_errors_come_through(run: Run, models: Path, tmp_path: Path) -> None:
    missing = run("inspect", models / "hinaa.safetensors")
    assert missing.exit_code == 2
    assert "did you mean 'hina.safetensors'" in missing.stderr
    both = run("eval", "A + B", f"A={models / 'a.safetensors'}", f"B={models / 'b.safetensors'}")
    assert "2 models' worth of weights" in both.stderr
    delta = run("eval", "A - B", f"A={models / 'a.safetensors'}", f"B={models / 'b.safetensors'}")
    assert "extract(…, rank=64)" in delta.stderr
    assert "Traceback" not in missing.stderr + both.stderr + delta.stderr
