"""The library: light to import, typed, and every example of docs/api.md runs."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file as load_torch

import loralathe
from loralathe.api import files, look, pictures
from loralathe.api.arguments import SAVING, RunKeywords, SaveKeywords, SearchKeywords
from loralathe.engine import RunOptions
from loralathe.errors import InputError
from loralathe.language import Save
from loralathe.tensorfiles import read_header

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_importing_imports_nothing_heavy():
    script = (
        "import sys, loralathe; loralathe.InputError; loralathe.inspect; loralathe.merge; loralathe.run;"
        "print([name for name in ('torch', 'numpy', 'rich', 'click') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_name_is_there_for_readers_and_type_checkers():
    """Type checkers see the imports under TYPE_CHECKING, `*` of the modules that list their names."""
    tree = ast.parse(Path(loralathe.__file__).read_text(encoding="utf-8"))
    typed: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("loralathe."):
            names = [alias.name for alias in node.names]
            typed.update(importlib.import_module(node.module).__all__ if names == ["*"] else names)
    modules = {path.stem for path in Path(loralathe.__file__).parent.glob("api/*.py")}
    assert typed - modules - {"lazy_names"} == set(loralathe.__all__) - modules
    for name in loralathe.__all__:
        assert getattr(loralathe, name) is not None
    assert set(loralathe.__all__) <= set(dir(loralathe))
    found: dict[str, object] = {}
    exec("from loralathe import *", found)
    assert found.keys() >= set(loralathe.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'mrege'"):
        loralathe.mrege  # noqa: B018


def test_keywords_are_those_of_run_options():
    own = RunKeywords.__annotations__.keys() - SearchKeywords.__annotations__.keys()
    assert own == RunOptions.__dataclass_fields__.keys()


def test_unknown_keywords_are_named(sd1):
    with pytest.raises(InputError, match="no option 'thread'") as caught:
        loralathe.convert(sd1.path("A"), "bf16", thread=2)  # type: ignore[call-arg]
    assert "threads" in str(caught.value.fix)


def test_saving_keywords_are_fields_of_save():
    assert set(SAVING) == SaveKeywords.__annotations__.keys() - RunKeywords.__annotations__.keys()
    assert set(SAVING) <= Save.__dataclass_fields__.keys()


def test_checkpoints_are_saved_as_the_command_line_does(sd1, tmp_path):
    """Fields of `Save` as keywords, for a conversion that has nothing else to do."""
    made = tmp_path / "made.safetensors"
    loralathe.convert(
        sd1.path("A"), discard="^first_stage_model", metadata={"a": "b"}, metadata_from="none", output=made
    )
    header = read_header(made)
    assert header.tensors
    assert not any(name.startswith("first_stage_model") for name in header.tensors)
    assert header.metadata["a"] == "b"
    with pytest.raises(InputError, match="nothing would be converted"):
        loralathe.convert(sd1.path("A"), output=made, force=True)
    with pytest.raises(InputError, match="no option 'discrad'") as caught:
        loralathe.convert(sd1.path("A"), discrad="x")  # type: ignore[call-arg]
    assert "discard" in str(caught.value.fix)


def test_one_text_is_one_choice_of_layers(sd1, tmp_path):
    """A text is a sequence of letters, too."""
    made = tmp_path / "made.safetensors"
    loralathe.merge(sd1.path("A"), sd1.path("lora"), include="attn2", exclude=["TE1"], output=made)
    text = loralathe.recorded_recipe(made)
    assert "attn2" in text
    assert "TE1::0" in text


def test_an_extraction_takes_what_the_command_line_does(sd1, tmp_path):
    made = tmp_path / "made.safetensors"
    loralathe.extract(sd1.path("B"), sd1.path("A"), rank=1, alpha=0.9, beta=0.8, min_diff=1e-3, output=made)
    text = loralathe.recorded_recipe(made)
    assert "0.9*tuned - 0.8*base" in text
    assert "unbalanced=1" in text
    assert "min_diff=0.001" in text


def test_the_page_names_every_function():
    functions = {name for module in (files, look, pictures) for name in module.__all__ if name.islower()}
    for name in functions - {"axis_examples", "function_names", "need_libraries"}:
        assert f"| `{name}(" in PAGE, name


@pytest.mark.long
def test_every_example_of_the_page_runs(sd1, tmp_path, monkeypatch, capsys):
    """All in one folder, one after the other, as a reader would."""
    for name, source in (("baseA", "A"), ("baseB", "B"), ("hina", "lora")):
        shutil.copyfile(sd1.path(source), tmp_path / f"{name}.safetensors")
    (tmp_path / "B1.safetensors").write_bytes(b"what the demo left here")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/api.md, example {number + 1}", "exec"), names)
    printed = capsys.readouterr().out
    assert "tensors changed" in printed
    assert "('A', 0)" in printed
    assert "did you mean 'hina.safetensors'?" in printed
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.long
@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_state_dicts_in_and_out(sd1, tmp_path, kind):
    """merge, extract and resize on mappings give what they give on files, bit for bit."""
    load = load_torch if kind == "torch" else load_numpy
    a, b, lora = (load(sd1.path(name)) for name in ("A", "B", "lora"))
    in_files = [
        loralathe.merge(sd1.path("A"), sd1.path("lora"), te=0.5, output=tmp_path / "m.safetensors"),
        loralathe.extract(sd1.path("B"), sd1.path("A"), rank=2, output=tmp_path / "e.safetensors"),
        loralathe.resize(sd1.path("lora"), rank=1, output=tmp_path / "r.safetensors"),
    ]
    in_memory = [
        loralathe.merge(a, lora, te=0.5, output=loralathe.MEMORY),
        loralathe.extract(b, a, rank=2, output=loralathe.MEMORY),
        loralathe.resize(lora, rank=1, output=loralathe.MEMORY),
    ]
    for name, by_file, held in zip("mer", in_files, in_memory, strict=True):
        wanted = load_torch(tmp_path / f"{name}.safetensors")
        (tensors,) = held.tensors.values()
        assert tensors.keys() == wanted.keys()
        assert all(torch.equal(tensors[key], wanted[key]) for key in wanted)
        assert not by_file.tensors


def test_results_of_tensors_need_a_name(sd1):
    with pytest.raises(InputError, match="needs a name"):
        loralathe.merge(load_torch(sd1.path("A")), sd1.path("lora"))


def test_a_prepared_function_says_what_it_would_do(sd1, tmp_path):
    target = tmp_path / "out.safetensors"
    prepared = loralathe.merge.prepare(sd1.path("A"), f"{sd1.path('lora')}:0.5", output=target)
    assert prepared.formulas == {"merged": "A + 0.5*lora"}
    assert prepared.plan().plan.outputs[0].save.file == target
    assert not target.exists()
    prepared.run()
    assert target.exists()


def test_keywords_of_pictures_are_fields_of_their_options():
    from loralathe.api import model_options as mo
    from loralathe.api import picture_options as po

    picture = po.Picture.__dataclass_fields__.keys()
    assert mo.ModelKeywords.__annotations__.keys() == mo.ModelOptions.__dataclass_fields__.keys()
    assert po.PictureKeywords.__annotations__.keys() == picture
    assert po.GridKeywords.__annotations__.keys() == po.GridChoices.__dataclass_fields__.keys() | picture
    assert po.BlocksKeywords.__annotations__.keys() == po.BlocksChoices.__dataclass_fields__.keys() | picture
