"""A small file copied beside an output, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from loralathe.errors import InputError
from loralathe.tensorfiles.outputs import write_error
from loralathe.tensorfiles.positional import write_at
from loralathe.tensorfiles.reader import open_regular
from loralathe.tensorfiles.staging import StagedFile

MOST = 16 << 20


class FileCopy:
    """The bytes of `source`, waiting to become `target`; it has the name only after `commit`.

    Raises InputError for a source that cannot be read or is no small file, and on `commit` for a target that
    exists (unless `force`); MachineError when the disk fails.
    """

    def __init__(self, source: Path, target: Path, *, force: bool) -> None:
        with open_regular(source) as file:
            if os.fstat(file.fileno()).st_size > MOST:
                raise InputError("too large for a config file", where=str(source), fix="leave it out")
            data = file.read()
        self.target = target
        self._staged = StagedFile(target, replace=force)
        try:
            self._staged.allocate(len(data))
            write_at(self._staged.fd, memoryview(data), 0)
        except OSError as error:
            self.abort()
            raise write_error(error, target) from error
        except BaseException:
            self.abort()
            raise

    def commit(self) -> Path:
        """Give the file its name; returns it."""
        self._staged.commit()
        return self.target

    def abort(self) -> None:
        """Remove every trace; does nothing after `commit`."""
        self._staged.discard()
