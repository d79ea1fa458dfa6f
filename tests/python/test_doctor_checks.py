# SPDX-License-Identifier: Apache-2.0
"""Each finding of the doctor about NICs and RDMA, word for word."""

from __future__ import annotations

from doctor_support import ETH0, LO, nic

from flexlink.doctor.device_checks import check_rdma
from flexlink.doctor.facts import RdmaPort
from flexlink.doctor.findings import Finding, plain, size, worst
from flexlink.doctor.nic_checks import check_nics
from flexlink.doctor.nics import Nic, Wish
from flexlink.doctor.report import findings_text, sum_text, table

ANY = Wish()


def about_nics(*nics: Nic, wish: Wish = ANY) -> list[Finding]:
    return check_nics(nics, wish)


def test_a_good_machine_has_one_finding_that_is_ok() -> None:
    assert about_nics(LO, ETH0) == [
        Finding("network.default_set", "ok", "taken by itself: eth0",
                "interfaces: lo (up), eth0 (up)"),
    ]  # fmt: skip


def test_no_nic_but_lo_is_a_warning() -> None:
    assert about_nics(LO) == [
        Finding("network.default_set", "warning",
                "no NIC but lo: only ranks of this machine can work together",
                "interfaces: lo (up)", "give the container a network: docker run --network=host"),
    ]  # fmt: skip


def test_a_lo_that_is_down_is_an_error() -> None:
    assert about_nics(nic("lo", 1, up=False, arp_type=772)) == [
        Finding("network.default_set", "error",
                "no NIC but lo, and lo is down: ranks cannot meet, not even on this machine",
                "interfaces: lo (down)", "sudo ip link set lo up"),
    ]  # fmt: skip


def test_nothing_up_is_an_error() -> None:
    found = about_nics(nic("lo", 1, up=False, arp_type=772), nic("eth0", 2, up=False))
    assert found == [
        Finding("network.default_set", "error",
                "no interface is up with an address, not even lo: ranks cannot meet",
                "interfaces: lo (down), eth0 (down)", "sudo ip link set lo up"),
        Finding("network.idle", "note", "eth0 is down", "operstate unknown, flags 0x0",
                "sudo ip link set eth0 up"),
    ]  # fmt: skip


def test_a_wish_that_matches_nothing_is_an_error() -> None:
    for wish in (Wish(socket_ifname="ib"), Wish(oob_ifname="ib")):
        name = "NCCL_SOCKET_IFNAME" if wish.socket_ifname else "NCCL_OOB_NET_IFNAME"
        assert about_nics(LO, ETH0, wish=wish)[0] == Finding(
            "network.default_set", "error", f"{name}=ib matches no interface: ranks cannot meet",
            "interfaces: lo (up), eth0 (up)", f"unset {name}",
        )  # fmt: skip


def test_a_wish_that_leaves_no_nic_is_a_warning() -> None:
    assert about_nics(LO, ETH0, wish=Wish(socket_ifname="^eth"))[0] == Finding(
        "network.default_set", "warning",
        "NCCL_SOCKET_IFNAME=^eth leaves no NIC that can be used",
        "interfaces: lo (up), eth0 (up)", "unset NCCL_SOCKET_IFNAME",
    )  # fmt: skip


def test_a_bridge_that_holds_the_only_address_is_named() -> None:
    bridge = nic("br0", 3, "192.0.2.1/24", kind="bridge")
    assert about_nics(LO, nic("eth0", 2, master=3), bridge)[0] == Finding(
        "network.default_set", "warning",
        "no NIC can be taken by itself: only ranks of this machine can work together",
        "interfaces: lo (up), eth0 (up), br0 (up)", "export NCCL_SOCKET_IFNAME=br0",
    )  # fmt: skip


def test_nics_that_lie_idle_are_noted() -> None:
    cable = nic("eth2", 4, "10.0.0.1/8", flags=1, state="down")
    assert about_nics(LO, ETH0, nic("eth1", 3), cable)[1:] == [
        Finding("network.idle", "note", "eth1 is up and has no address",
                "operstate unknown, flags 0x41", "sudo ip address add ADDRESS/PREFIX dev eth1"),
        Finding("network.idle", "note", "eth2 has no carrier", "operstate down, flags 0x1",
                "plug in its cable; then: ip link show eth2"),
    ]  # fmt: skip


def test_a_bond_that_lacks_a_port_is_a_warning() -> None:
    bond = nic("bond0", 5, "192.0.2.1/24", kind="bond")
    ports = (nic("eth0", 2, master=5), nic("eth1", 3, master=5, flags=1))
    assert about_nics(LO, *ports, bond)[1:] == [
        Finding("network.bond", "warning", "eth1, a port of bond0, has no carrier",
                "1 of 2 ports are up", "sudo ip link set eth1 up, and check its cable"),
    ]  # fmt: skip


