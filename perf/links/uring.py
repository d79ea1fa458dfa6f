# SPDX-License-Identifier: Apache-2.0
"""As much of the kernel's io_uring as it takes to send and receive on sockets, by system calls."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator

SEND, RECV = 26, 27
_SETUP, _ENTER = 425, 426  # the same on all processors
_GET_EVENTS = 1
_ENTRIES = 8
_SQES = 0x10000000  # where the entries are mapped
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = int(_LIBC.syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class Ring:
    """One submission and one completion queue of the kernel; for one thread."""

    def __init__(self) -> None:
        params = (ctypes.c_uint32 * 30)()  # struct io_uring_params
        self._fd = _call(_SETUP, _ENTRIES, params)
        sq, cq = params[10:17], params[20:26]  # offsets: sq_off and cq_off
        self._sq_tail, self._sq_mask, self._sq_array = sq[1], sq[2], sq[6]
        self._cq_head, self._cq_tail, self._cq_mask, self._cqes = cq[0], cq[1], cq[2], cq[5]
        size = max(sq[6] + 4 * params[0], cq[5] + 16 * params[1])
        self._ring = mmap.mmap(self._fd, size, offset=0)
        self._sqes = mmap.mmap(self._fd, 64 * params[0], offset=_SQES)
        self._waiting = 0  # entries that the kernel has not seen

    def _word(self, at: int) -> int:
        return int(struct.unpack_from("I", self._ring, at)[0])

    def add(self, operation: int, fd: int, address: int, size: int, token: int) -> None:
        """Puts a SEND or RECV into the queue; run() hands it over."""
        tail = self._word(self._sq_tail)
        slot = tail & self._word(self._sq_mask)
        entry = struct.pack(
            "BBHiQQIIQ24x", operation, 0, 0, fd, 0, address, size, 0, token
        )  # struct io_uring_sqe
        self._sqes[64 * slot : 64 * slot + 64] = entry
        struct.pack_into("I", self._ring, self._sq_array + 4 * slot, slot)
        struct.pack_into("I", self._ring, self._sq_tail, (tail + 1) & 0xFFFFFFFF)
        self._waiting += 1

    def run(self) -> Iterator[tuple[int, int]]:
        """Hands over what was added and waits for one completion; (token, result) of each."""
        _call(_ENTER, self._fd, self._waiting, 1, _GET_EVENTS, None, 0)
        self._waiting = 0
        head = self._word(self._cq_head)
        while head != self._word(self._cq_tail):
            at = self._cqes + 16 * (head & self._word(self._cq_mask))
            token, result = struct.unpack_from("Qi", self._ring, at)
            head = (head + 1) & 0xFFFFFFFF
            struct.pack_into("I", self._ring, self._cq_head, head)
            yield token, result
