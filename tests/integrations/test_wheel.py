"""The pack out of a wheel: all of it is inside, and `lathe install` of that wheel puts it to work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import sys
from pathlib import Path
import pytest
import loralathe
from checkpoints import tiny_checkpoint, tiny_lora, write_safetensors
from integrations.stand_in import Host, in_host

site, base = map(Path, sys.argv[1:])
assert Path(loralathe.__file__).is_relative_to(site), loralathe.__file__
host = Host(base)
write_safetensors(base / "models/checkpoints/base.safetensors", tiny_checkpoint("sd1", seed=1))
write_safetensors(base / "models/loras/hina.safetensors", tiny_lora("sd1", rank=2, alpha=1.0, seed=2))
with pytest.MonkeyPatch.context() as patch:
    in_host(host, patch.setitem)
    nodes = host.load(base / "custom_nodes/loralathe")
    assert len(nodes) >= 15
    lora = {"lora": "hina.safetensors", "strength_model": 1.0, "strength_clip": 1.0, "preset": "OUTALL",
            "blocks": "", "elements": "", "model": ["1", 0], "clip": ["1", 1]}
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
        "2": {"class_type": "LatheLora", "inputs": lora},
        "3": {"class_type": "LatheSave", "inputs": {"model": ["2", 0], "clip": ["2", 1],
              "dtype": "fp16", "file": "saved", "overwrite": False}},
    }
    host.run(graph, "3")
assert (base / "output/checkpoints/saved.safetensors").is_file()
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_pack_of_a_wheel_works(tmp_path: Path) -> None:
    site, comfyui = tmp_path / "site", tmp_path / "ComfyUI"
    words = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(words, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(site)
    listing = ["git", "ls-files", "src/loralathe/integrations"]
    held = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    missing = [name for name in held.splitlines() if not (site / name.removeprefix("src/")).is_file()]
    assert missing == []
    for name in ("custom_nodes", "user"):
        (comfyui / name).mkdir(parents=True)
    (comfyui / "folder_paths.py").touch()
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(ROOT / "tests")))}
    for words in (
        [sys.executable, "-m", "loralathe.cli", "install", "comfyui", str(comfyui)],
        [sys.executable, "-c", WORK, str(site), str(comfyui)],
    ):
        done = subprocess.run(
            words, env=surroundings, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
