# SPDX-License-Identifier: Apache-2.0
"""Which way the ranks meet (pure), and that strangers on the port do no harm (sockets)."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flexlink import id_exchange, rendezvous
from flexlink.errors import RendezvousError
from flexlink.rendezvous import World

ID = bytes(range(128))
TWO = World("torchrun", 0, 2, 2)
MASTER = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
AGENT = {"TORCHELASTIC_USE_AGENT_STORE": "True"}


@pytest.mark.parametrize(
    ("where", "env", "modules", "expected"),
    [
        (TWO._replace(size=1), MASTER, "", "alone"),
        (TWO, {**MASTER, "NCCL_COMM_ID": "h:1"}, "torch", "comm-id"),
        (TWO, {**MASTER, **AGENT}, "torch mpi4py", "store"),
        (TWO, {**MASTER, **AGENT}, "", "file"),
        (TWO._replace(local_size=1), {**MASTER, **AGENT}, "", "none"),
        (TWO, MASTER, "torch mpi4py", "root"),
        (World("mpirun", 0, 2, 2), MASTER, "mpi4py", "root"),
        (World("mpirun", 0, 2, 2), {}, "mpi4py", "mpi"),
        (World("mpirun", 0, 2, 2), {}, "", "file"),
        (World("srun", 0, 2, 0), {}, "", "none"),
        (World("srun", 0, 2, 2), {}, "mpi4py", "file"),
        (World("srun", 0, 2, 0), {}, "mpi4py", "mpi"),
        (TWO, {}, "mpi4py", "file"),
    ],
)
def test_the_first_step_that_fits_is_taken(
    where: World, env: dict[str, str], modules: str, expected: str
) -> None:
    assert rendezvous.step(where, env, lambda name: name in modules.split()) == expected


def test_an_mpi_that_does_not_know_the_ranks_is_an_error_at_once() -> None:
    env = {"SLURM_PROCID": "1", "SLURM_NTASKS": "3", "SLURM_NNODES": "3"}
    with pytest.raises(RendezvousError, match=r"3 ranks, but mpi4py knows 1.*MASTER_ADDR"):
        rendezvous.meet(lambda: b"", env)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"RANK": "1", "WORLD_SIZE": "4"}, World("torchrun", 1, 4, 0)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"}, World("mpiexec", 1, 2, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, World("srun", 0, 3, 3)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3", "SLURM_NNODES": "2"}, World("srun", 0, 3, 0)),
        (
            {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "3", "SLURM_PROCID": "0"},
            World("mpirun", 2, 3, 0),
        ),
    ],
)
def test_each_launchers_variables_are_read(env: dict[str, str], expected: World) -> None:
    assert rendezvous.world(env) == expected


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "no launcher found"),
        ({"RANK": "0"}, "no launcher found"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK='x' is not a number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 and WORLD_SIZE=2 do not fit"),
    ],
)
def test_variables_that_make_no_sense_are_refused(env: dict[str, str], words: str) -> None:
    with pytest.raises(RendezvousError, match=words):
        rendezvous.world(env)


def test_a_job_without_a_way_is_told_what_to_set() -> None:
    env = {"SLURM_PROCID": "0", "SLURM_NTASKS": "3", "SLURM_NNODES": "2", **AGENT}
    if rendezvous._importable("mpi4py"):
        env = {"RANK": "0", "WORLD_SIZE": "3", **AGENT}
    with pytest.raises(RendezvousError, match="MASTER_ADDR and MASTER_PORT"):
        rendezvous.meet(lambda: ID, env)


def test_job_names_differ_by_job_parent_and_port() -> None:
    names = {
        rendezvous.job_name({}, 1),
        rendezvous.job_name({}, os.getpid()),
        rendezvous.job_name({"SLURM_JOB_ID": "7"}, 1),
        rendezvous.job_name({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1"}, 1),
        rendezvous.job_name({"MASTER_PORT": "9"}, 1),
    }
    assert len(names) == 5
    assert "/" not in rendezvous.job_name({"PMIX_NAMESPACE": "../../etc"}, 1)


def test_the_run_folder_is_private_or_refused(tmp_path: Path) -> None:
    fresh = rendezvous.run_folder({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert fresh == tmp_path / "flexlink"
    assert fresh.stat().st_mode & 0o777 == 0o700
    fresh.chmod(0o750)
    with pytest.raises(RendezvousError, match="mode 0700"):
        rendezvous.run_folder({"XDG_RUNTIME_DIR": str(tmp_path)})
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(RendezvousError, match="mode 0700"):
        rendezvous.run_folder({"FLEXLINK_RUN_DIR": str(link)})


# ---- The exchange over TCP ----


def place() -> tuple[str, int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1", int(probe.getsockname()[1])


def job(rank: int, size: int = 3, ordinal: int = 0, secret: bytes = b"s") -> id_exchange.Job:
    return id_exchange.Job(rank, size, ordinal, secret)


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def test_every_rank_gets_the_id_though_strangers_knock() -> None:
    where = place()
    with ThreadPoolExecutor() as pool:
        ranks = [pool.submit(id_exchange.ask, job(r), where, soon()) for r in (1, 2)]
        root = pool.submit(id_exchange.serve, lambda: ID, job(0, size=4), where, soon())
        root_should_wait_for_rank_3 = not root.done()
        for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096)):
            for _ in range(20):
                try:
                    stranger = socket.create_connection(where, timeout=5)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            with stranger:
                stranger.sendall(garbage)
        assert root_should_wait_for_rank_3
        for rank in ranks:  # they say 3 ranks, the root 4: refused, not left to wait
            with pytest.raises(RendezvousError, match="rank 0 has 4 ranks"):
                rank.result(20)
        good = [pool.submit(id_exchange.ask, job(r, size=4), where, soon()) for r in (1, 2, 3)]
        assert [rank.result(20) for rank in good] == [ID] * 3
        assert root.result(20) == ID


def test_a_rank_without_the_secret_learns_nothing() -> None:
    where = place()
    with ThreadPoolExecutor() as pool:
        root = pool.submit(id_exchange.serve, lambda: ID, job(0, size=2), where, soon())
        thief = pool.submit(id_exchange.ask, job(1, size=2, secret=b"x"), where, soon(1.5))
        with pytest.raises(RendezvousError, match="did not get the id"):
            thief.result(20)
        honest = pool.submit(id_exchange.ask, job(1, size=2), where, soon())
        assert honest.result(20) == ID
        assert root.result(20) == ID


def test_a_later_init_waits_for_its_turn() -> None:
    where = place()
    with ThreadPoolExecutor() as pool:
        early = pool.submit(id_exchange.ask, job(1, size=3, ordinal=1), where, soon())
        first = pool.submit(id_exchange.serve, lambda: ID, job(0), where, soon())
        for rank in (1, 2):
            assert pool.submit(id_exchange.ask, job(rank), where, soon()).result(20) == ID
        assert first.result(20) == ID
        assert not early.done()
        other = bytes(reversed(ID))
        second = pool.submit(id_exchange.serve, lambda: other, job(0, ordinal=1), where, soon())
        last = pool.submit(id_exchange.ask, job(2, ordinal=1), where, soon())
        assert {early.result(20), last.result(20), second.result(20)} == {other}


def test_missing_ranks_are_named_at_the_deadline() -> None:
    where = place()
    with ThreadPoolExecutor() as pool:
        root = pool.submit(id_exchange.serve, lambda: ID, job(0, size=4), where, soon(1))
        pool.submit(id_exchange.ask, job(2, size=4), where, soon()).result(20)
        with pytest.raises(RendezvousError, match=r"2 of 4 ranks did not come to .*: 1, 3\."):
            root.result(20)


def test_a_port_that_is_taken_says_what_to_set() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = ("127.0.0.1", int(taken.getsockname()[1]))
        with pytest.raises(RendezvousError, match="NCCL_COMM_ID"):
            id_exchange.serve(lambda: ID, job(0), where, soon())


def test_an_absent_root_is_named_at_the_deadline() -> None:
    begin = time.monotonic()
    with pytest.raises(RendezvousError, match="did not get the id from rank 0"):
        id_exchange.ask(job(1), place(), soon(0.3))
    assert time.monotonic() - begin < 2


def test_garbage_from_the_root_side_is_not_believed() -> None:
    with socket.socket() as fake:
        fake.bind(("127.0.0.1", 0))
        fake.listen()

        def answer() -> None:
            connection, _ = fake.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(RendezvousError, match="did not get the id"):
            id_exchange.ask(job(1), ("127.0.0.1", fake.getsockname()[1]), soon(0.5))
