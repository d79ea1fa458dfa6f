# SPDX-License-Identifier: Apache-2.0
"""Every operation of the Communicator once, on any number of ranks, against exact values."""

import numpy

import flexlink


def same(found: object, expected: object) -> None:
    """Equal in type, shape and every element."""
    left, right = numpy.asarray(found), numpy.asarray(expected)
    assert left.dtype == right.dtype, (left.dtype, right.dtype)
    assert left.shape == right.shape, (left.shape, right.shape)
    assert (left == right).all(), (left, right)


def contribution(rank: int, count: int, dtype: str = "float32") -> numpy.ndarray:
    """Small integers, so that every sum is exact in every type."""
    return ((numpy.arange(count) + 3 * rank) % 5).astype(dtype)


def reductions(comm: flexlink.Communicator) -> None:
    """all_reduce and reduce with every op, in place and out of place."""
    everyone = [contribution(r, 11) for r in range(comm.size)]
    total = numpy.sum(everyone, axis=0, dtype="float32")
    expected = {
        "sum": total,
        "prod": numpy.prod(everyone, axis=0, dtype="float32"),
        "min": numpy.min(everyone, axis=0),
        "max": numpy.max(everyone, axis=0),
    }
    for op, value in expected.items():
        out = numpy.full(11, -1, "float32")
        assert comm.all_reduce(everyone[comm.rank], out, op) is out
        same(out, value)
        mine = everyone[comm.rank].copy()
        assert comm.all_reduce(mine, op=op) is mine
        same(mine, value)
    doubled = comm.all_reduce(everyone[comm.rank].copy(), op=flexlink.PreMulSum(2.0))
    same(doubled, 2 * total)
    mean = comm.all_reduce(numpy.full(3, comm.size * (comm.rank + 1), "float64"), op="avg")
    same(mean, numpy.full(3, sum(range(1, comm.size + 1)), "float64"))
    root = comm.size - 1
    mine = everyone[comm.rank].copy()
    result = comm.reduce(mine, root=root)
    if comm.rank == root:
        assert result is mine
        same(mine, total)
    else:
        assert result is None
        same(mine, everyone[comm.rank])


def moves(comm: flexlink.Communicator) -> None:
    """broadcast, all_gather, reduce_scatter, all_to_all, gather, scatter, barrier."""
    n, rank = comm.size, comm.rank
    for root in range(n):
        x = contribution(rank, 7)
        same(comm.broadcast(x, root), contribution(root, 7))
    rows = [contribution(r, 6).reshape(2, 3) for r in range(n)]
    same(comm.all_gather(rows[rank]), numpy.concatenate(rows))
    same(comm.all_gather(numpy.array(rank, "int64")), numpy.arange(n))
    big = [contribution(r, 4 * n).reshape(2 * n, 2) for r in range(n)]
    total = numpy.sum(big, axis=0, dtype="float32")
    same(comm.reduce_scatter(big[rank]), total[2 * rank : 2 * rank + 2])
    swapped = numpy.concatenate([big[r][2 * rank : 2 * rank + 2] for r in range(n)])
    same(comm.all_to_all(big[rank]), swapped)
    gathered = comm.gather(rows[rank], root=0)
    if rank == 0:
        same(gathered, numpy.concatenate(rows))
        same(comm.scatter(big[0]), big[0][:2])
    else:
        assert gathered is None
        same(comm.scatter(out=numpy.empty((2, 2), "float32")), big[0][2 * rank : 2 * rank + 2])
    assert comm.barrier() is not None


def pairs(comm: flexlink.Communicator) -> None:
    """A ring of sends and receives in a group, and a message to oneself."""
    n, rank = comm.size, comm.rank
    out = numpy.empty(9, "int32")
    with comm.group():
        comm.send(contribution(rank, 9, "int32"), (rank + 1) % n)
        comm.recv(out, (rank - 1) % n)
    same(out, contribution((rank - 1) % n, 9, "int32"))
    with flexlink.group():
        first = comm.all_reduce(numpy.full(2, rank, "int64"), async_=True)
        second = comm.all_reduce(numpy.ones(2, "int64"))
    same(first.wait(10), numpy.full(2, sum(range(n))))
    same(second, numpy.full(2, n))


def children(comm: flexlink.Communicator) -> None:
    """split by parity with reversed order, a rank that stays out, shrink."""
    n, rank = comm.size, comm.rank
    child = comm.split(rank % 2, key=-rank)
    assert child is not None
    members = [r for r in range(n) if r % 2 == rank % 2][::-1]
    assert (child.rank, child.size) == (members.index(rank), len(members))
    same(child.all_gather(numpy.array([rank], "int32")), numpy.array(members, "int32"))
    child.close()
    alone = comm.split(None if rank else 5)
    assert (alone is None) == (rank != 0)
    if alone is not None:
        assert alone.size == 1
        alone.close()
    if n > 1 and rank != n - 1:
        with comm.shrink([n - 1]) as fewer:
            assert (fewer.rank, fewer.size) == (rank, n - 1)
            same(fewer.all_reduce(numpy.ones(1, "uint8")), numpy.full(1, n - 1, "uint8"))
    comm.barrier()


def main() -> None:
    """Entry of each rank."""
    with flexlink.init() as comm:
        reductions(comm)
        moves(comm)
        pairs(comm)
        children(comm)
    comm.close()


main()
