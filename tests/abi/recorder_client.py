# SPDX-License-Identifier: Apache-2.0
"""Calls every function of a library, and says what the recording vendor behind it was called with.

A program, not a test: `python recorder_client.py LIBRARY VENDOR RESULT PREFIX` prints, for each
function that the header declares, {name: {"given", "expected", "recorded", "text"}}; expected is
the line that the vendor must have written, given what the call gave. RESULT: what the vendor gives.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

from abi_header import Function, functions, listed_names
from call_probe import RESULTS, Bytes8, Bytes12, Bytes128
from recorder import is_pointer

ROOM_BYTES = 4096
ROOM = ctypes.create_string_buffer(16 * ROOM_BYTES)
STRUCTS = {"ncclUniqueId": Bytes128, "ncclTeam_t": Bytes12, "ncclMultimemHandle_t": Bytes8}
WIDE = {"size_t": ctypes.c_size_t, "uint64_t": ctypes.c_uint64}


def _argument(kind: str, place: int, seed: int) -> tuple[Any, str]:
    """(the ctypes value, the word that the vendor must see): another one for each place."""
    if kind.endswith("*"):
        address = ctypes.addressof(ROOM) + place * ROOM_BYTES
        return ctypes.c_void_p(address), hex(address)
    if is_pointer(kind):
        handle = 0x10000 * (seed + 1) + 0x100 * (place + 1)  # looked at by nobody
        return ctypes.c_void_p(handle), hex(handle)
    if kind in STRUCTS:
        struct = STRUCTS[kind]()
        content = bytes((seed + place + i) % 251 for i in range(ctypes.sizeof(struct)))
        ctypes.memmove(ctypes.byref(struct), content, len(content))
        return struct, content.hex()
    if kind in WIDE:
        number = 2**33 + seed + place
        return WIDE[kind](number), str(number)
    return ctypes.c_int(place + 1), str(place + 1)


def _call(library: ctypes.CDLL, function: Function, name: str, seed: int) -> dict[str, Any]:
    entry = getattr(library, name)
    entry.restype = RESULTS[function.result]
    ctypes.memset(ROOM, 0, len(ROOM))
    arguments = [_argument(kind, i, seed) for i, kind in enumerate(function.parameters)]
    given = entry(*(value for value, _ in arguments))
    if isinstance(given, Bytes12):
        given = list(given.words)
    if isinstance(given, bytes):
        given = given.decode()
    expected = " ".join([function.name, *(word for _, word in arguments)])
    return {"given": given, "expected": expected}


def main() -> None:
    library, vendor = (ctypes.CDLL(path) for path in sys.argv[1:3])
    vendor.recorderTake.restype = library.ncclGetLastError.restype = ctypes.c_char_p
    library.ncclGetErrorString(0)  # the first call of all opens the vendor
    vendor.recorderSet(int(sys.argv[3]), None, 0)
    said = {}
    for seed, name in enumerate(listed_names()):
        vendor.recorderTake()
        answer = _call(library, functions()[name], sys.argv[4] + name, seed)
        answer["recorded"] = vendor.recorderTake().decode().splitlines()
        answer["text"] = (library.ncclGetLastError(None) or b"").decode()
        said[name] = answer
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
