"""Pictures by the nodes of a Ray cluster: one actor for each GPU, which keeps its loaded model.

Nodes need loralathe of the same version. A file that a node has, told by its SHA-256, is used there; any
other is sent to the node once. Usage statistics are off.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loralathe.adapters import ModelFolders
from loralathe.errors import InputError, MachineError, option, printable
from loralathe.progress import Progress
from loralathe.rendering.elsewhere.address import Cluster
from loralathe.rendering.elsewhere.drawer import FileFacts, Node
from loralathe.rendering.elsewhere.messages import Opening, unpacked
from loralathe.rendering.elsewhere.pool import Place, Pool
from loralathe.rendering.elsewhere.processes import StepCount, batch_sizes, check_local, place_names
from loralathe.rendering.elsewhere.work import Batch, LostError, Report
from loralathe.rendering.infotext import CHUNK, FileHashes, infotext
from loralathe.rendering.prepare import Prepared, prepare
from loralathe.rendering.prompts import lift_tags
from loralathe.rendering.request import ImageRequest
from loralathe.tensorfiles import content_hash
from loralathe.version import __version__

if TYPE_CHECKING:
    from loralathe.rendering.model_cache import WeightsInMemory

PIECE = 16 << 20
"""Bytes of a file that are sent at once."""
LOOK_SECONDS = 0.2
START_SECONDS = 300.0
"""That an actor may take to begin: its libraries are loaded then."""
AT_A_TIME = 2
"""Calls of an actor at once: it tells how far it is while it draws."""


def cluster_pool(
    cluster: Cluster,
    devices: Sequence[str],
    opening: Opening,
    weights: WeightsInMemory | None = None,
    progress: Progress | None = None,
) -> Pool:
    """A renderer on a cluster. devices: one actor for each of these; empty: one for each GPU that it has."""
    told = progress or Progress()
    held = {} if weights is None else weights
    ray = connected(cluster)
    names = list(devices) or gpus_of(ray)
    on_cpu = names[0] == "cpu"
    hashes = FileHashes(enabled=opening.hashes, in_memory=frozenset(held), progress=told)
    shared = Shared(ray, opening.lora_dirs, hashes, told)
    places = [
        Place(f"Ray, {name}", partial(ClusterWorker, shared, replace(opening, device=device), on_cpu=on_cpu))
        for name, device in zip(place_names(names), names, strict=True)
    ]
    return Pool(
        places,
        size=batch_sizes(opening.batch_size, len(names), on_cpu=on_cpu),
        lora_dirs=opening.lora_dirs,
        check=partial(check_local, held),
        weights=held,
        closing=ray.shutdown,
        progress=told,
    )


def connected(cluster: Cluster) -> Any:
    """The library, connected. MachineError where it is missing, or the cluster cannot be reached."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise MachineError(
            "Ray is not installed", where=str(error), fix='pip install "loralathe[cluster]"'
        ) from error
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if cluster.address is None:
            ray.init(include_dashboard=False, **quiet)
        else:
            ray.init(cluster.address, **quiet)
    except Exception as error:  # Ray itself raises this very class, for a second client among others
        raise MachineError(
            f"the Ray cluster cannot be reached: {printable(str(error)[:300])}",
            where=cluster.address or "this machine",
            fix="check the address, and that both sides have the same versions of Python and Ray",
        ) from error
    return ray


def gpus_of(ray: Any) -> list[str]:
    """'cuda' for each GPU of the cluster. InputError for one that has none."""
    count = int(ray.cluster_resources().get("GPU", 0))
    if not count:
        ray.shutdown()
        raise InputError(
            "the cluster has no GPU",
            where=option("on"),
            fix=f"name what is to draw: {option('devices', 'cpu,cpu')}",
        )
    return ["cuda"] * count


@dataclass(frozen=True)
class Shared:
    """What the workers of a cluster share: the library, folders, hashes, and what nodes were sent.

    sent: (node, SHA-256) → a lock, so that two workers of a node do not both send a file
    """

    ray: Any
    lora_dirs: tuple[str, ...]
    hashes: FileHashes
    progress: Progress
    sent: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sending(self, node: str, digest: str) -> threading.Lock:
        with self.lock:
            return self.sent.setdefault((node, digest), threading.Lock())


