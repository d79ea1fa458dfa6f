# SPDX-License-Identifier: Apache-2.0
"""Installs a seccomp filter, as a container has one, and becomes `flexlink doctor --json`.

process_vm_readv kills its caller, pidfd_open is refused with EPERM, all else is allowed.
"""

import ctypes
import os
import platform
import struct
import sys

READV = {"x86_64": 310, "aarch64": 270}[platform.machine()]
PIDFD_OPEN = 434
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050001
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2

program = b"".join(
    struct.pack("=HBBI", *step)
    for step in (
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, READV),
        (RETURN, 0, 0, KILL),
        (JUMP_IF_EQUAL, 0, 1, PIDFD_OPEN),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    )
)
steps = ctypes.create_string_buffer(program, len(program))
head = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(steps)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
for words in ((NO_NEW_PRIVS, 1, 0, 0, 0), (SET_SECCOMP, FILTER, ctypes.addressof(head), 0, 0)):
    if prctl(*map(ctypes.c_ulong, words)) != 0:
        sys.exit(f"prctl{words}: {os.strerror(ctypes.get_errno())}")
os.execv(sys.executable, [sys.executable, "-m", "flexlink", "doctor", "--json"])
