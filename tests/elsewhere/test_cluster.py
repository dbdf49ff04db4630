"""Pictures on a cluster: its workers with a made-up Ray, and two real ones where Ray is installed."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL.Image import Image

import loralathe
from elsewhere.conftest import Studio
from loralathe.errors import InputError, MachineError
from loralathe.rendering import ImageRequest
from loralathe.rendering.elsewhere import Opening, cluster
from loralathe.rendering.elsewhere.address import Cluster, read_places
from loralathe.rendering.elsewhere.cluster import ClusterWorker, cluster_pool
from loralathe.rendering.elsewhere.drawer import FileFacts, Node
from loralathe.rendering.elsewhere.pool import Pool
from rendering.conftest import make_checkpoint


class GoneError(Exception):
    """As Ray's RayError."""


class MadeUpRay:
    """Runs every call of an actor at once, in this process. spoil: called with a method's name first."""

    exceptions = SimpleNamespace(RayError=GoneError)

    def __init__(self, spoil: Callable[[str], None] = lambda name: None) -> None:
        self.spoil = spoil
        self.calls: list[str] = []
        self.killed = 0
        self.lock = threading.Lock()

    def remote(self, kind: type) -> Any:
        return SimpleNamespace(
            options=lambda **more: SimpleNamespace(remote=lambda *words: MadeUpActor(self, kind(*words)))
        )

    def get(self, value: Any, timeout: float | None = None) -> Any:
        if isinstance(value, GoneError):
            raise value
        return value

    def wait(self, values: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return values, []

    def kill(self, actor: Any) -> None:
        with self.lock:
            self.killed += 1
            actor._inside.forget()  # a process that is killed closes its files

    def shutdown(self) -> None:
        return

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}


class MadeUpActor:
    def __init__(self, ray: MadeUpRay, inside: Any) -> None:
        self._ray, self._inside = ray, inside

    def __getattr__(self, name: str) -> Any:
        def call(*words: Any) -> Any:
            self._ray.calls.append(name)
            try:
                self._ray.spoil(name)
            except GoneError as error:
                return error
            return getattr(self._inside, name)(*words)

        return SimpleNamespace(remote=call)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> MadeUpRay:
    found = MadeUpRay()
    monkeypatch.setattr(cluster, "connected", lambda where: found)
    return found


def drawn(pool: Pool, wanted: list[ImageRequest]) -> dict[int, tuple[bytes, str]]:
    found: dict[int, tuple[bytes, str]] = {}

    def receive(index: int, image: Image) -> None:
        found[index] = image.tobytes(), image.info["parameters"]

    with pool:
        pool.render(wanted, receive)
    return found


def alone(opening: Opening, wanted: list[ImageRequest], weights: Any = None) -> dict[int, tuple[bytes, str]]:
    found: dict[int, tuple[bytes, str]] = {}
    with opening.renderer(weights) as renderer:
        renderer.render(
            wanted, lambda index, image: found.update({index: (image.tobytes(), image.info["parameters"])})
        )
    return found


def test_a_worker_draws_what_one_process_draws(ray: MadeUpRay, studio: Studio) -> None:
    """With a tag in the prompt, and hashes."""
    opening = Opening("cpu", lora_dirs=(str(studio.lora.parent),), hashes=True, batch_size=2)
    wanted = studio.requests(3, prompt="a <lora:hina:0.5> girl", adapters=())
    assert drawn(cluster_pool(Cluster(), ["cpu"], opening), wanted) == alone(opening, wanted)
    assert "take" not in ray.calls


def test_a_lost_worker_loses_no_picture(ray: MadeUpRay, studio: Studio) -> None:
    lost: list[str] = []

    def spoil(name: str) -> None:
        if name == "draw" and not lost:
            lost.append(name)
            raise GoneError("The actor died unexpectedly.\nclass_name: Node")

    ray.spoil = spoil
    opening = Opening("cpu", batch_size=2)
    wanted = studio.requests(4)
    assert drawn(cluster_pool(Cluster(), ["cpu", "cpu"], opening), wanted) == alone(opening, wanted)
    assert lost
    assert ray.killed >= 2


