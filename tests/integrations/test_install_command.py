"""`lathe install comfyui`: whole or not at all, and nothing of others is touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli.kit import Run, done, quiet_surroundings, run  # noqa: F401
from integrations.stand_in import PACK
from loralathe import InputError, MachineError
from loralathe.integrations import install


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    folder = tmp_path / "ComfyUI"
    (folder / "custom_nodes").mkdir(parents=True)
    (folder / "folder_paths.py").touch()
    return folder


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_the_pack_is_copied_whole(comfyui: Path, done: Run) -> None:  # noqa: F811
    (comfyui / "venv/bin").mkdir(parents=True)
    (comfyui / "venv/bin/python").touch()
    shown = done("install", "comfyui", comfyui).stdout
    made = comfyui / "custom_nodes/loralathe"
    assert files(made) == {name for name in files(PACK) if "__pycache__" not in name}
    assert {"pyproject.toml", "locales/zh-TW/nodeDefs.json", "__init__.py"} <= files(made)
    assert os.listdir(comfyui / "custom_nodes") == ["loralathe"]
    assert str(comfyui / "venv/bin/python") in shown
    assert "pip install" in shown


def test_an_older_one_is_replaced_when_asked(comfyui: Path, run: Run) -> None:  # noqa: F811
    assert run("install", "comfyui", comfyui).exit_code == 0
    stale = comfyui / "custom_nodes/loralathe/stale.py"
    stale.touch()
    refused = run("install", "comfyui", comfyui)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert stale.exists()
    event = json.loads(run("install", "comfyui", comfyui, "--force", "--json").stdout)
    assert event["replaced"] is True
    assert not stale.exists()
    assert os.listdir(comfyui / "custom_nodes") == ["loralathe"]


def test_dry_run_writes_nothing(comfyui: Path, done: Run) -> None:  # noqa: F811
    done("install", "comfyui", comfyui, "--dry-run")
    assert os.listdir(comfyui / "custom_nodes") == []


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
def test_a_link_leads_to_the_pack_and_may_be_replaced(comfyui: Path) -> None:
    assert install("comfyui", comfyui, link=True).linked
    made = comfyui / "custom_nodes/loralathe"
    assert made.resolve() == PACK
    install("comfyui", comfyui, force=True)
    assert not made.is_symlink()
    assert (PACK / "__init__.py").is_file()
    install("comfyui", comfyui, force=True, link=True)
    assert made.is_symlink()


def test_a_portable_copy_and_the_desktop_app_are_known(tmp_path: Path, comfyui: Path) -> None:
    assert install("comfyui", tmp_path, dry_run=True).folder == comfyui / "custom_nodes/loralathe"
    apart = tmp_path / "Documents"
    for name in ("custom_nodes", "models", "user"):
        (apart / name).mkdir(parents=True)
    assert install("comfyui", apart).python is None


def test_other_folders_are_refused(tmp_path: Path, comfyui: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        install("comfyui", tmp_path / "nowhere")
    with pytest.raises(InputError, match="not ComfyUI's folder"):
        install("comfyui", comfyui / "custom_nodes")
    with pytest.raises(InputError, match="nothing can be installed"):
        install("comfui", comfyui)
    other = comfyui / "custom_nodes/loralathe"
    other.mkdir()
    (other / "pyproject.toml").write_text('[project]\nname = "other"\n')
    with pytest.raises(InputError, match="something else"):
        install("comfyui", comfyui, force=True)
    assert files(other) == {"pyproject.toml"}


def test_a_copy_that_fails_leaves_the_old_one(comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("comfyui", comfyui)
    mark = comfyui / "custom_nodes/loralathe/mark"
    mark.touch()
    real = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(28, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(MachineError, match="No space left"):
        install("comfyui", comfyui, force=True)
    assert mark.exists()
    assert os.listdir(comfyui / "custom_nodes") == ["loralathe"]
