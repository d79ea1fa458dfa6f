# SPDX-License-Identifier: Apache-2.0
"""The one door to libflexlink: every other module gets (ffi, lib) from here.

The library is opened on first use, not at import, so that `import flexlink` stays light.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flexlink.errors import FlexlinkError, InternalError, InvalidArgument, error_for

T = TypeVar("T")

SUCCESS = 0
INVALID_USAGE = 5
IN_PROGRESS = 7

# Python looks for Ctrl-C between two slices: rarely enough to be free, soon enough for a person.
SLICE_MICROS = 50_000

_lock = threading.Lock()
_loaded: tuple[Any, Any] | None = None


def package_file(name: str) -> Path:
    """Absolute path of a file in flexlink/lib/ of the installed package.

    Raises:
        FlexlinkError: the package was imported from a source tree where nothing was built.
    """
    path = Path(__file__).resolve().parent / "lib" / name
    if not path.exists():
        raise FlexlinkError(
            f"{path} does not exist: this flexlink package was not built. "
            "Run scripts/run in the checkout, or 'pip install .', and use that Python."
        )
    return path


def library_path() -> Path:
    """Absolute path of libflexlink.so (SONAME libnccl.so.2)."""
    return package_file("libflexlink.so")


def native() -> tuple[Any, Any]:
    """(ffi, lib) of the cffi module with the library opened behind it.

    Raises:
        FlexlinkError: the module or the library is missing or does not load, with the reason.
    """
    if _loaded is not None:
        return _loaded
    return _load()


def _load() -> tuple[Any, Any]:
    global _loaded
    path = library_path()
    with _lock:
        if _loaded is None:
            _cffi = importlib.import_module("flexlink._cffi")
            problem = _cffi.lib.bridgeOpen(str(path).encode())
            if problem != _cffi.ffi.NULL:
                raise FlexlinkError(f"cannot open {path}: {_cffi.ffi.string(problem).decode()}")
            _loaded = (_cffi.ffi, _cffi.lib)
        return _loaded


DEVICES = ("host", "cuda")  # in the order of flexlinkDevice_t


class _OnDevice:
    """What `lib` is, for communicators on one device; each function is looked up once."""

    def __init__(self, device: str) -> None:
        self._device = DEVICES.index(device)

    def __getattr__(self, name: str) -> Any:
        ffi, lib = native()
        found = getattr(lib, name)
        if name.startswith(("nccl", "flexlink")):
            function = lib.flexlinkFunctionOn(self._device, name.encode())
            found = ffi.cast(ffi.typeof(found), function)
        setattr(self, name, found)
        return found

    def bridgeWait(self, stream: Any, micros: int) -> int:  # noqa: N802
        """As in bridge.cdef."""
        ticket = native()[0].new("uint64_t*")
        code = int(self.flexlinkStreamRecord(stream, ticket))
        if code != SUCCESS:
            return code
        return int(self.flexlinkStreamWait(stream, ticket[0], micros))


_on_devices: dict[str, _OnDevice] = {}


def library(device: str | None) -> Any:
    """`lib`, or its functions for communicators on `device` alone.

    Raises:
        InvalidArgument: there is no such device.
    """
    if device is None:
        return native()[1]
    if device not in DEVICES:
        raise InvalidArgument(f"device {device!r}: it is one of {', '.join(DEVICES)}, or None")
    if device not in _on_devices:
        _on_devices[device] = _OnDevice(device)
    return _on_devices[device]


def libraries() -> list[Any]:
    """All that library() has given: each has groups of its own."""
    return [native()[1], *_on_devices.values()]


def check(code: int) -> None:
    """Raises the exception for `code` with the library's own text; returns on ncclSuccess.

    Must run in the thread that made the failed call: the text is that thread's.
    """
    if code == SUCCESS:
        return
    ffi, lib = native()
    text = ffi.string(lib.ncclGetLastError(ffi.NULL)).decode(errors="replace")
    raise error_for(code, text or ffi.string(lib.ncclGetErrorString(code)).decode())


def interruptible(call: Callable[[], T]) -> T:
    """Runs a long call so that Ctrl-C gets through, and returns what it returned.

    Python sees a signal only between its own steps, so in the main thread the call runs in a helper
    thread. After Ctrl-C that thread is left to end by the call's own deadline.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, call()))
        except BaseException as error:
            outcome.append((False, error))

    helper = threading.Thread(target=run, name="flexlink-call", daemon=True)
    helper.start()
    while helper.is_alive():
        helper.join(SLICE_MICROS / 1e6)
    if not outcome:
        raise InternalError("a helper thread ended without an outcome")
    succeeded, value = outcome[0]
    if succeeded:
        return value  # type: ignore[no-any-return]
    raise value


def _text(writer: str) -> str:
    """What a function of the library writes into a buffer, whole."""
    ffi, lib = native()
    write = getattr(lib, writer)
    size = write(ffi.NULL, 0) + 1
    buffer = ffi.new("char[]", size)
    write(buffer, size)
    return str(ffi.string(buffer).decode())


def settings_text() -> str:
    """All settings of the library: tab-separated lines `name value origin unit prose`."""
    return _text("flexlinkSettingsDump")


def vendor_text() -> str:
    """Where NVIDIA's libnccl is looked for: tab-separated lines `path source what`."""
    return _text("flexlinkVendorPlaces")


def cuda_kernels() -> str:
    """For which GPUs the library has CUDA kernels; or "none: " and why."""
    ffi, lib = native()
    return str(ffi.string(lib.flexlinkCudaKernels()).decode())


def versions() -> tuple[str, str]:
    """(FlexLink's own version, the NCCL version that it stands for), e.g. ("0.1.0", "2.32.3")."""
    ffi, lib = native()
    code = ffi.new("int*")
    check(lib.ncclGetVersion(code))
    number = code[0]
    nccl = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return ffi.string(lib.flexlinkGetVersion()).decode(), nccl
