# SPDX-License-Identifier: Apache-2.0
"""What the library's own balancer makes of a fabric: flexlinkPlan, for Python.

No formula is here: figures go in, the library's model and split come out.
"""

from __future__ import annotations

from dataclasses import dataclass

from flexlink._native import check, native
from flexlink.fabric import SCHEDULES, Cap, Fabric

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")


@dataclass(frozen=True)
class Share:
    """What one path carries. weight: parts of 1024; offset, length: bytes of each rank's block."""

    path: str
    share: float
    weight: int
    offset: int
    length: int


@dataclass(frozen=True)
class Plan:
    """Times in s, busbw in bytes/s as nccl-tests define it.

    alone: on the primary. full_busbw: what busbw nears for ever larger operations. alone_below:
    bytes below which one path carries all.
    """

    seconds: float
    seconds_alone: float
    busbw: float
    busbw_alone: float
    full_busbw: float
    alone_below: float
    shares: tuple[Share, ...]

    @property
    def gain(self) -> float:
        """How much faster than the primary alone: 0.25 is a quarter more busbw."""
        return self.seconds_alone / self.seconds - 1


def plan(
    fabric: Fabric, collective: str, size: int, ranks: int, schedule: str | None = None
) -> Plan:
    """The model's answer for one operation.

    Args:
        size: bytes as nccl-tests count them: the buffer of all_reduce, else the larger buffer.
        schedule: "ring" or "direct" for all paths; None: as the fabric says.

    Raises:
        InvalidArgument: the library refuses the numbers.
    """
    return _ask(fabric, fabric.caps, (collective, size, ranks, schedule))


def idle_opportunity(fabric: Fabric) -> float:
    """The bandwidth beside the primary that one GPU alone leaves unused, over the primary's.

    What GPUs share with each other (host memory) does not count: it is a property of the GPU's own
    links and of the uplink behind which they are.
    """
    own = tuple(cap for cap in fabric.caps if cap.shared_by == 1)
    primary = fabric.paths[0].rate.value
    full = _ask(fabric, own, ("all_gather", 1 << 20, 2, None)).full_busbw
    return (full - primary) / primary


def _ask(
    fabric: Fabric, caps: tuple[Cap, ...], operation: tuple[str, int, int, str | None]
) -> Plan:
    collective, size, ranks, schedule = operation
    ffi, lib = native()
    paths = ffi.new("flexlinkPlanPath[]", len(fabric.paths))
    for entry, path in zip(paths, fabric.paths, strict=True):
        entry.rate, entry.latency = path.rate.value, path.latency.value
        entry.chunk, entry.stages = path.chunk.value, path.stages
        entry.schedule = SCHEDULES.index(schedule or path.schedule)
    crossings = [
        ffi.new("double[]", [cap.crossings * (path.name in cap.paths) for path in fabric.paths])
        for cap in caps
    ]
    bounds = ffi.new("flexlinkPlanCap[]", len(caps))
    for entry, cap, crossing in zip(bounds, caps, crossings, strict=True):
        entry.rate, entry.crossings = cap.rate_of_one(ranks), crossing
    request, answer = ffi.new("flexlinkPlanInput*"), ffi.new("flexlinkPlanOutput*")
    shares = ffi.new("flexlinkPlanShare[]", len(fabric.paths))
    request.size, answer.size = ffi.sizeof(request[0]), ffi.sizeof(answer[0])
    request.collective, request.bytes = COLLECTIVES.index(collective), size
    request.ranks = ranks
    request.paths, request.pathCount = paths, len(fabric.paths)
    request.caps, request.capCount = bounds, len(caps)
    answer.shares = shares
    check(lib.flexlinkPlan(request, answer))
    return Plan(
        answer.seconds,
        answer.secondsAlone,
        answer.busbw,
        answer.busbwAlone,
        answer.fullBusbw,
        answer.aloneBelow,
        tuple(
            Share(path.name, share.share, share.weight, share.offset, share.length)
            for path, share in zip(fabric.paths, shares, strict=True)
        ),
    )
