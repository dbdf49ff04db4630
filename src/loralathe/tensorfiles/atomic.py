"""The one way a file is written: under a temporary name beside its target, synced to disk, then renamed.

So a target is there whole or not at all, and nothing else stays behind:

- An exception removes the temporary file. Ctrl-C is an exception, too.
- SIGTERM, SIGHUP, SIGQUIT and SIGXCPU would end Python at once. While temporary files exist, and only where
  nobody else handles the signal, a handler removes them and then lets the signal end the process.
- Folders that were made for a file go with it, as long as they are empty.
- A process that is killed leaves its temporary file behind. Its writer held a lock on it, which is free now:
  the next run that writes the same target sees that and removes the file.

A folder of files is written in the same way: under a temporary name, with a lock inside, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from loralathe.errors import InputError, option, whole
from loralathe.tensorfiles.confined import require_writable
from loralathe.tensorfiles.input_files import MODEL_SUFFIXES
from loralathe.tensorfiles.outputs import check_folder, check_output, free_space, real_path, write_error
from loralathe.tensorfiles.positional import write_at
from loralathe.tensorfiles.temporary import (
    FLAGS,
    LOCK,
    SUFFIX,
    create_locked,
    forget,
    prefix_of,
    remember,
    remove,
    remove_own,
    remove_stale,
    sync_folder,
    try_lock,
)

SCARCE = 2
"""Disk blocks are taken at once where the disk has less room than this many times the file."""
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class StagedFile:
    """A temporary file, open and locked, that `commit` turns into `target`.

    Its mode follows the umask like any new file. A target that is a symbolic link is followed, not replaced.
    """

    def __init__(self, target: Path, *, replace: bool) -> None:
        self.target = target
        self._final = Path(os.path.realpath(target))
        require_writable(self._final)
        self._replace = replace
        remove_stale(self._final)
        try:
            self._temporary, self.fd = create_locked(self._final)
        except OSError as error:
            raise write_error(error, target) from error
        self._open = True
        self._settled = False
        self._named = False

    def allocate(self, size: int) -> None:
        """Give the file its `size`; OSError when the disk cannot hold it.

        Where room is scarce the blocks are taken now, so that a full disk shows before the work. Elsewhere
        that only costs time: ext4 marks such blocks as unwritten and then marks each as written.
        """
        scarce = free_space(self._final) < SCARCE * size
        if hasattr(os, "posix_fallocate") and size and scarce:
            try:
                os.posix_fallocate(self.fd, 0, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
        os.ftruncate(self.fd, size)

    def commit(self) -> None:
        """Make the bytes durable, give the file its name, make that durable. A failure leaves nothing."""
        try:
            os.fsync(self.fd)
            if sys.platform == "win32":
                os.close(self.fd)
                self._open = False
            self._give_name()
            sync_folder(self._final.parent)
        except OSError as error:
            self.discard()
            raise write_error(error, self.target) from error
        except BaseException:
            self.discard()
            raise
        self._settled = True
        forget(self._temporary)
        self._close()

    def discard(self) -> None:
        """Remove every trace; does nothing after `commit` or a second time."""
        self._close()
        if not self._settled:
            self._settled = True
            # A disk that fails may refuse this, too; what stays is removed by the next run.
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            if self._named:
                with contextlib.suppress(OSError):
                    self._final.unlink(missing_ok=True)
            forget(self._temporary)

    def _rename_to_free_name(self) -> None:
        """Rename that never replaces; FileExistsError when the name is taken."""
        if sys.platform != "win32":
            try:
                os.link(self._temporary, self._final)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
            else:
                self._named = True
                self._temporary.unlink()
                return
            if os.path.lexists(self._final):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self._final))
        os.rename(self._temporary, self._final)
        self._named = True

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.fd)

    def _give_name(self) -> None:
        if self._replace:
            os.replace(self._temporary, self._final)
            return
        try:
            self._rename_to_free_name()
        except FileExistsError:
            raise InputError(
                "the output appeared while it was being computed",
                where=str(self.target),
                fix=f"choose another name, or replace it with {option('force', True)}",
            ) from None


class StagedFolder:
    """A temporary folder, locked, that `commit` turns into `target`; its files are put into `path`."""

    def __init__(self, target: Path) -> None:
        check_folder(target)
        self.target = target
        self._final = Path(os.path.realpath(target))
        require_writable(self._final)
        remove_stale(self._final)
        self.path = self._final.parent / f"{prefix_of(self._final)}{secrets.token_hex(6)}{SUFFIX}"
        self._settled = False
        remember(self.path)
        try:
            self.path.mkdir()
            self._fd = os.open(self.path / LOCK, FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            remove(self.path)
            forget(self.path)
            raise write_error(error, target) from error
        self._locked = True
        with contextlib.suppress(OSError):  # no locks on this disk
            try_lock(self._fd)

    def commit(self) -> None:
        """Give the folder its name; its files are durable by then. A failure leaves nothing."""
        try:
            for place, _, _ in os.walk(self.path):
                sync_folder(Path(place))
            check_folder(self.target)
            if self._final.is_dir():
                self._final.rmdir()  # empty; Windows renames to free names only
            if sys.platform == "win32":  # it renames no folder with an open file in it
                self._unlock(self.path)
            os.rename(self.path, self._final)
            if sys.platform != "win32":
                self._unlock(self._final)
            sync_folder(self._final.parent)
        except OSError as error:
            self.discard()
            raise write_error(error, self.target) from error
        except BaseException:
            self.discard()
            raise
        self._settled = True
        forget(self.path)

    def _unlock(self, folder: Path) -> None:
        if self._locked:
            self._locked = False
            os.close(self._fd)
            (folder / LOCK).unlink()

    def discard(self) -> None:
        """Remove every trace; does nothing after `commit` or a second time."""
        if not self._settled:
            self._settled = True
            if self._locked:
                os.close(self._fd)
            remove(self.path)
            forget(self.path)


@contextlib.contextmanager
def made_folders(targets: Iterable[Path]) -> Iterator[None]:
    """The folders of outputs, made where they are absent; those that were made go again after an error.

    So do temporary files: Ctrl-C may come after one was created, and before anybody could hold it.
    """
    made: list[Path] = []
    finals: list[Path] = []
    try:
        for target in targets:
            finals.append(Path(os.path.realpath(target)))
            folder = finals[-1].parent
            try:
                for place in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
                    remember(place)
                    made.append(place)
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(error, target) from error
        yield
    except BaseException:
        for final in finals:
            remove_own(final)
        for place in reversed(made):
            with contextlib.suppress(OSError):  # it may hold what another program has put there
                place.rmdir()
        raise
    finally:
        for place in made:
            forget(place)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, its folder too, or replace it; after a MachineError the old file is as it was."""
    with made_folders([path]):
        stage_bytes(path, data, replace=True).commit()


