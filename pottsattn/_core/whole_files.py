"""Files that are whole or absent: written beside their target, brought to the disk, and renamed.

What a killed run has left is removed by the next one.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from pottsattn._core.interrupts import interrupts_wait
from pottsattn._core.validate import InputError

TOKEN_BYTES = 6  # of a temporary name: process ids are not unique, containers share folders
_together: ContextVar[list[_Temporary] | None] = ContextVar("of write_together", default=None)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Return `path` if a file can be created there, so that long work is not done in vain."""
    target = Path(os.path.realpath(path))  # through a link: the file it points to is replaced
    if os.fspath(path) == "-":
        raise InputError("cannot write to the standard output (-), expected a file name")
    if os.path.isdir(target):  # Path.is_dir raises for a name that is too long
        raise InputError(f"cannot write {path}: it is a directory, expected a file name")
    if os.path.exists(target) and not os.path.isfile(target):  # a rename would destroy it
        raise InputError(f"cannot write {path}: it is a device or a pipe, expected a file name")
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise InputError(f"cannot write {path}: it is write-protected")
    folder = target.parent
    if not os.path.isdir(folder):
        raise InputError(f"cannot write {path}: there is no folder {folder}, create it first")
    _remove_leftovers(target)
    try:
        _Temporary(target).close()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror} in folder {folder}") from error
    return target


@contextmanager
def write_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` at the end, or remove it.

    Inside `write_together` it is renamed at the end of that. Ctrl-C and SIGTERM wait until the file
    is whole.

    Raises
    ------
    InputError
        `path` is a directory, its folder is missing or cannot be written, or the disk is full.
    """
    target = check_writable(path)
    together = _together.get()
    try:
        with interrupts_wait():
            temporary = _Temporary(target)
            try:
                yield temporary.path
                if together is None:
                    _put_in_place([temporary])
                else:
                    together.append(temporary)
            finally:
                if together is None or temporary not in together:
                    temporary.close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        raise InputError(f"cannot write {path}: {reason}; nothing was changed") from error


@contextmanager
def write_together() -> Iterator[None]:
    """Let all files that are written inside appear at the end, or none of them.

    Older files step aside before the first new one takes its place, and come back on an error: new
    and old ones never stand side by side, not even if the process is killed meanwhile. Killed just
    then it leaves neither of some, and the next run writes all.
    """
    written: list[_Temporary] = []
    token = _together.set(written)
    try:
        try:
            yield
        finally:
            _together.reset(token)
        with interrupts_wait():
            try:
                _put_in_place(written)
            except OSError as error:
                names = ", ".join(str(temporary.target) for temporary in written)
                raise InputError(
                    f"cannot write {names}: {error.strerror}; nothing was changed"
                ) from error
    finally:
        for temporary in written:
            temporary.close()


def _put_in_place(written: list[_Temporary]) -> None:
    """Rename files that are on the disk to their targets: all or none."""
    aside: dict[Path, Path] = {}
    done: list[Path] = []
    for temporary in written:
        temporary.sync()
    try:
        for temporary in written:
            target = temporary.target
            if len(written) > 1 and target.exists():
                aside[target] = temporary.path.with_suffix(".old.tmp")
                os.replace(target, aside[target])
        for temporary in written:
            os.replace(temporary.path, temporary.target)
            done.append(temporary.target)
    except BaseException:
        for target in done:
            target.unlink(missing_ok=True)
        for target, old in aside.items():
            with suppress(FileNotFoundError):
                os.replace(old, target)
        raise
    for folder in {target.parent for target in done}:
        sync_folder(folder)
    for old in aside.values():
        old.unlink(missing_ok=True)


class _Temporary:
    """A new file beside its target; its lock says that it is no leftover.

    Raises
    ------
    OSError
        It cannot be created.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        while True:
            name = f".{target.name}.{secrets.token_hex(TOKEN_BYTES)}.tmp"
            self.path = target.with_name(name)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            with suppress(BlockingIOError):  # taken for a leftover before it was locked
                lock(self._handle)
                if self.path.exists():
                    return
            self.close()

    def sync(self) -> None:
        """Bring it to the disk, before it is renamed."""
        os.fsync(self._handle)
        if os.name == "nt":  # where an open file cannot be renamed
            self._let_go()

    def close(self) -> None:
        """Remove it, if it is still there."""
        self._let_go()
        with suppress(OSError):
            self.path.unlink()

    def _let_go(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def lock(handle: int) -> bool:
    """Lock an open file for this process; return False where there are no locks.

    Raises
    ------
    BlockingIOError
        Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Bring to the disk how the files of a folder are called, where a system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary files of runs that were killed while they wrote `target`."""
    ending = rf"[0-9a-f]{{{2 * TOKEN_BYTES}}}(\.old)?\.tmp"
    is_ours = re.compile(re.escape(f".{target.name}.") + ending).fullmatch
    names: list[str] = []
    with suppress(OSError):  # a folder that may be written but not be read
        names = os.listdir(target.parent)
    for found in (target.with_name(name) for name in names if is_ours(name)):
        with suppress(OSError):
            handle = os.open(found, os.O_RDWR)
            try:
                if lock(handle):
                    found.unlink()
            finally:
                os.close(handle)
