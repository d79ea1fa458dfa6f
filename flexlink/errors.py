# SPDX-License-Identifier: Apache-2.0
"""The exceptions of FlexLink: one family, one class for each result code of the C API.

Nothing here talks to the library; `_native.check` turns its results into these.
"""

from __future__ import annotations


class FlexlinkError(Exception):
    """Base of all errors that FlexLink raises.

    Attributes:
        code: the ncclResult_t behind it, or None where Python itself found the problem.
    """

    code: int | None = None

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        if code is not None:
            self.code = code


class CudaError(FlexlinkError):
    """A CUDA call failed (ncclUnhandledCudaError)."""

    code = 1


class SystemError_(FlexlinkError, OSError):  # noqa: N801 - SystemError is Python's own word
    """A call to this host's kernel failed, or memory ran out (ncclSystemError)."""

    code = 2


class InternalError(FlexlinkError):
    """An invariant of the library is broken (ncclInternalError): please report it."""

    code = 3


class InvalidArgument(FlexlinkError, ValueError):
    """An argument is wrong by itself: shape, type, read-only, rank out of range."""

    code = 4


class InvalidUsage(FlexlinkError):
    """The call does not fit the state, or what other ranks called (ncclInvalidUsage)."""

    code = 5


class RemoteError(FlexlinkError):
    """Another process died, aborted or could not be reached (ncclRemoteError).

    The communicator is unusable from now on: abort() it, or shrink() away the dead ranks.
    """

    code = 6


class TimeoutError_(FlexlinkError, TimeoutError):  # noqa: N801 - TimeoutError is Python's own word
    """A limit that the caller or FLEXLINK_TIMEOUT set has passed."""

    code = 8


class RendezvousError(FlexlinkError):
    """The ranks could not be brought together: the text says what was tried and what to set."""


_BY_CODE: dict[int, type[FlexlinkError]] = {
    1: CudaError,
    2: SystemError_,
    3: InternalError,
    4: InvalidArgument,
    5: InvalidUsage,
    6: RemoteError,
    8: TimeoutError_,
}


def error_for(code: int, text: str) -> FlexlinkError:
    """The exception for result `code` (not 0): its class by the code, `text` as its message."""
    return _BY_CODE.get(code, FlexlinkError)(text, code)