def test_a_fast_nic_with_small_frames_is_noted() -> None:
    assert about_nics(LO, nic("eth0", 2, "192.0.2.1/24", speed=100_000))[1:] == [
        Finding("network.mtu", "note", "eth0 has 100 Gb/s and an MTU of 1500",
                "a larger MTU costs less CPU",
                "sudo ip link set eth0 mtu 9000, on all hosts and the switch"),
    ]  # fmt: skip
    assert about_nics(LO, nic("eth0", 2, "192.0.2.1/24", speed=10_000))[1:] == []


def test_two_nics_on_one_subnet_need_routes_and_equal_mtus() -> None:
    assert about_nics(ETH0, nic("eth1", 3, "192.0.2.9/24", mtu=9000))[1:] == [
        Finding("network.mtu", "warning",
                "NICs on 192.0.2.0/24 have unlike MTUs: large packets between them are lost",
                "eth0 1500, eth1 9000", "sudo ip link set eth0 mtu 9000"),
        Finding("network.same_subnet", "warning",
                "eth0 and eth1 are both on 192.0.2.0/24: without a route for each, one carries "
                "all bytes",
                "eth0 192.0.2.1/24, eth1 192.0.2.9/24",
                "sudo ip route add 192.0.2.0/24 dev eth1 table 103 && "
                "sudo ip rule add from 192.0.2.9 table 103 && "
                "sudo sysctl -w net.ipv4.conf.all.arp_{ignore=1,announce=2}"),
    ]  # fmt: skip


def test_no_rdma_device_is_a_note() -> None:
    assert check_rdma(()) == [
        Finding("rdma.device", "note", "no RDMA device",
                "/sys/class/infiniband is empty or missing"),
    ]  # fmt: skip


def test_rdma_ports_are_judged_by_state_and_kind() -> None:
    rate = "100 Gb/sec (4X EDR)"
    ports = [
        RdmaPort("mlx5_0", 1, "ACTIVE", rate, "InfiniBand"),
        RdmaPort("mlx5_1", 1, "INIT", rate, "InfiniBand"),
        RdmaPort("mlx5_2", 1, "DOWN", rate, "Ethernet", netdev="eth1"),
        RdmaPort("rxe0", 1, "ACTIVE", "2.5 Gb/sec (1X SDR)", "Ethernet", "rxe", "eth0"),
        RdmaPort("mlx5_3", 2, "DOWN", rate, "InfiniBand", verbs=False),
    ]
    assert [(f.level, f.text, f.mend) for f in check_rdma(ports)] == [
        ("ok", f"mlx5_0 port 1 is active, InfiniBand, {rate}; this version of FlexLink does not "
         "use it yet", ""),
        ("warning", "mlx5_1 port 1 is INIT",
         "start a subnet manager: sudo systemctl start opensm"),
        ("warning", "mlx5_2 port 1 is DOWN", "sudo ip link set eth1 up, and check its cable"),
        ("note", "rxe0 port 1 is soft-RoCE (rxe), RDMA in software: for tests, no faster than TCP",
         ""),
        ("warning", "mlx5_3 port 2 is DOWN", "check its cable; then: rdma link show mlx5_3/2"),
        ("warning", "mlx5_3 is there, but programs cannot open it",
         "docker run --device=/dev/infiniband; outside containers: sudo modprobe ib_uverbs"),
    ]  # fmt: skip
    assert check_rdma(ports)[3].evidence == (
        "state ACTIVE, rate 2.5 Gb/sec (1X SDR), link layer Ethernet, on eth0"
    )


def test_the_report_groups_by_area_and_counts() -> None:
    findings = [
        Finding("network.mtu", "warning", "Small.", "1500", "ip link"),
        Finding("cpu.allowed", "ok", "2 CPUs"),
    ]
    assert findings_text(findings, colour=False) == [
        "network",
        "  warning  Small. [1500]",
        "           mend: ip link",
        "",
        "CPUs",
        "  ok       2 CPUs",
    ]
    assert findings_text(findings[:1], colour=True)[1] == "  \x1b[33mwarning\x1b[0m  Small. [1500]"
    assert sum_text(findings) == "0 errors, 1 warning, 0 notes, 1 ok"
    assert worst(findings) == "warning"
    assert worst([]) == "ok"


def test_small_helpers() -> None:
    assert table([("a", "bbb"), ("cc", "")]) == ["a   bbb", "cc"]
    sizes = [size(n) for n in (512, 64 << 20, 1536 << 20, 1 << 50, 1023 << 10)]
    assert sizes == ["512 B", "64 MiB", "1.5 GiB", "1024 TiB", "1023 KiB"]
    assert plain("a\x1b[31m\n" + "b" * 300, 8) == "a?[31m?b"
