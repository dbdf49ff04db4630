"""`lathe blocks`: the analysis as a command, and blocks told from weights against plain float64."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from checkpoints import write_safetensors
from cli.kit import Run
from cli_pictures.conftest import QUICK
from loralathe.cli import lathe
from loralathe.families.sd1 import SD1
from loralathe.rendering import LocalRenderer
from loralathe.studies.weights import study_weights
from rendering.conftest import make_lora
from studies.fakes import draw

Matrix = NDArray[np.float64]
BLOCKS = ("blocks", "baseA.safetensors", "hina.safetensors", "--prompt", "a girl", *QUICK)


def test_an_analysis(here: Path, done: Run) -> None:
    words = (*BLOCKS, "--range", "0,1", "--blocks", "BASE, IN04-IN05, MID", "--threshold", 0, "--seeds", 2)
    result = done(*words)
    lines = result.stdout.splitlines()
    assert lines[0].strip() == "hina: 1 → 0, one block at a time"
    assert [line.split()[0] for line in lines if " 0.0" in line][:3] == ["BASE", "IN04-IN05", "MID"]
    assert "  pictures    8 rendered" in lines
    assert "  page        baseA+hina-blocks/blocks.html" in lines
    assert lines[-1].startswith("  lathe merge baseA.safetensors ")
    assert result.stderr == "lathe: note: 3 blocks and the source, 2 seeds: 8 pictures\n"
    again = done(*words, "--json")
    report = json.loads(again.stdout.splitlines()[-1])["report"]
    assert report["rendered"] == 0
    assert len(report["effects"][0]["changed"]["values"]) == 2


def test_the_weights_to_paste_merge(here: Path, done: Run) -> None:
    """A list in a tag is not re-read as a path, and is no longer than the adapter's own blocks."""
    result = done(*BLOCKS, "--range", "0.3,0.7", "--steps", 1)
    meaning, weights, command = result.stdout.splitlines()[-3:]
    assert meaning == "1 stands for the weight 0.7 of the range; the strength of a merge multiplies the list"
    assert len(weights.strip().split(",")) == len(SD1.short_blocks)
    merge = shlex.split(command.strip().removeprefix("lathe "))
    done(*merge, "--dry-run")


def test_a_locon_is_examined_in_every_block(here: Path, done: Run) -> None:
    write_safetensors(here / "locon.safetensors", make_lora("sd1", conv=True))
    result = done(
        "blocks", "baseA.safetensors", "locon.safetensors", "--prompt", "girl", *QUICK, "--dry-run", "--te"
    )
    blocks = next(line for line in result.stdout.splitlines() if line.startswith("  blocks"))
    assert "TE1 IN00 IN01" in " ".join(blocks.split())
    assert "27" in result.stdout
    assert not (here / "baseA+locon-blocks").exists()


def factors(lora: dict[str, NDArray[np.float32]], raw: str) -> Matrix:
    up, down = (
        lora[f"{raw}.lora_{side}.weight"]
        .astype(np.float64)
        .reshape(len(lora[f"{raw}.lora_{side}.weight"]), -1)
        for side in ("up", "down")
    )
    return np.asarray(float(lora[f"{raw}.alpha"]) / down.shape[0] * up @ down)


def test_energies_and_ranks_against_float64(here: Path) -> None:
    lora, base = load_file("hina.safetensors"), load_file("baseA.safetensors")
    modules = SD1.modules(base)
    squares: dict[str, list[float]] = {}
    spreads: dict[str, list[tuple[float, int, int]]] = {}
    for raw in sorted({key.split(".")[0] for key in lora}):
        name = SD1.module_of_kohya(raw)
        assert name is not None
        label = "TE1" if name.startswith("te1") else SD1.block_of_module(name)
        assert label is not None
        delta, weight = factors(lora, raw), base[modules[name].key].astype(np.float64)
        singular = np.linalg.svd(delta, compute_uv=False)[:4]
        p, kept = singular / singular.sum(), np.cumsum(singular**2) / (singular**2).sum()
        squares.setdefault(label, []).extend([float((delta**2).sum()), float((weight**2).sum())])
        spreads.setdefault(label, []).append(
            (float(np.exp(-(p * np.log(p)).sum())), int((kept < 0.9).sum()) + 1, int((kept < 0.99).sum()) + 1)
        )
    found = study_weights("baseA.safetensors", "hina.safetensors")
    assert {block.block for block in found.blocks} == set(squares)
    whole = sum(sum(pairs[::2]) for pairs in squares.values())
    for block in found.blocks:
        delta, weight = sum(squares[block.block][::2]), sum(squares[block.block][1::2])
        assert block.ratio == pytest.approx((delta / weight) ** 0.5, rel=1e-5)
        assert block.share == pytest.approx(delta / whole, rel=1e-5)
        means = np.mean(spreads[block.block], axis=0)
        assert (block.spread, block.rank90, block.rank99) == pytest.approx(tuple(means), rel=1e-5)
    assert found.total.share == pytest.approx(1)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.long
