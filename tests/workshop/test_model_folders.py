"""A folder of diffusers among the checkpoints is one model: it is listed, looked at and merged."""

from __future__ import annotations

import time
from typing import Any

import pytest

import loralathe
from workshop.kit import Workshop

BASE, LORA, FOLDER = "checkpoints/baseA.safetensors", "loras/hina.safetensors", "checkpoints/pipe"


def ready(shop: Workshop) -> dict[str, dict[str, Any]]:
    """The checkpoints once all are read."""
    for _ in range(200):
        listed = shop.get("library?kind=checkpoint")
        if not listed["reading"]:
            break
        time.sleep(0.05)
    return {one["name"]: one for one in listed["files"]}


@pytest.mark.long
def test_a_folder_is_a_model(shop: Workshop) -> None:
    folder = shop.models / "pipe"
    loralathe.convert(shop.models / "baseA.safetensors", layout="diffusers", shard_size="1MB", output=folder)
    (folder / "model_index.json").write_text("{}")
    shards = sorted((folder / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    try:
        found = ready(shop)
        assert not [name for name in found if name.startswith(f"{FOLDER}/")]
        one = found[FOLDER]
        assert (one["state"], one["label"], one["family"]) == ("ready", "pipe", found[BASE]["family"])
        assert one["size"] == sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        shown = shop.get(f"file?name={FOLDER}")
        assert "U-Net" in [part[0] for part in shown["parts"]]
        job = shop.wait(shop.add("merge", [FOLDER, f"{LORA}:0.5"], output="from-folder")["id"])
        assert job["state"] == "done", job["error"]
        shards[0].unlink()
        lacking = ready(shop)[FOLDER]
        assert lacking["state"] == "broken"
        assert "a shard is missing" in lacking["reason"]
    finally:
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        folder.rmdir()