def write_text(path: Path, text: str, *, force: bool, inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Write a text that a person asked for, in UTF-8; errors as `check_output`.

    Its file may have any suffix but those of models, which are too large to lose to a slip.
    """
    check_output(path, inputs, force, suffix=None)
    for name in (path, real_path(path)):
        if name.name.casefold().endswith(MODEL_SUFFIXES):
            raise InputError(
                "this is the name of a model file, not of a text",
                where=str(path) if name == path else f"{path} is a link to {name}",
                fix="choose another output name",
            )
    with made_folders([path]):
        stage_bytes(path, text_bytes(text, str(path)), replace=force).commit()


def text_bytes(text: str, where: str) -> bytes:
    """In UTF-8; InputError, with the file that was to hold it, for halves of characters."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = error.object[max(0, error.start - 20) : error.end + 20]
        raise InputError(
            f"'{whole(found)}' holds half a character, which no file can hold",
            where=where,
            fix="if it is the name of a file or of a folder, rename that",
        ) from None


def stage_bytes(target: Path, data: bytes, *, replace: bool, size: int | None = None) -> StagedFile:
    """A staged file that begins with `data`, and has room for `size` bytes; MachineError where it fails."""
    staged = StagedFile(target, replace=replace)
    try:
        staged.allocate(len(data) if size is None else size)
        write_at(staged.fd, memoryview(data), 0)
    except BaseException as error:
        staged.discard()
        if isinstance(error, OSError):
            raise write_error(error, target) from error
        raise
    return staged
