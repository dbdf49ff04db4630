"""Jobs, what they said and drew, and what is known of files: one SQLite file beside the results."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loralathe import InputError

VERSION = 1
WAITING, RUNNING, DONE = "waiting", "running", "done"
FAILED, CANCELLED, INTERRUPTED = "failed", "cancelled", "interrupted"
LIVE = (WAITING, RUNNING)
_JSON = ("request", "progress", "error", "outputs", "report", "line", "inputs")
MOST_LINES = 2000

Job = dict[str, Any]


class Store:
    """Reads and writes at once: every change is on disk when the call returns, and survives a kill."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.executescript("""
            create table if not exists jobs (
                id text primary key, command text, request text, title text, state text, position real,
                created real, started real, ended real, progress text, error text, outputs text, folder text,
                report text, line text, inputs text);
            create index if not exists jobs_by_state on jobs (state, position);
            create table if not exists lines (job text, time real, text text);
            create index if not exists lines_by_job on lines (job);
            create table if not exists cells (job text, number integer, total integer, path text, labels text,
                primary key (job, number));
            create table if not exists kept (name text primary key, value text);
            create table if not exists files (path text primary key, size integer, mtime integer, facts text);
        """)

    def close(self) -> None:
        self._db.close()

    def add(self, request: Mapping[str, Any], line: Mapping[str, str], inputs: list[str], title: str) -> Job:
        """A new job at the end of the queue."""
        number = secrets.token_hex(6)
        now = time.time()
        last = self._db.execute("select max(position) from jobs").fetchone()[0] or 0
        self._db.execute(
            "insert into jobs (id, command, request, title, state, position, created, line, inputs, outputs)"
            " values (?,?,?,?,?,?,?,?,?,'[]')",
            (
                number,
                request["command"],
                json.dumps(request),
                title,
                WAITING,
                last + 1,
                now,
                json.dumps(line),
                json.dumps(inputs),
            ),
        )
        return self.job(number)

    def change(self, number: str, **values: Any) -> None:
        """Set columns of a job."""
        names = ", ".join(f"{name} = ?" for name in values)
        plain = [json.dumps(value) if name in _JSON else value for name, value in values.items()]
        self._db.execute(f"update jobs set {names} where id = ?", (*plain, number))

    def job(self, number: str) -> Job:
        """InputError for one that is not there."""
        row = self._db.execute("select * from jobs where id = ?", (number,)).fetchone()
        if row is None:
            raise InputError(
                "there is no such job", where=number, fix="it was deleted: look into the history"
            )
        return _job(row)

    def jobs(self, limit: int = 200) -> list[Job]:
        """The latest first."""
        rows = self._db.execute("select * from jobs order by created desc limit ?", (limit,))
        return [_job(row) for row in rows]

    def next(self) -> Job | None:
        """The first that waits."""
        row = self._db.execute(
            "select * from jobs where state = ? order by position limit 1", (WAITING,)
        ).fetchone()
        return None if row is None else _job(row)

    def queue(self) -> list[str]:
        rows = self._db.execute("select id from jobs where state = ? order by position", (WAITING,))
        return [row[0] for row in rows]

    def move(self, number: str, before: str | None) -> None:
        """Put a waiting job before another one, or at the end."""
        order = [one for one in self.queue() if one != number]
        order.insert(order.index(before) if before in order else len(order), number)
        self._db.executemany(
            "update jobs set position = ? where id = ?", [(place, one) for place, one in enumerate(order)]
        )

    def interrupt(self) -> None:
        """What ran when the server was stopped can go on, if a person says so."""
        self._db.execute(
            "update jobs set state = ?, ended = ? where state = ?", (INTERRUPTED, time.time(), RUNNING)
        )

    def delete(self, number: str) -> None:
        for table, key in (("lines", "job"), ("cells", "job"), ("jobs", "id")):
            self._db.execute(f"delete from {table} where {key} = ?", (number,))

    def log(self, number: str, text: str) -> float:
        now = time.time()
        count = self._db.execute("select count(*) from lines where job = ?", (number,)).fetchone()[0]
        if count < MOST_LINES:
            self._db.execute("insert into lines values (?,?,?)", (number, now, text))
        return now

    def lines(self, number: str) -> list[dict[str, Any]]:
        rows = self._db.execute("select time, text from lines where job = ? order by rowid", (number,))
        return [{"time": row[0], "text": row[1]} for row in rows]

    def cell(self, number: str, index: int, total: int, path: str, labels: Iterable[str]) -> None:
        self._db.execute(
            "insert or replace into cells values (?,?,?,?,?)",
            (number, index, total, path, json.dumps(list(labels))),
        )

    def cells(self, number: str) -> list[dict[str, Any]]:
        rows = self._db.execute("select * from cells where job = ? order by number", (number,))
        return [
            {
                "index": row["number"],
                "total": row["total"],
                "path": row["path"],
                "labels": json.loads(row["labels"]),
            }
            for row in rows
        ]

    def kept(self, name: str) -> Any:
        """A value that was kept under a name; None where there is none."""
        row = self._db.execute("select value from kept where name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def keep(self, name: str, value: object) -> None:
        self._db.execute("insert or replace into kept values (?,?)", (name, json.dumps(value)))

    def facts(self, path: str, size: int, mtime: int) -> dict[str, Any] | None:
        """What was read of a file; None where it is another one by now."""
        row = self._db.execute(
            "select facts from files where path = ? and size = ? and mtime = ?", (path, size, mtime)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def all_facts(self) -> dict[str, tuple[int, int, dict[str, Any]]]:
        """Path → size, mtime_ns, facts."""
        rows = self._db.execute("select path, size, mtime, facts from files")
        return {row[0]: (row[1], row[2], json.loads(row[3])) for row in rows}

    def keep_facts(self, path: str, size: int, mtime: int, facts: Mapping[str, Any]) -> None:
        self._db.execute(
            "insert or replace into files values (?,?,?,?)", (path, size, mtime, json.dumps(facts))
        )


def _job(row: sqlite3.Row) -> Job:
    found = dict(row)
    for name in _JSON:
        found[name] = json.loads(found[name]) if found[name] else None
    return found
