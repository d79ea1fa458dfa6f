# SPDX-License-Identifier: Apache-2.0
"""Calls every function of the C API as it is meant to be called, on host memory, by few ranks.

A program, not a test: `python works_probe.py LIBRARY NAME` makes one fair call of NAME, on one or
two ranks of this process, and prints {"code": result code, "text": last error}. It proves that the
function does something, not that the numbers are right: other tests do that.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from abi_client import (
    COUNT,
    FLOAT32,
    NULL,
    PAGE,
    SUM,
    Api,
    Multimem,
    Team,
    UniqueId,
    WaitSignal,
    communicator_config,
    ptr,
    size,
    stamped,
)


def collective(name: str, *between: int, config: bool = False) -> Callable[[Api], int]:
    """A call of the common shape: send, receive, count, type, what is `between`, comm, stream."""

    def call(api: Api) -> int:
        extra = [stamped(72)] if config else []
        if config:
            for offset in (24, 28, 32, 36, 52):
                extra[0][offset // 4] = 0x80000000
            extra[0][12] = 1
        function = getattr(api, name)
        return int(
            function(
                api.send, api.receive, size(COUNT), FLOAT32, *between, api.comm(), NULL, *extra
            )
        )

    return call


def on_comm(name: str, *arguments: Any) -> Callable[[Api], int]:
    return lambda api: int(getattr(api, name)(api.comm(), *arguments))


def init_all(api: Api) -> int:
    return int(api.CommInitAll((ptr * 2)(), 2, None))


def init_rank(api: Api) -> int:
    return int(api.CommInitRank(ctypes.byref(ptr()), 1, api.unique_id(), 0))


def init_rank_config(api: Api) -> int:
    made = ptr()
    config = communicator_config()
    return int(api.CommInitRankConfig(ctypes.byref(made), 1, api.unique_id(), 0, config))


def init_rank_scalable(api: Api) -> int:
    ids = (UniqueId * 1)(api.unique_id())
    return int(api.CommInitRankScalable(ctypes.byref(ptr()), 1, 0, 1, ids, None))


def split(api: Api) -> int:
    return int(api.CommSplit(api.comm(), 0, 0, ctypes.byref(ptr()), None))


def shrink(api: Api) -> int:
    first, _ = api.pair()
    gone = (ctypes.c_int * 1)(1)
    return int(api.CommShrink(first, gone, 1, ctypes.byref(ptr()), None, 0))


def grow(api: Api) -> int:
    old, made = api.comm(), UniqueId()
    api.must(api.CommGetUniqueId(old, ctypes.byref(made)))

    def join() -> None:
        api.CommGrow(NULL, 2, ctypes.byref(made), 1, ctypes.byref(ptr()), None)

    joiner = threading.Thread(target=join, daemon=True)
    joiner.start()
    code = int(api.CommGrow(old, 2, ctypes.byref(made), -1, ctypes.byref(ptr()), None))
    joiner.join(10)
    return code


def resume(api: Api) -> int:
    comm = api.comm()
    api.must(api.CommSuspend(comm, 1))
    return int(api.CommResume(comm))


def register(api: Api) -> int:
    return int(api.CommRegister(api.comm(), api.memory(), size(PAGE), ctypes.byref(ptr())))


def deregister(api: Api) -> int:
    comm, handle = api.comm(), ptr()
    api.must(api.CommRegister(comm, api.memory(), size(PAGE), ctypes.byref(handle)))
    return int(api.CommDeregister(comm, handle))


def window_register(api: Api) -> int:
    comm = api.comm()
    block, window = api.memory(), ptr()
    return int(api.CommWindowRegister(comm, block, size(PAGE), ctypes.byref(window), 1))


def window_deregister(api: Api) -> int:
    comm = api.comm()
    return int(api.CommWindowDeregister(comm, api.window(comm)[0]))


def window_pointer(api: Api) -> int:
    comm = api.comm()
    window, block = api.window(comm)
    found = ptr()
    code = int(api.WinGetUserPtr(comm, window, ctypes.byref(found)))
    return code if found.value == block.value else -1


def put_signal(api: Api) -> int:
    comm = api.comm()
    window, block = api.window(comm)
    return int(api.PutSignal(block, size(1), FLOAT32, 0, window, size(64), 0, 0, 0, comm, NULL))


def wait_signal(api: Api) -> int:
    comm = api.comm()
    api.must(api.Signal(0, 0, 0, 0, comm, NULL))
    return int(api.WaitSignal(1, ctypes.byref(WaitSignal(1, 0, 0, 0)), comm, NULL))


def to_self(api: Api) -> int:
    """Send and receive by one rank: legal inside a group."""
    comm = api.comm()
    api.must(api.GroupStart())
    sent = int(api.Send(api.send, size(COUNT), FLOAT32, 0, comm, NULL))
    received = int(api.Recv(api.receive, size(COUNT), FLOAT32, 0, comm, NULL))
    return sent or received or int(api.GroupEnd())


def group_end(api: Api) -> int:
    api.must(api.GroupStart())
    return int(api.GroupEnd())


def group_simulate(api: Api) -> int:
    comm = api.comm()
    api.must(api.GroupStart())
    api.must(api.AllReduce(api.send, api.receive, size(COUNT), FLOAT32, SUM, comm, NULL))
    return int(api.GroupSimulateEnd(stamped(24, 0x74685283)))


def operator_create(api: Api) -> int:
    scalar, op = ctypes.c_float(2.0), ctypes.c_int()
    pointers = ctypes.byref(op), ctypes.byref(scalar)
    return int(api.RedOpCreatePreMulSum(*pointers, FLOAT32, 1, api.comm()))


def operator_destroy(api: Api) -> int:
    comm, scalar, op = api.comm(), ctypes.c_float(2.0), ctypes.c_int()
    pointers = ctypes.byref(op), ctypes.byref(scalar)
    api.must(api.RedOpCreatePreMulSum(*pointers, FLOAT32, 1, comm))
    return int(api.RedOpDestroy(op, comm))


def parameter(name: str, room: Any) -> Callable[[Api], int]:
    def call(api: Api) -> int:
        handle = api.parameter(b"FLEXLINK_DETERMINISTIC" if room is not None else b"NCCL_DEBUG")
        out = room() if room is not None else ctypes.c_char_p()
        return int(getattr(api, name)(handle, ctypes.byref(out)))

    return call


def parameter_raw(api: Api) -> int:
    length, room = ctypes.c_int(), ctypes.create_string_buffer(64)
    return int(api.ParamGet(api.parameter(b"NCCL_DEBUG"), room, 64, ctypes.byref(length)))


def parameter_text(api: Api) -> int:
    text, length = ctypes.c_char_p(), ctypes.c_int()
    return int(api.ParamGetParameter(b"NCCL_DEBUG", ctypes.byref(text), ctypes.byref(length)))


def parameter_keys(api: Api) -> int:
    table, length = ptr(), ctypes.c_int()
    return int(api.ParamGetAllParameterKeys(ctypes.byref(table), ctypes.byref(length)))


def without_code(call: Callable[[Api], Any]) -> Callable[[Api], int]:
    """For functions that return text or nothing: 0 when the call came back."""

    def wrapped(api: Api) -> int:
        call(api)
        return 0

    return wrapped


def team(name: str, *extra: Any) -> Callable[[Api], int]:
    def call(api: Api) -> int:
        function = getattr(api, name)
        function.restype = ctypes.c_int if "Rank" in name else Team
        function(api.comm(), *extra)
        return 5 if api.library.ncclGetLastError(NULL) else 0

    return call


def window_query(name: str, *arguments: Any) -> Callable[[Api], int]:
    return lambda api: int(getattr(api, name)(NULL, size(0), *arguments))


OUT = ctypes.create_string_buffer(256)
INTEGER = ctypes.c_int()
TEAM = Team(1, 0, 1)

CALLS: dict[str, Callable[[Api], int]] = {
    "AllGather": collective("AllGather"),
    "AllGatherConfig": collective("AllGatherConfig", config=True),
    "AllReduce": collective("AllReduce", SUM),
    "AllReduceConfig": collective("AllReduceConfig", SUM, config=True),
    "AlltoAll": collective("AlltoAll"),
    "AlltoAllConfig": collective("AlltoAllConfig", config=True),
    "Bcast": lambda api: int(api.Bcast(api.send, size(COUNT), FLOAT32, 0, api.comm(), NULL)),
    "Broadcast": collective("Broadcast", 0),
    "BroadcastConfig": collective("BroadcastConfig", 0, config=True),
    "CommAbort": on_comm("CommAbort"),
    "CommCount": on_comm("CommCount", ctypes.byref(INTEGER)),
    "CommCuDevice": on_comm("CommCuDevice", ctypes.byref(INTEGER)),
    "CommDeregister": deregister,
    "CommDestroy": on_comm("CommDestroy"),
    "CommFinalize": on_comm("CommFinalize"),
    "CommGetAsyncError": on_comm("CommGetAsyncError", ctypes.byref(INTEGER)),
    "CommGetUniqueId": on_comm("CommGetUniqueId", OUT),
    "CommGrow": grow,
    "CommInitAll": init_all,
    "CommInitRank": init_rank,
    "CommInitRankConfig": init_rank_config,
    "CommInitRankScalable": init_rank_scalable,
    "CommMemStats": on_comm("CommMemStats", 3, OUT),
    "CommQueryProperties": on_comm("CommQueryProperties", stamped(152)),
    "CommRegister": register,
    "CommResume": resume,
    "CommRevoke": on_comm("CommRevoke", 0),
    "CommShrink": shrink,
    "CommSplit": split,
    "CommSuspend": on_comm("CommSuspend", 1),
    "CommUserRank": on_comm("CommUserRank", ctypes.byref(INTEGER)),
    "CommWindowDeregister": window_deregister,
    "CommWindowRegister": window_register,
    "DevCommCreate": on_comm("DevCommCreate", stamped(120), OUT),
    "DevCommDestroy": on_comm("DevCommDestroy", OUT),
    "Gather": collective("Gather", 0),
    "GatherConfig": collective("GatherConfig", 0, config=True),
    "GetCftDeviceLeInfo": window_query("GetCftDeviceLeInfo", 0, TEAM, OUT, OUT),
    "GetErrorString": without_code(lambda api: api.GetErrorString(0)),
    "GetLastError": without_code(lambda api: api.GetLastError(NULL)),
    "GetLsaDevicePointer": window_query("GetLsaDevicePointer", 0, OUT),
    "GetLsaMultimemDevicePointer": window_query("GetLsaMultimemDevicePointer", OUT),
    "GetMultimemDeviceLeInfo": window_query("GetMultimemDeviceLeInfo", OUT, OUT),
    "GetMultimemDevicePointer": window_query("GetMultimemDevicePointer", Multimem(), OUT),
    "GetPeerDeviceLeInfo": window_query("GetPeerDeviceLeInfo", 0, OUT, OUT),
    "GetPeerDevicePointer": window_query("GetPeerDevicePointer", 0, OUT),
    "GetUniqueId": lambda api: int(api.GetUniqueId(OUT)),
    "GetVersion": lambda api: int(api.GetVersion(ctypes.byref(INTEGER))),
    "GinBarrierCreateRequirement": on_comm("GinBarrierCreateRequirement", TEAM, 1, OUT, OUT),
    "GinInboxA2ACreateRequirement": lambda api: int(
        api.GinInboxA2ACreateRequirement(TEAM, 1, 1, OUT, OUT)
    ),
    "GinOutboxCreateRequirement": lambda api: int(api.GinOutboxCreateRequirement(1, 1, OUT, OUT)),
    "GroupEnd": group_end,
    "GroupSimulateEnd": group_simulate,
    "GroupStart": lambda api: int(api.GroupStart()),
    "LLA2ACalcSlots": lambda api: 0 if api.LLA2ACalcSlots(3, 17) == 9 else -1,
    "LLA2ACreateRequirement": lambda api: int(api.LLA2ACreateRequirement(1, 1, OUT, OUT)),
    "LsaBarrierCreateRequirement": lambda api: int(
        api.LsaBarrierCreateRequirement(TEAM, 1, OUT, OUT)
    ),
    "MemAlloc": lambda api: int(api.MemAlloc(ctypes.byref(ptr()), size(PAGE))),
    "MemFree": lambda api: int(api.MemFree(api.memory())),
    "ParamBind": lambda api: int(api.ParamBind(ctypes.byref(ptr()), b"NCCL_DEBUG")),
    "ParamDumpAll": without_code(lambda api: api.ParamDumpAll()),
    "ParamGet": parameter_raw,
    "ParamGetAllParameterKeys": parameter_keys,
    "ParamGetI16": parameter("ParamGetI16", ctypes.c_int16),
    "ParamGetI32": parameter("ParamGetI32", ctypes.c_int32),
    "ParamGetI64": parameter("ParamGetI64", ctypes.c_int64),
    "ParamGetI8": parameter("ParamGetI8", ctypes.c_int8),
    "ParamGetParameter": parameter_text,
    "ParamGetStr": parameter("ParamGetStr", None),
    "ParamGetU16": parameter("ParamGetU16", ctypes.c_uint16),
    "ParamGetU32": parameter("ParamGetU32", ctypes.c_uint32),
    "ParamGetU64": parameter("ParamGetU64", ctypes.c_uint64),
    "ParamGetU8": parameter("ParamGetU8", ctypes.c_uint8),
    "PutSignal": put_signal,
    "Recv": to_self,
    "RedOpCreatePreMulSum": operator_create,
    "RedOpDestroy": operator_destroy,
    "Reduce": collective("Reduce", SUM, 0),
    "ReduceConfig": collective("ReduceConfig", SUM, 0, config=True),
    "ReduceScatter": collective("ReduceScatter", SUM),
    "ReduceScatterConfig": collective("ReduceScatterConfig", SUM, config=True),
    "ResetDebugInit": without_code(lambda api: api.ResetDebugInit()),
    "Scatter": collective("Scatter", 0),
    "ScatterConfig": collective("ScatterConfig", 0, config=True),
    "Send": to_self,
    "SetEncryption": lambda api: int(api.SetEncryption(stamped(32))),
    "Signal": lambda api: int(api.Signal(0, 0, 0, 0, api.comm(), NULL)),
    "TeamCft": team("TeamCft", 0),
    "TeamCftMultimem": team("TeamCftMultimem"),
    "TeamLsa": team("TeamLsa"),
    "TeamRail": team("TeamRail"),
    "TeamRankToLsa": team("TeamRankToLsa", TEAM, 0),
    "TeamRankToWorld": team("TeamRankToWorld", TEAM, 0),
    "TeamWorld": team("TeamWorld"),
    "WaitSignal": wait_signal,
    "WinGetUserPtr": window_pointer,
}


def main() -> None:
    api = Api(sys.argv[1])
    code = CALLS[sys.argv[2].removeprefix("nccl")](api)
    text = api.library.ncclGetLastError(NULL) or b""
    print(json.dumps({"code": code, "text": text.decode(errors="replace")}))


if __name__ == "__main__":
    main()
