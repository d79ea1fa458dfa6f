# SPDX-License-Identifier: Apache-2.0
"""Calls exported functions with wrong arguments, each in a process of its own, and says what came.

A program, not a test: `python call_probe.py LIBRARY < calls.json`, where a call is
{"name", "result", "arguments": ["null" | "junk" | "room" | "address" | "comm" | number |
"struct:N"]}; "comm" is a good communicator of one rank.
It prints a list of {"ended": exit code or -signal, "code": number or null, "text": last error}.
The library is loaded only after the fork: a child of a process that has used it must not call it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

SECONDS = 20
ROOM_BYTES = 1 << 16
UNMAPPED = 0x10


class Bytes12(ctypes.Structure):
    _fields_ = [("words", ctypes.c_int * 3)]


class Bytes8(ctypes.Structure):
    _fields_ = [("pointer", ctypes.c_void_p)]


class Bytes128(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 128)]


STRUCTS = {"struct:8": Bytes8, "struct:12": Bytes12, "struct:128": Bytes128}
RESULTS: dict[str, Any] = {
    "ncclResult_t": ctypes.c_int,
    "int": ctypes.c_int,
    "const char*": ctypes.c_char_p,
    "ncclTeam_t": Bytes12,
    "size_t": ctypes.c_size_t,
    "void": None,
}


def _communicator(loaded: ctypes.CDLL) -> ctypes.c_void_p:
    made, made_id = ctypes.c_void_p(), Bytes128()
    if loaded.ncclGetUniqueId(ctypes.byref(made_id)) != 0:
        raise RuntimeError(loaded.ncclGetLastError(None))
    if loaded.ncclCommInitRank(ctypes.byref(made), 1, made_id, 0) != 0:
        raise RuntimeError(loaded.ncclGetLastError(None))
    return made


def _argument(loaded: ctypes.CDLL, word: str | int, keep: list[Any]) -> Any:
    """The ctypes value of one word; what must stay alive is added to `keep`."""
    if word == "comm":
        return _communicator(loaded)
    if isinstance(word, int):
        return ctypes.c_int(word) if -(2**31) <= word < 2**31 else ctypes.c_size_t(word)
    if word == "null":
        return ctypes.c_void_p(None)
    if word == "address":
        return ctypes.c_void_p(UNMAPPED)
    if word in STRUCTS:
        return STRUCTS[word]()
    room = ctypes.create_string_buffer(b"\xa5" * ROOM_BYTES if word == "junk" else ROOM_BYTES)
    keep.append(room)
    return ctypes.cast(room, ctypes.c_void_p)


def _call(library: str, call: dict[str, Any]) -> dict[str, Any]:
    loaded = ctypes.CDLL(library)
    loaded.ncclGetLastError.restype = ctypes.c_char_p
    function = getattr(loaded, call["name"])
    function.restype = RESULTS[call["result"]]
    keep: list[Any] = []
    answer = function(*(_argument(loaded, word, keep) for word in call["arguments"]))
    if isinstance(answer, Bytes12):
        answer = 0 if list(answer.words) == [0, 0, 0] else 1
    code = answer if isinstance(answer, int) else None
    text = loaded.ncclGetLastError(ctypes.c_void_p(None)) or b""
    return {"code": code, "text": text.decode(errors="replace")}


def _in_child(library: str, call: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(SECONDS)
        os.write(writer, json.dumps(_call(library, call)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    answer = json.loads(said) if said else {"code": None, "text": ""}
    return {"ended": os.waitstatus_to_exitcode(status)} | answer


def main() -> None:
    calls = json.load(sys.stdin)
    json.dump([_in_child(sys.argv[1], call) for call in calls], sys.stdout)


if __name__ == "__main__":
    main()
