"""Preset files as people have them: with comments, broken lines, duplicates, a byte order mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from loralathe.errors import InputError
from loralathe.families import block_lists
from loralathe.strengths import (
    parse_block_weights,
    parse_elements,
    read_element_preset_file,
    read_preset_file,
)
from strengths.families_for_tests import SD1, SDXL


def test_block_presets(tmp_path: Path) -> None:
    path = tmp_path / "lbwpresets.txt"
    seventeen = ",".join(["1"] * 17)
    path.write_bytes(
        (
            "\ufeff# mine\r\n"
            f"FACE:{seventeen}\r\n"
            "\r\n"
            "SHORT:1,0,1\r\n"
            f"OLD:{seventeen} # no longer used\r\n"
            "just a note\r\n"
            f"RANDOM:{seventeen[:-1]}R\r\n"
            f"WORD:{seventeen[:-1]}one\r\n"
            "NAMED:IN04=0.3,OUT00=1\r\n"
            f"FACE : {seventeen[:-1]}0\r\n"
            f":{seventeen}\r\n"
        ).encode()
    )
    read = read_preset_file(path)
    assert list(read.presets) == ["FACE", "RANDOM", "NAMED"]
    assert dict(parse_block_weights("FACE", SD1, read.presets).weights)["OUT11"] == 0
    assert str(parse_block_weights("NAMED", SDXL, read.presets)) == "IN04=0.3,OUT00=1"
    assert [(problem.line, problem.why) for problem in read.problems] == [
        (4, f"3 weights; lists have {', '.join(map(str, block_lists()))}"),
        (5, "'#' makes the whole line a comment"),
        (6, "no ':' between name and list"),
        (8, "'one' is not a number"),
        (10, "replaces an earlier preset 'FACE'"),
        (11, "no usable name before ':'"),
    ]
    assert str(read.problems[0]) == f"line 4: {read.problems[0].why}: SHORT:1,0,1"


def test_element_presets(tmp_path: Path) -> None:
    path = tmp_path / "elempresets.txt"
    path.write_text("FACE:IN05-OUT05:attn:0,MID:ff:0.5\nOUT00:proj:1\n\n\nBAD:IN05:attn\n\nXYZ:::1")
    read = read_element_preset_file(path)
    assert read.presets == {"FACE": "IN05-OUT05:attn:0,MID:ff:0.5,OUT00:proj:1", "XYZ": "::1"}
    assert [str(problem) for problem in read.problems] == [
        "line 5: 'IN05:attn' is not blocks:elements:value: BAD:IN05:attn"
    ]
    assert len(parse_elements("FACE", SD1, read.presets)) == 3
    assert parse_elements("XYZ", SD1, read.presets)[0].matches("unet.out.2", None)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_preset_file(tmp_path / "none.txt")
    with pytest.raises(InputError, match="a folder, not a file"):
        read_preset_file(tmp_path)
    (tmp_path / "latin.txt").write_bytes("Mädchen:1".encode("latin-1"))
    with pytest.raises(InputError, match="the preset file is not UTF-8 text \\(byte 1\\)"):
        read_preset_file(tmp_path / "latin.txt")