@pytest.fixture
def node_without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another machine: what lies at the sender's path is not there."""
    find = Node.find

    def elsewhere(self: Node, file: FileFacts) -> str | None:
        return find(self, FileFacts(f"/not/here/{file.name}", file.size, file.digest))

    monkeypatch.setattr(Node, "find", elsewhere)


@pytest.mark.usefixtures("node_without_files")
def test_files_are_sent_once(
    ray: MadeUpRay, studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path))
    monkeypatch.setattr(cluster, "PIECE", 1 << 20)
    opening, wanted = Opening("cpu"), studio.requests(2)
    assert drawn(cluster_pool(Cluster(), ["cpu"], opening), wanted) == alone(opening, wanted)
    pieces = sum(-(-file.stat().st_size // (1 << 20)) for file in (studio.base, studio.lora))
    assert ray.calls.count("take") == pieces
    sent = sorted(path.name for path in (tmp_path / "sent").rglob("*") if path.is_file())
    assert sent == ["baseA.safetensors", "hina.safetensors"]
    ray.calls.clear()
    drawn(cluster_pool(Cluster(), ["cpu"], opening), wanted)
    assert "take" not in ray.calls


def test_a_file_that_was_cut_is_sent_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORALATHE_CACHE", str(tmp_path))
    node, data = Node(Opening("cpu")), bytes(range(200))
    facts = FileFacts("/not/here/hina.safetensors", len(data), hashlib.sha256(data).hexdigest())
    assert node.find(facts) is None
    node.take(facts, 0, data[:150])
    assert node.find(facts) is None
    node.take(facts, 0, data[:100])
    node.take(facts, 100, data[100:])
    found = node.find(facts)
    assert found is not None
    assert Path(found).name == "hina.safetensors"
    assert Path(found).read_bytes() == data
    Path(found).write_bytes(data[::-1])
    assert node.find(facts) is None


def test_nodes_have_the_same_version(ray: MadeUpRay, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Node, "facts", lambda self: ("0.0.1", "here", 1))
    with pytest.raises(InputError, match=r"a node of the cluster has loralathe 0\.0\.1"):
        drawn(cluster_pool(Cluster(), ["cpu"], Opening("cpu")), studio.requests(1))


def test_places(ray: MadeUpRay) -> None:
    assert read_places("ray") == Cluster()
    assert read_places("ray://head:10001") == Cluster("ray://head:10001")
    for text in ("ray://head", "ray://user@head:1", "ray://head:10001/x", "Ray"):
        with pytest.raises(InputError):
            read_places(text)
    with pytest.raises(InputError, match="the cluster has no GPU"):
        cluster_pool(Cluster(), [], Opening("cpu"))


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_ray_is_not_installed(studio: Studio) -> None:
    with (
        loralathe.open_model(studio.base, on="ray", devices="cpu,cpu") as model,
        pytest.raises(MachineError, match="Ray is not installed") as caught,
    ):
        model.render(prompt="girl")
    assert caught.value.fix == 'pip install "loralathe[cluster]"'


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_two_real_workers_though_one_is_killed(studio: Studio) -> None:
    opening = Opening("cpu", lora_dirs=(str(studio.lora.parent),), batch_size=4)
    weights = {"merged": make_checkpoint("sd1", seed=2)}
    wanted = [*studio.requests(56), *studio.requests(4, checkpoint="merged")]
    found: dict[int, tuple[bytes, str]] = {}
    killed: list[int] = []
    with cluster_pool(Cluster(), ["cpu", "cpu"], opening, weights) as pool:

        def receive(index: int, image: Image) -> None:
            found[index] = image.tobytes(), image.info["parameters"]
            if len(found) == 9:
                victim = pool._posts[0].worker
                assert isinstance(victim, ClusterWorker)
                os.kill(victim.process, signal.SIGKILL)
                killed.append(victim.process)

        pool.render(wanted, receive)
    assert killed
    assert found == alone(opening, wanted, weights)
