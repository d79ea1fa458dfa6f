# SPDX-License-Identifier: Apache-2.0
"""Tries the system calls that FlexLink needs, each in a forked child, and says what came back.

A seccomp filter may kill the caller instead of refusing, so nothing is tried in this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import select
import signal
import time
from collections.abc import Callable

from flexlink.doctor.facts import Trial

DEADLINE_S = 5.0
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_FUTEX_WAKE = 1
_PATTERN = b"flexlink doctor!"
SIBLINGS = "process_vm_readv between siblings"


class _Segment(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _name(number: int) -> str:
    return errno.errorcode.get(number, f"errno {number}")


def in_child(what: Callable[[], str], deadline_s: float = DEADLINE_S) -> str:
    """Runs `what` in a forked child and returns its text (at most 200 bytes).

    An OSError of the child becomes its errno's name; a death or a silence becomes a text too.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            try:
                text = what()
            except OSError as error:
                text = _name(error.errno or 0)
            except BaseException as error:  # the child must never return into our caller
                text = type(error).__name__
            os.write(writer, text.encode()[:200])
        finally:
            os._exit(0)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], deadline_s)
        text = os.read(reader, 200).decode("utf-8", "replace") if ready else ""
    finally:
        os.close(reader)
        status = _end(pid, kill=not ready)
    if text:
        return text
    if not ready:
        return f"no answer in {deadline_s:g} s"
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return f"killed by {signal.Signals(number).name}" if number else "ended without an answer"


def _end(pid: int, kill: bool) -> int:
    """Waits for a child that is ending, or ends it; its status as os.waitpid gives it."""
    if kill:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def read_memory(pid: int, address: int, length: int) -> bytes:
    """`length` bytes at `address` of process `pid` by process_vm_readv. OSError as it says."""
    libc = _libc()
    libc.process_vm_readv.restype = ctypes.c_ssize_t
    room = ctypes.create_string_buffer(length)
    local = _Segment(ctypes.addressof(room), length)
    remote = _Segment(address, length)
    got = libc.process_vm_readv(
        ctypes.c_int(pid), ctypes.byref(local), ctypes.c_ulong(1),
        ctypes.byref(remote), ctypes.c_ulong(1), ctypes.c_ulong(0),
    )  # fmt: skip
    if got < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return room.raw[:got]


def _read_own_memory() -> str:
    room = ctypes.create_string_buffer(_PATTERN, len(_PATTERN))
    got = read_memory(os.getpid(), ctypes.addressof(room), len(_PATTERN))
    return "ok" if got == _PATTERN else "wrong bytes"


def _make_memfd() -> str:
    file = os.memfd_create("flexlink-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, mmap.PAGESIZE)
    with mmap.mmap(file, mmap.PAGESIZE) as memory:
        memory[: len(_PATTERN)] = _PATTERN
        return "ok" if os.pread(file, len(_PATTERN), 0) == _PATTERN else "wrong bytes"


def _open_pidfd() -> str:
    os.close(os.pidfd_open(os.getpid()))
    return "ok"


def _wake_futex() -> str:
    number = _FUTEX_NUMBERS.get(platform.machine())
    if number is None:
        return "ok"  # nobody could run a thread without it
    word = ctypes.c_uint32(0)
    libc = _libc()
    libc.syscall.restype = ctypes.c_long
    woken = libc.syscall(
        ctypes.c_long(number), ctypes.byref(word), ctypes.c_int(_FUTEX_WAKE), ctypes.c_int(1),
        None, None, ctypes.c_int(0),
    )  # fmt: skip
    if woken < 0:
        raise OSError(ctypes.get_errno(), "futex")
    return "ok" if woken == 0 else f"{woken} woken where nobody waits"


def read_sibling(deadline_s: float = DEADLINE_S) -> str:
    """Says "ok" if a child of ours can read another child's memory, as ranks of one host do.

    Not the child's by its parent: Yama's scope 1 allows that and still denies siblings.
    """
    room = ctypes.create_string_buffer(len(_PATTERN))
    address = ctypes.addressof(room)  # the same in both children, with other content in one
    ready, said = os.pipe()
    held = os.fork()
    if held == 0:
        try:
            os.close(ready)
            room.raw = _PATTERN
            os.write(said, b"!")
            time.sleep(2 * deadline_s + 1)  # ends by itself should the doctor be killed
        finally:
            os._exit(0)
    os.close(said)
    try:
        if not select.select([ready], [], [], deadline_s)[0] or not os.read(ready, 1):
            return "the child that is to be read did not start"

        def look() -> str:
            return "ok" if read_memory(held, address, len(_PATTERN)) == _PATTERN else "wrong bytes"

        return in_child(look, deadline_s)
    finally:
        os.close(ready)
        _end(held, kill=True)


def try_calls() -> dict[str, Trial]:
    """All trials by name: memfd_create, pidfd_open, futex, process_vm_readv, and of siblings."""
    calls: dict[str, Callable[[], str]] = {
        "memfd_create": _make_memfd,
        "pidfd_open": _open_pidfd,
        "futex": _wake_futex,
        "process_vm_readv": _read_own_memory,
    }
    said = {call: in_child(what) for call, what in calls.items()}
    said[SIBLINGS] = read_sibling()
    return {
        call: Trial(call, text == "ok", "" if text == "ok" else text) for call, text in said.items()
    }
