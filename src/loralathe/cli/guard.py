"""How a command ends: exit codes and error texts (docs/semantics.md §7).

0 done; 1 a bug of ours; 2 the person's input; 3 the machine; 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FrameType

import click

from loralathe import (
    InputError,
    LatheError,
    MachineError,
    Message,
    as_flag,
    command_line,
    did_you_mean,
    inset,
    is_out_of_memory,
    json_text,
)
from loralathe.cli.language import say, say_flag
from loralathe.cli.screen import TOKEN, tell

DONE, BUG, INPUT, MACHINE, INTERRUPTED = 0, 1, 2, 3, 130
DEBUG = "LATHE_DEBUG"
Flags = Collection[str]
_WHOLE = "is not a whole number"
"""What click means by "not a valid integer range"."""


def guarded(run: Callable[[], object], words: Sequence[str], flags: Callable[[], Flags] = tuple) -> int:
    """Run a command; the exit code, every error shown on stderr (with --json on stdout, too).

    flags: the options that the command has, for advice.
    """
    try:
        code = run()
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return INPUT
    except (KeyboardInterrupt, click.Abort) as error:
        return _interrupted(words, kept_by(error))
    except BaseException as error:
        if isinstance(error, (SystemExit, GeneratorExit)):
            raise
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return show_error(error, words, flags())
    return code if isinstance(code, int) else DONE


_ENDS = (signal.SIGINT, signal.SIGTERM)


def end_on_signals() -> None:
    """Ctrl-C and SIGTERM cancel the work of all threads and unwind: half-written files are removed.

    A second one is not heard: it would end the wait for threads that still write.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _ENDS:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for end in _ENDS:
        signal.signal(end, _unheard)
    TOKEN.cancel()
    raise KeyboardInterrupt


def _unheard(number: int, frame: FrameType | None) -> None:
    """In place of SIG_IGN, of which Python complains when two signals came at once."""


def kept_by(error: BaseException) -> str:
    """What an interrupted command says of its work: the text of its KeyboardInterrupt, which click wraps."""
    cause = error.__cause__ if isinstance(error, click.Abort) else error
    return str(cause or "") or "no output was written"


def _interrupted(words: Sequence[str], kept: str) -> int:
    for end in _ENDS:  # Python takes its handlers away as it ends: the next signal would decide the exit code
        if signal.getsignal(end) is _unheard:
            signal.signal(end, signal.SIG_IGN)
    print(say(f"lathe: interrupted; {kept}"), file=sys.stderr)
    if "--json" in words:
        print(json.dumps({"event": "error", "what": "interrupted", "exit_code": INTERRUPTED}), flush=True)
    return INTERRUPTED


def lost_text(failure: OSError) -> int:
    """Tell that not all of the text could be written to stdout; the files that were made are whole."""
    error = MachineError(
        f"the text could not be written: {failure.strerror}",
        where="standard output",
        fix="send it elsewhere; files that the command made are whole",
    )
    return show_error(error, sys.argv[1:])


def show_error(error: BaseException, words: Sequence[str], flags: Flags = ()) -> int:
    """Print `lathe: error: …` with its where and fix; the exit code."""
    known, as_json = explained(error, flags), "--json" in words
    if known and known.instead:
        known.fix = Message(_corrected(words, known.instead))
    code = known.exit_code if known else BUG
    shown = known or _bug(error)
    tell(_told(shown))
    if as_json:
        parts = {"what": shown.what, "where": shown.where, "fix": shown.fix}
        record = {"event": "error"} | {name: text and text.spelled(as_flag) for name, text in parts.items()}
        print(json_text(record | {"exit_code": code}), flush=True)
    return code


def _told(error: LatheError) -> str:
    """`error.text`, as the person reads it."""
    parts = {"lathe: error: ": error.what, "  where: ": error.where, "  fix:   ": error.fix}
    return "\n".join(inset(say(label) + say(text.spelled(say_flag))) for label, text in parts.items() if text)


def _corrected(words: Sequence[str], instead: Mapping[str, Sequence[str]]) -> str:
    """The command with the words that were meant."""
    return command_line(*(right for word in words for right in instead.get(word, [word])))


def explained(error: BaseException, flags: Flags = ()) -> LatheError | None:
    """The error in our family's words; None for what nobody foresaw."""
    if isinstance(error, LatheError):
        return error
    if isinstance(error, click.ClickException):
        return _usage(error)
    if is_out_of_memory(error):
        return _memory(error, flags)
    if isinstance(error, OSError):
        return _system(error)
    return None


def _usage(error: click.ClickException) -> InputError:
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "lathe"
    what = error.format_message().removesuffix(".")
    what = what.replace("is not a valid integer range", _WHOLE).replace("is not a valid integer", _WHOLE)
    fix = f"see {command} --help"
    if isinstance(error, click.NoSuchOption) and isinstance(error.ctx, click.Context):
        what = f"there is no option '{error.option_name}'"
        options = (one for one in error.ctx.command.params if isinstance(one, click.Option))
        names = [name for one in options for name in one.opts]
        hint = did_you_mean(error.option_name, names)
        fix = f"{hint} {fix}" if hint else fix
    return InputError(what, fix=fix)


def _memory(error: BaseException, flags: Flags) -> MachineError:
    """Of a GPU or of the machine; the first sentence of torch's text says which GPU library it was."""
    first = str(error).partition("\n")[0].partition(". ")[0]
    on_gpu = any(name in first for name in ("CUDA", "CUBLAS", "CUSOLVER", "HIP", "XPU"))
    fix = "leave --device out" if on_gpu else "close other programs"
    if "--memory" in flags:
        fix = f"give a smaller --memory or fewer --threads, or {fix}"
    elif "--threads" in flags:
        fix = f"give fewer --threads, or {fix}"
    return MachineError("not enough memory", where=first if on_gpu else None, fix=fix)


def _system(error: OSError) -> MachineError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC)
    return MachineError(
        "the disk is full" if full else f"the system refused: {error.strerror or error}",
        where=str(error.filename) if error.filename else None,
        fix="free some space, or write to another disk" if full else "check the file, folder and disk",
    )


def _bug(error: BaseException) -> LatheError:
    frames = traceback.extract_tb(error.__traceback__)
    place = next((frame for frame in reversed(frames) if "loralathe" in frame.filename), None)
    where = f"{os.path.basename(place.filename)}, line {place.lineno}" if place else None
    return LatheError(
        f"this is a bug in loralathe: {type(error).__name__}: {error}",
        where=where,
        fix=f"run it again with {DEBUG}=1 and report the command with the text it prints",
    )
