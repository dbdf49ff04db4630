"""A renderer that gives batches to workers, each on a thread of its own, and loses no picture with a worker.

All that changes is changed in the thread that called `render`: workers only put what they have to say into
one queue. Pictures are handed on in that thread, too.
"""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.adapters import ModelFolders
from loralathe.errors import LatheError, MachineError, counted, few, printable
from loralathe.progress import Event, Progress, Task
from loralathe.rendering.elsewhere.work import Batch, LostError, Model, Report, Worker, batches_of, next_batch
from loralathe.rendering.prepare import Prepared, prepare
from loralathe.rendering.request import ImageRequest, OnImage

if TYPE_CHECKING:
    from PIL.Image import Image

    from loralathe.rendering.model_cache import WeightsInMemory

MOST_TRIES = 3
"""How often a picture is tried, each time by a worker that was lost with it."""
MOST_LOSSES = 4
"""How often one place loses its worker in a row, before it is asked no more."""
LOOK_SECONDS = 0.2
"""Between two looks whether the work was cancelled."""
STOP_SECONDS = 15.0
"""That a worker has to end when the work is cancelled."""


@dataclass(frozen=True)
class Place:
    """Where a worker can be had: its name for people, and how it is started."""

    name: str
    start: Callable[[], Worker]


@dataclass(frozen=True)
class Said:
    """What a worker's thread has to say. picture, steps, event: see `Report`; ended: it is free again."""

    post: Post
    picture: tuple[int, Image] | None = None
    steps: int = 0
    event: Event | None = None
    ended: bool = False
    error: BaseException | None = None


class Post:
    """One place with its thread. The thread starts the worker for the first batch, and again after a loss."""

    def __init__(self, place: Place, said: queue.SimpleQueue[Said]) -> None:
        self.place = place
        self.loaded: Model | None = None
        self.batch: Batch | None = None
        self.steps = 0
        self.losses = 0
        self.worker: Worker | None = None
        self._over = False
        self._said = said
        self._inbox: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=place.name, daemon=True)
        self._thread.start()

    def give(self, batch: Batch) -> None:
        self.batch, self.loaded, self.steps = batch, batch.model, 0
        self._inbox.put(batch)

    def stop(self) -> None:
        """Tell the worker, and the thread, to end."""
        self._over = True
        self._inbox.put(None)
        if self.worker is not None:
            self.worker.stop()

    def join(self) -> None:
        """Wait until both have ended."""
        self._thread.join(STOP_SECONDS)

    def _serve(self) -> None:
        report = Report(
            lambda index, image: self._said.put(Said(self, picture=(index, image))),
            lambda amount: self._said.put(Said(self, steps=amount)),
            lambda event: self._said.put(Said(self, event=event)),
        )
        while (batch := self._inbox.get()) is not None:
            error: BaseException | None = None
            try:
                if self.worker is None:
                    self.worker = self.place.start()
                if not self._over:
                    self.worker.draw(batch, report)
            except BaseException as found:  # noqa: BLE001 - told to the thread that waits for this one
                error = found
            if isinstance(error, LostError) and self.worker is not None:
                self.worker.close()
                self.worker = None
            self._said.put(Said(self, ended=True, error=error))
        if self.worker is not None:
            self.worker.close()


