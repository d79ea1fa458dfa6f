# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's libnccl through ctypes: the one that a wheel of nvidia-nccl has put into this Python.

For tools and tests that talk to the vendor itself. Programs use the flexlink package, whose library
finds the vendor on its own (`flexlink lib --vendor`).
"""

from __future__ import annotations

import ctypes
from importlib import metadata
from pathlib import Path

from flexlink.errors import FlexlinkError, error_for

WHEELS = ("nvidia-nccl-cu13", "nvidia-nccl-cu12")
_FILE = "nvidia/nccl/lib/libnccl.so.2"


class UniqueId(ctypes.Structure):
    """ncclUniqueId."""

    _fields_ = [("internal", ctypes.c_char * 128)]


_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
# name without nccl: (result, parameters), of what every NCCL since 2.14 has.
_PROTOTYPES = {
    "GetVersion": (_INT, (ctypes.POINTER(_INT),)),
    "GetErrorString": (ctypes.c_char_p, (_INT,)),
    "GetLastError": (ctypes.c_char_p, (_POINTER,)),
    "GetUniqueId": (_INT, (ctypes.POINTER(UniqueId),)),
    "CommInitRank": (_INT, (ctypes.POINTER(_POINTER), _INT, UniqueId, _INT)),
    "CommGetAsyncError": (_INT, (_POINTER, ctypes.POINTER(_INT))),
    "CommCount": (_INT, (_POINTER, ctypes.POINTER(_INT))),
    "CommUserRank": (_INT, (_POINTER, ctypes.POINTER(_INT))),
    "CommDestroy": (_INT, (_POINTER,)),
    "CommAbort": (_INT, (_POINTER,)),
    "GroupStart": (_INT, ()),
    "GroupEnd": (_INT, ()),
    "AllReduce": (_INT, (_POINTER, _POINTER, _SIZE, _INT, _INT, _POINTER, _POINTER)),
    "Broadcast": (_INT, (_POINTER, _POINTER, _SIZE, _INT, _INT, _POINTER, _POINTER)),
    "AllGather": (_INT, (_POINTER, _POINTER, _SIZE, _INT, _POINTER, _POINTER)),
    "Send": (_INT, (_POINTER, _SIZE, _INT, _INT, _POINTER, _POINTER)),
    "Recv": (_INT, (_POINTER, _SIZE, _INT, _INT, _POINTER, _POINTER)),
}


def wheel_library() -> Path | None:
    """The libnccl.so.2 of an installed nvidia-nccl wheel; None where there is none."""
    for name in WHEELS:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            path = Path(str(file.locate()))
            if file.as_posix() == _FILE and path.is_file():
                return path.resolve()
    return None


class Vendor:
    """An opened libnccl.so.2; `vendor.nccl.ncclGetVersion(...)` and so on, with types."""

    def __init__(self, path: Path | str | None = None) -> None:
        """path: None: that of the wheel.

        Raises:
            FlexlinkError: there is no wheel, or the library does not load.
        """
        found = path or wheel_library()
        if found is None:
            raise FlexlinkError(f"no wheel of {' or '.join(WHEELS)} is installed in this Python")
        self.path = Path(found)
        try:
            self.nccl = ctypes.CDLL(str(found))
        except OSError as error:
            raise FlexlinkError(f"cannot open {found}: {error}") from error
        for name, (result, parameters) in _PROTOTYPES.items():
            function = getattr(self.nccl, f"nccl{name}")
            function.restype, function.argtypes = result, parameters

    def check(self, code: int) -> None:
        """Raises the exception of a result code with the vendor's own text."""
        if code != 0:
            text = self.nccl.ncclGetLastError(None) or self.nccl.ncclGetErrorString(code)
            raise error_for(code, text.decode(errors="replace"))

    def version(self) -> tuple[int, int, int]:
        """(2, 32, 3)."""
        code = _INT()
        self.check(self.nccl.ncclGetVersion(ctypes.byref(code)))
        return code.value // 10000, code.value // 100 % 100, code.value % 100