def test_no_number_of_the_weights_is_cut_off(
    here: Path, done: Run, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    words = ("blocks", "--weights", "baseA.safetensors", "hina.safetensors")
    for others in ((), ("mio.safetensors",)):
        lines = done(*words, *others).stdout.splitlines()
        assert max(map(len, lines)) <= width
        assert _line_of_the_total(lines)[-4 if others else -1] == f"{_total(*others):.1f}"


def _line_of_the_total(lines: list[str]) -> list[str]:
    """What stands under the columns, above what they mean."""
    return next(line.split() for line in lines if line.startswith("  total "))


def _total(*others: str) -> float:
    """How many singular values hold 99 % of the energy."""
    return study_weights("baseA.safetensors", "hina.safetensors", *others).total.rank99


def test_weights_beside_a_second_adapter(here: Path, done: Run) -> None:
    words = ("blocks", "--weights", "baseA.safetensors", "hina.safetensors")
    same = json.loads(done(*words, "hina.safetensors", "--json").stdout.splitlines()[-1])["weights"]
    assert same["total"]["cosine"] == pytest.approx(1)
    assert [block["up"] for block in same["blocks"]] == pytest.approx([1] * len(same["blocks"]))
    text = done(*words, "mio.safetensors").stdout
    compared = done("compare", "hina.safetensors", "mio.safetensors", "--json").stdout.splitlines()[-1]
    total = json.loads(compared)["comparison"]["total"]
    shown = _line_of_the_total(text.splitlines())[-3:]
    assert shown == [f"{total[name]:.3f}" for name in ("cosine", "up", "down")]
    assert max(map(len, text.splitlines())) <= 100


def test_sdxl_by_weights_needs_no_renderer(here: Path, done: Run) -> None:
    text = done("blocks", "--weights", "xl.safetensors", "xlora.safetensors").stdout
    assert [line.split()[0] for line in text.splitlines()[6 : 8 + len(_short())]] == [
        "TE1", "TE2", *_short(),
    ]  # fmt: skip


def _short() -> list[str]:
    from loralathe.families.sdxl import SDXL

    return list(SDXL.short_blocks[1:])


def test_the_command_is_the_one_in_the_overview() -> None:
    import click

    assert {"render", "grid", "blocks"} <= set(lathe.list_commands(click.Context(lathe)))


SEGMENTS = ("blocks", "baseA.safetensors", "hina.safetensors", "--prompt", "a girl", *QUICK, "--segments")


def test_segments_before_and_after(here: Path, done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalRenderer, "render", draw)
    plan = done(*SEGMENTS, "--blocks", "IN04, IN05, OUT03, OUT04", "--dry-run", "-o", "out")
    assert plan.stdout == (
        "would examine 2 segments\n"
        "  segment 1   IN04 IN05\n"
        "  segment 2   OUT03 OUT04\n"
        "  pictures    12 at first, more where a segment matters\n"
        "  into        out\n"
    )
    result = done(*SEGMENTS, "--blocks", "IN04, IN05, OUT03, OUT04", "--most-seeds", "4", "-o", "out")
    assert result.stdout.startswith("segments of hina by change of the picture, in points of 100\n")
    assert "weights to start from" in result.stdout
    assert 'lathe merge baseA.safetensors "hina.safetensors:1:lbw=*=0,' in result.stdout
    assert {path.name for path in Path("out").glob("segments.*")} == {
        "segments.csv", "segments.json", "segments.html",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--range", "0,1"), "--range means nothing with --segments"),
        (("--seeds", "1"), "2 seeds at least"),
        (("--card", "nobody.card"), "nobody.card"),
    ],
)
def test_what_does_not_go_with_segments(here: Path, run: Run, words: tuple[str, ...], what: str) -> None:
    result = run(*SEGMENTS, *words)
    assert result.exit_code == 2
    assert what in result.output


def test_most_seeds_are_those_of_segments(here: Path, run: Run) -> None:
    result = run("blocks", "baseA.safetensors", "hina.safetensors", "--prompt", "a", "--most-seeds", "4")
    assert "--most-seeds belongs to --segments" in result.output