class Pool:
    """Requests drawn by several workers at once. Use it in a `with` block, or call `close`.

    places:  where workers are;  size: how many requests that are like one make a batch
    closing: called when the workers are gone
    check:   called with all requests before the first is drawn; raises InputError
    whole:   a lost batch is drawn again as a whole: in company pictures are rounded alike
    weights: checkpoints in memory by name; each is written into a file for the workers, for as long as needed
    """

    def __init__(
        self,
        places: Sequence[Place],
        *,
        size: Callable[[int], Callable[[Prepared], int]],
        lora_dirs: Iterable[str] = (),
        check: Callable[[Sequence[Prepared]], None] = lambda prepared: None,
        whole: bool = True,
        weights: WeightsInMemory | None = None,
        closing: Callable[[], None] = lambda: None,
        progress: Progress | None = None,
    ) -> None:
        self._places = places
        self._whole = whole
        self._closing = closing
        self._size = size
        self._check = check
        self._folders = ModelFolders(lora_dirs)
        self._progress = progress or Progress()
        self._said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._posts: list[Post] = []
        self._held = HeldFiles({} if weights is None else weights)
        self._told: set[str] = set()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers. A later `render` starts them again."""
        posts, self._posts = self._posts, []
        self._said = queue.SimpleQueue()  # what those have still to say is of no use
        for post in posts:
            post.stop()
        for post in posts:
            post.join()
        self._held.close()
        self._closing()

    def forget(self) -> None:
        """Let workers go of their models, and remove files of weights: others will follow."""
        for post in self._posts:
            post.loaded = None
            if post.worker is not None:
                post.worker.forget()
        self._held.close()

    def render(self, requests: Sequence[ImageRequest], on_image: OnImage) -> None:
        """Render all requests; `on_image(index, picture)` as they finish.

        Raises InputError before the first picture for what can be known then, and MachineError, when all
        others are drawn, that names the pictures which no worker could draw.
        """
        if not requests:
            return
        prepared = [prepare(index, request, self._folders) for index, request in enumerate(requests)]
        self._check(prepared)
        batches = batches_of(prepared, self._size(len(prepared)))
        held = self._held.files_of(request.checkpoint for request in requests)
        if not self._posts:
            self._posts = [Post(place, self._said) for place in self._places]
        steps = sum(request.all_steps for request in requests)
        with self._progress.task("rendering", steps, "step") as task:
            waiting = [replace(batch, held=held) for batch in batches]
            work = Round(self._posts, waiting, task, on_image, whole=self._whole)
            try:
                self._follow(work, task)
            except BaseException:
                self.close()
                raise
        if work.failed:
            raise _not_drawn(work.failed)

    def _follow(self, work: Round, task: Task) -> None:
        work.give_out()
        while work.busy:
            try:
                said = self._said.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                task.check()
                continue
            if said.event is not None:
                self._pass_on(said.post.place.name, said.event)
            work.hear(said, self._progress.message)

    def _pass_on(self, name: str, event: Event) -> None:
        """A message once, whoever says it; tasks of several workers by their names."""
        if event.kind != "message":
            self._progress.emit(replace(event, task=f"{event.task} ({name})"))
        elif event.text not in self._told:
            self._told.add(event.text)
            self._progress.message(event.text)


class Round:
    """The batches of one call of `render`: who draws what, what is still to be drawn, and what failed."""

    def __init__(
        self, posts: Sequence[Post], batches: list[Batch], task: Task, on_image: OnImage, *, whole: bool
    ) -> None:
        self._whole = whole
        self._posts = list(posts)
        self._waiting = batches
        self._task = task
        self._on_image = on_image
        self._drawn: set[int] = set()
        self.failed: dict[int, tuple[ImageRequest, str]] = {}

    @property
    def busy(self) -> bool:
        return any(post.batch is not None for post in self._posts)

    def give_out(self) -> None:
        """A batch to every worker that has none; one that was lost goes to another place, if there is one."""
        names = {post.place.name for post in self._posts}
        for post in self._posts:
            if post.batch is None:
                name = post.place.name
                fit = [one for one in self._waiting if name not in one.lost_at or names <= set(one.lost_at)]
                others = [other.loaded for other in self._posts if other is not post]
                if (batch := next_batch(fit, post.loaded, others)) is not None:
                    self._waiting.remove(batch)
                    post.give(batch)

    def hear(self, said: Said, tell: Callable[[str], None]) -> None:
        post = said.post
        if said.steps:
            post.steps += said.steps
            self._task.advance(said.steps)
        if said.picture is not None:
            index, image = said.picture
            if index not in self._drawn:
                self._drawn.add(index)
                self._on_image(index, image)
        if said.ended:
            self._ended(post, said.error, tell)
            self.give_out()

    def _ended(self, post: Post, error: BaseException | None, tell: Callable[[str], None]) -> None:
        batch, post.batch = post.batch, None
        assert batch is not None
        if error is None:
            post.losses = 0
            return
        if not isinstance(error, LostError):
            raise error
        post.loaded, post.losses = None, post.losses + 1
        self._task.advance(-post.steps)  # steps of a lost batch do not count
        left = {index: one for index, one in batch.requests.items() if index not in self._drawn}
        if left:
            tell(f"{post.place.name}: {error}; {counted(len(left), 'picture')} will be drawn again")
            self._put_back(replace(batch, lost_at=(*batch.lost_at, post.place.name)), left, str(error))
        if post.losses >= MOST_LOSSES:
            tell(f"{post.place.name} failed {post.losses} times in a row and is asked no more")
            self._posts.remove(post)
            if not self._posts:
                self._give_up(str(error))

    def _put_back(self, batch: Batch, left: Mapping[int, ImageRequest], reason: str) -> None:
        """The whole batch once more, where that matters; then one by one, then no more."""
        if len(batch.lost_at) >= MOST_TRIES:
            self.failed.update({index: (request, reason) for index, request in left.items()})
        elif self._whole and len(batch.lost_at) == 1:
            self._waiting.insert(0, batch)
        else:
            self._waiting[:0] = [replace(batch, requests={index: one}) for index, one in left.items()]

    def _give_up(self, reason: str) -> None:
        for batch in self._waiting:
            for index, request in batch.requests.items():
                if index not in self._drawn:
                    self.failed[index] = (request, reason)
        self._waiting.clear()


def _not_drawn(failed: Mapping[int, tuple[ImageRequest, str]]) -> LatheError:
    """The error that names what no worker could draw."""
    in_order = [failed[index] for index in sorted(failed)]
    names = [_name(request) for request, _ in in_order]
    reasons = list(dict.fromkeys(reason for _, reason in in_order))
    return MachineError(
        f"{counted(len(failed), 'picture')} could not be drawn: {few(reasons, 2, '; ')}",
        where=few(names, 6, "; "),
        fix="all others are kept; the same command tries these again",
    )


def _name(request: ImageRequest) -> str:
    uses = " ".join(f"{Path(use.file).stem}:{use.unet:g}" for use in request.adapters)
    words = printable(" ".join(request.prompt.split()))
    short = words if len(words) <= 40 else f"{words[:40]}…"
    return " ".join(part for part in (f"seed {request.seed}", uses, f"'{short}'") if part)


class HeldFiles:
    """Weights in memory as files that workers map into theirs, so that all share one copy."""

    def __init__(self, weights: WeightsInMemory) -> None:
        self._weights = weights
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: dict[str, Path] = {}

    def files_of(self, names: Iterable[str]) -> Mapping[str, Path]:
        """The files of those that are held. Raises MachineError where there is no room for them."""
        wanted = [name for name in dict.fromkeys(names) if name in self._weights]
        for name in wanted:
            if name not in self._files:
                self._files[name] = self._write(name)
        return {name: self._files[name] for name in wanted}

    def _write(self, name: str) -> Path:
        import torch

        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="loralathe-")
        file = Path(self._folder.name) / f"{len(self._files)}.pt"
        tensors = {key: tensor.detach().cpu() for key, tensor in self._weights[name].items()}
        try:
            torch.save(tensors, file)
        except (OSError, RuntimeError) as error:
            raise MachineError(
                "weights in memory could not be written for the other processes",
                where=f"{file}: {error}",
                fix="free some space there, or draw in one process",
            ) from error
        return file

    def close(self) -> None:
        folder, self._folder = self._folder, None
        self._files.clear()
        if folder is not None:
            folder.cleanup()
