"""The pool with workers that are made up: what is lost is drawn again, what cannot be drawn is named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from PIL import Image

from loralathe.adapters import ModelFolders
from loralathe.errors import InputError, MachineError
from loralathe.progress import CallableSink, Cancel, Cancelled, Event, Progress
from loralathe.rendering import ImageRequest
from loralathe.rendering.elsewhere import LostError, Pool, Report
from loralathe.rendering.elsewhere.pool import Place
from loralathe.rendering.elsewhere.work import Batch, batches_of, next_batch
from loralathe.rendering.prepare import prepare
from studies.fakes import picture

Trouble = Callable[["Crew", Batch], None]


def requests(count: int, checkpoint: str = "a.safetensors") -> list[ImageRequest]:
    one = ImageRequest(checkpoint, prompt="girl", steps=2, width=32, height=48, sampler="Euler")
    return [replace(one, seed=seed) for seed in range(count)]


@dataclass
class Crew:
    """Places whose workers draw procedural pictures; `trouble` is called before each batch, and may raise."""

    count: int = 2
    trouble: Trouble = lambda crew, batch: None
    drawn: list[tuple[int, ...]] = field(default_factory=list)
    started: int = 0
    closed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pool(self, progress: Progress | None = None, size: int = 4, **more: object) -> Pool:
        places = [Place(f"place {n}", self.start) for n in range(self.count)]
        return Pool(places, size=lambda count: lambda one: size, progress=progress, **more)  # type: ignore[arg-type]

    def start(self) -> Drawer:
        with self.lock:
            self.started += 1
        return Drawer(self)

    def seeds(self) -> list[int]:
        return sorted(seed for batch in self.drawn for seed in batch)


class Drawer:
    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._open = True
        self.stopped = threading.Event()

    def draw(self, batch: Batch, report: Report) -> None:
        self._crew.trouble(self._crew, batch)
        for index, request in batch.requests.items():
            report.steps(request.steps)
            report.picture(index, picture(request))
        with self._crew.lock:
            self._crew.drawn.append(tuple(one.seed for one in batch.requests.values()))

    def forget(self) -> None:
        return

    def stop(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        with self._crew.lock:
            self._crew.closed += self._open
        self._open = False


def render(pool: Pool, wanted: list[ImageRequest]) -> dict[int, Image.Image]:
    found: dict[int, Image.Image] = {}

    def receive(index: int, image: Image.Image) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert index not in found, "a picture came twice"
        found[index] = image

    pool.render(wanted, receive)
    return found


def once(seed: int, error: Exception) -> Trouble:
    """Trouble with the batch that holds this seed, the first time."""
    seen: list[int] = []

    def trouble(crew: Crew, batch: Batch) -> None:
        if any(one.seed == seed for one in batch.requests.values()) and not seen:
            seen.append(seed)
            raise error

    return trouble


def always(*seeds: int, error: Exception) -> Trouble:
    def trouble(crew: Crew, batch: Batch) -> None:
        if any(one.seed in seeds for one in batch.requests.values()):
            raise error

    return trouble


def test_every_picture_arrives_and_steps_add_up() -> None:
    events: list[Event] = []
    crew, wanted = Crew(), requests(10)
    with crew.pool(Progress(CallableSink(events.append))) as pool:
        found = render(pool, wanted)
        assert {i: image.tobytes() for i, image in found.items()} == {
            i: picture(one).tobytes() for i, one in enumerate(wanted)
        }
        assert crew.seeds() == list(range(10))
        assert len(render(pool, wanted)) == 10  # the same workers again
    assert crew.started == crew.closed == 2
    assert [(event.done, event.total) for event in events if event.kind == "end"] == [(20, 20), (20, 20)]


def test_a_lost_batch_is_drawn_again_as_it_was() -> None:
    said: list[str] = []
    crew = Crew(trouble=once(5, LostError("the process was ended by SIGKILL")))
    with crew.pool(Progress(CallableSink(lambda event: said.append(event.text)))) as pool:
        assert len(render(pool, requests(10))) == 10
    assert sorted(crew.drawn) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    assert crew.started == crew.closed
    (told,) = [text for text in said if text]
    assert told.endswith("the process was ended by SIGKILL; 4 pictures will be drawn again")


def test_what_nobody_can_draw_is_named_and_the_rest_arrives() -> None:
    crew = Crew(trouble=always(5, error=LostError("out of memory")))
    with crew.pool() as pool:
        found: dict[int, Image.Image] = {}
        with pytest.raises(MachineError) as caught:
            pool.render(requests(10), found.__setitem__)
    assert sorted(found) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert caught.value.what == "1 picture could not be drawn: out of memory"
    assert caught.value.where == "seed 5 'girl'"


def test_places_that_always_fail_are_asked_no_more() -> None:
    crew = Crew(trouble=always(*range(20), error=LostError("no connection")))
    with crew.pool() as pool, pytest.raises(MachineError) as caught:
        render(pool, requests(20))
    assert caught.value.what == "20 pictures could not be drawn: no connection"
    assert caught.value.where == "; ".join(f"seed {n} 'girl'" for n in range(6)) + " and 14 more"
    assert crew.started == crew.closed <= 8


def test_one_place_that_fails_leaves_the_work_to_the_other() -> None:
    def trouble(crew: Crew, batch: Batch) -> None:
        if threading.current_thread().name == "place 0":
            raise LostError("gone")

    crew = Crew(trouble=trouble)
    with crew.pool(size=1) as pool:
        assert len(render(pool, requests(12))) == 12


def test_a_mistake_ends_all() -> None:
    crew = Crew(trouble=always(3, error=InputError("this adapter does not fit")))
    pool = crew.pool(size=1)
    with pytest.raises(InputError, match="does not fit"):
        render(pool, requests(10))
    assert crew.started == crew.closed
    assert len(crew.drawn) < 10


def test_what_can_be_known_is_told_before_a_worker_starts() -> None:
    def check(prepared: object) -> None:
        raise InputError("no such checkpoint")

    crew = Crew()
    with pytest.raises(InputError, match="no such checkpoint"):
        render(crew.pool(check=check), requests(2))
    assert crew.started == 0


def test_cancelling_stops_and_closes_the_workers() -> None:
    cancel, waits = Cancel(), threading.Event()

    def trouble(crew: Crew, batch: Batch) -> None:
        cancel.cancel()
        waits.wait(1)

    crew = Crew(trouble=trouble)
    pool = crew.pool(Progress(cancel=cancel))
    with pytest.raises(Cancelled):
        render(pool, requests(10))
    waits.set()
    assert crew.closed == crew.started > 0
    assert not [one for one in threading.enumerate() if one.name.startswith("place")]


def test_an_error_of_the_caller_ends_the_workers() -> None:
    crew = Crew()
    pool = crew.pool()

    def full(index: int, image: Image.Image) -> None:
        raise MachineError("the disk is full")

    with pytest.raises(MachineError, match="the disk is full"):
        pool.render(requests(4), full)
    assert crew.closed == crew.started > 0


def test_batches_share_a_model_and_a_worker_keeps_its_own() -> None:
    wanted = [*requests(5), *requests(3, "b.safetensors"), *requests(1)]
    prepared = [prepare(i, one, ModelFolders([])) for i, one in enumerate(wanted)]
    batches = batches_of(prepared, lambda one: 4)
    assert [list(one.requests) for one in batches] == [[0, 1, 2, 3], [4, 8], [5, 6, 7]]
    a, b = ("a.safetensors", None), ("b.safetensors", None)
    assert [one.model for one in batches] == [a, a, b]
    assert next_batch(batches, b, [a]) is batches[2]
    assert next_batch(batches, None, [a, None]) is batches[2]
    assert next_batch(batches, None, [a, b]) is batches[0]
    assert next_batch(batches[:1], b, [a]) is batches[0]
    assert next_batch([], a, []) is None


def test_weights_in_memory_are_files_for_as_long_as_they_are_needed() -> None:
    """Workers get the file of each name; `forget` and `close` remove it."""
    held: list[dict[str, dict[str, torch.Tensor]]] = []

    def trouble(crew: Crew, batch: Batch) -> None:
        held.append({name: torch.load(file, weights_only=True) for name, file in batch.held.items()})

    weights = {"merged": {"a": torch.arange(6.0).reshape(2, 3)}, "other": {"a": torch.zeros(1)}}
    pool = Crew(trouble=trouble).pool(weights=weights)
    assert len(render(pool, requests(2, "merged"))) == 2
    assert set(held[0]) == {"merged"}
    assert torch.equal(held[0]["merged"]["a"], weights["merged"]["a"])
    (file,) = pool._held._files.values()
    pool.forget()
    assert not file.exists()
    assert len(render(pool, requests(2, "other"))) == 2
    (file,) = pool._held._files.values()
    pool.close()
    assert not file.parent.exists()