class ClusterWorker:
    """An actor on some node; a worker of a `Pool`."""

    def __init__(self, shared: Shared, opening: Opening, *, on_cpu: bool) -> None:
        self._shared = shared
        self._ray = shared.ray
        self._folders = ModelFolders(shared.lora_dirs)
        self._known: dict[tuple[str, int, int], str] = {}
        resources = {"num_cpus": 1} if on_cpu else {"num_gpus": 1}
        plain = replace(opening, lora_dirs=(), hashes=False)  # names are found and hashed here
        actor = self._ray.remote(Node).options(max_concurrency=AT_A_TIME, **resources)
        self._actor: Any = actor.remote(plain)
        version, self._node, self.process = self._get(self._actor.facts.remote(), START_SECONDS)
        if version != __version__:
            raise InputError(
                f"a node of the cluster has loralathe {version}, this is {__version__}",
                fix="install the same version on all nodes",
                about="on",
            )

    def draw(self, batch: Batch, report: Report) -> None:
        prepared = [prepare(index, one, self._folders) for index, one in batch.requests.items()]
        requests = [self._for_node(one, batch) for one in prepared]
        held = {name: self._there(str(file)) for name, file in batch.held.items()}
        work = self._call(lambda: self._actor.draw.remote(requests, held))
        steps = StepCount(report)
        while True:
            done = self._ended(work)
            for event in self._get(self._actor.hear.remote()):
                steps.hear(event)
            if done:
                break
        pictures, ended = self._get(work)
        for picture in pictures:
            one, image = prepared[picture.index], unpacked(picture)
            image.info = {CHUNK: infotext(one.request, self._shared.hashes.of(one.request, one.uses))}
            report.picture(one.index, image)
        if ended.unexpected:
            raise LostError(printable(ended.unexpected))
        if ended.error is not None:
            raise ended.error

    def _ended(self, work: Any) -> bool:
        ready, _ = self._call(lambda: self._ray.wait([work], timeout=LOOK_SECONDS))
        return bool(ready)

    def _for_node(self, one: Prepared, batch: Batch) -> ImageRequest:
        """The request with the node's paths, and LoRAs of the prompt's tags beside the prompt."""
        request = one.request
        base = request.checkpoint
        return replace(
            request,
            prompt=lift_tags(request.prompt).prompt,
            checkpoint=base if base in batch.held else self._there(base),
            vae=None if request.vae is None else self._there(request.vae),
            adapters=tuple(replace(use, file=self._there(use.file)) for use in one.uses),
            embeddings=tuple(map(self._there, request.embeddings)),
        )

    def _there(self, path: str) -> str:
        """Where a file is on the node; it is sent if it is not there. A folder must be there already."""
        if not Path(path).is_file():
            return path
        status = os.stat(path)
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._known:
            facts = FileFacts(os.path.abspath(path), status.st_size, content_hash(path))
            with self._shared.sending(self._node, facts.digest):
                found = self._get(self._actor.find.remote(facts), START_SECONDS)
                self._known[key] = found or self._send(facts)
        return self._known[key]

    def _send(self, facts: FileFacts) -> str:
        with (
            Path(facts.path).open("rb") as file,
            self._shared.progress.task(f"sending {facts.name}", facts.size) as task,
        ):
            start = 0
            while data := file.read(PIECE):
                self._get(self._actor.take.remote(facts, start, data), START_SECONDS)
                start += len(data)
                task.advance(len(data))
        found: str | None = self._get(self._actor.find.remote(facts), START_SECONDS)
        if found is None:
            raise LostError(f"the file {facts.name} did not arrive whole")
        return found

    def _get(self, reference: Any, timeout: float | None = None) -> Any:
        return self._call(lambda: self._ray.get(reference, timeout=timeout))

    def _call(self, ask: Callable[[], Any]) -> Any:
        """What an actor says. Raises LostError when it is gone."""
        try:
            return ask()
        except (self._ray.exceptions.RayError, ConnectionError, TimeoutError) as error:
            raise LostError(printable(str(error).strip().split("\n", maxsplit=1)[0])) from error

    def forget(self) -> None:
        with contextlib.suppress(LostError):
            self._get(self._actor.forget.remote())

    def stop(self) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ConnectionError, ValueError):
            self._ray.kill(self._actor)
