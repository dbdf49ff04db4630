"""The one way a file is written: under a temporary name beside its target, synced to disk, then renamed.

So a target is there whole or not at all, and nothing else stays behind:

- An exception removes the temporary file. Ctrl-C is an exception, too.
- SIGTERM, SIGHUP, SIGQUIT and SIGXCPU would end Python at once. While temporary files exist, and only where
  nobody else handles the signal, a handler removes them and then lets the signal end the process.
- Folders that were made for a file go with it, as long as they are empty.
- A process that is killed leaves its temporary file behind. Its writer held a lock on it, which is free now:
  the next run that writes the same target sees that and removes the file.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

from loralathe.errors import InputError, option, whole
from loralathe.tensorfiles.confined import require_writable
from loralathe.tensorfiles.input_files import MODEL_SUFFIXES
from loralathe.tensorfiles.outputs import check_output, free_space, real_path, write_error
from loralathe.tensorfiles.positional import write_at

_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0)
_START, _SUFFIX = ".lathe-", ".part"
SCARCE = 2
"""Disk blocks are taken at once where the disk has less room than this many times the file."""
_LOCK_AT = 1 << 40
"""Windows locks bytes, and others cannot read locked bytes: lock one that never exists."""
_ENDS = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGXCPU")
_SIGNALS = [getattr(signal, name) for name in _ENDS if hasattr(signal, name)]
_live: dict[Path, tuple[int, int]] = {}
"""Temporary file or new folder -> process and thread that made it (a fork must not remove its parent's)."""
_live_lock = threading.Lock()
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
            self._temporary, self.fd = _create_locked(self._final)
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
            _sync_folder(self._final.parent)
        except OSError as error:
            self.discard()
            raise write_error(error, self.target) from error
        except BaseException:
            self.discard()
            raise
        self._settled = True
        _forget(self._temporary)
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
            _forget(self._temporary)

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
                    _remember(place)
                    made.append(place)
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(error, target) from error
        yield
    except BaseException:
        for final in finals:
            _remove_own(final)
        for place in reversed(made):
            with contextlib.suppress(OSError):  # it may hold what another program has put there
                place.rmdir()
        raise
    finally:
        for place in made:
            _forget(place)


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


def remove_stale(target: Path) -> list[Path]:
    """Delete temporary files for `target` whose writer is gone, and list them; living ones are locked."""
    return _remove_unlocked(target.parent.glob(f"{_prefix(target)}*{_SUFFIX}"))


def remove_stale_in(folder: Path) -> list[Path]:
    """The same for every target in a folder."""
    return _remove_unlocked(folder.glob(f"{_START}*{_SUFFIX}"))


def _remove_unlocked(paths: Iterable[Path]) -> list[Path]:
    removed = []
    for path in paths:
        try:
            fd = os.open(path, _FLAGS)
        except OSError:
            continue
        try:
            stale = _try_lock(fd)
            if stale and sys.platform != "win32":
                path.unlink(missing_ok=True)
        except OSError:
            stale = False  # no locks on this disk: better a leftover than another run's file
        finally:
            os.close(fd)
        if stale:
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _prefix(target: Path) -> str:
    # A digest, because a long name with a prefix and a suffix may be more than a file name can hold.
    digest = hashlib.sha256(target.name.casefold().encode("utf-8", "surrogateescape")).hexdigest()
    return f"{_START}{digest[:12]}-"


def _create_locked(target: Path) -> tuple[Path, int]:
    while True:
        path = target.parent / f"{_prefix(target)}{secrets.token_hex(6)}{_SUFFIX}"
        _remember(path)  # before it exists: a signal may come at any moment
        try:
            fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError:
            _forget(path)
            raise
        try:
            locked = _try_lock(fd)
        except OSError:
            return path, fd  # no locks on this disk
        # Between creation and lock another run may have taken the file for a stale one.
        if locked and os.fstat(fd).st_nlink:
            return path, fd
        os.close(fd)
        _forget(path)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks cannot sync folders
            raise
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    """Lock an open file until the process ends, without waiting.

    False when another has the lock; OSError where locks do not work.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, _LOCK_AT, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _remember(path: Path) -> None:
    """Remove `path` if the process ends before `_forget`; signals are caught only from the main thread on."""
    with _live_lock:
        _live[path] = os.getpid(), threading.get_ident()
        _swap_handlers(signal.SIG_DFL, _die_cleanly)


def _forget(path: Path) -> None:
    with _live_lock:
        _live.pop(path, None)
        if not _live:
            _swap_handlers(_die_cleanly, signal.SIG_DFL)


def _remove_own(target: Path) -> None:
    """Temporary files for `target` that this thread made and nobody has committed or discarded."""
    own, prefix = (os.getpid(), threading.get_ident()), _prefix(target)
    for path, owner in tuple(_live.items()):
        if owner == own and path.parent == target.parent and path.name.startswith(prefix):
            with contextlib.suppress(OSError):
                path.unlink()
            _forget(path)


def _swap_handlers(old: object, new: signal.Handlers | object) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is old or signal.getsignal(number) == old:
            signal.signal(number, new)  # type: ignore[arg-type]


def _die_cleanly(number: int, frame: FrameType | None) -> None:
    # No lock: the main thread may be interrupted while it holds it.
    _remove_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@atexit.register
def _remove_all() -> None:
    for path, (process, _) in reversed(tuple(_live.items())):  # files before the folders that they are in
        if process == os.getpid():
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
