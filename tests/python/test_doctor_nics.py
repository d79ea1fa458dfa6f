# SPDX-License-Identifier: Apache-2.0
"""Which NICs are in the default set and why, and how the kernel's list of them is read."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from doctor_support import ETH0, LO, nic, plant

from flexlink.doctor.netlink import Address, Link, parse_address, parse_link, read_links
from flexlink.doctor.nic_checks import row
from flexlink.doctor.nic_reader import read_nic
from flexlink.doctor.nics import NO, PEER, YES, Nic, Place, Wish, classify, kind_of, matches

ANY = Wish()


def verdicts(nics: list[Nic], wish: Wish = ANY) -> dict[str, tuple[str, str]]:
    places = zip(nics, classify(nics, wish), strict=True)
    return {n.name: (place.verdict, place.why) for n, place in places}


def test_the_first_real_nic_carries_the_bootstrap_and_lo_is_out() -> None:
    assert classify([LO, ETH0], ANY) == [
        Place(NO, "loopback: never leaves this machine"),
        Place(YES, "ranks meet over it", bootstrap=True),
    ]


@pytest.mark.parametrize(
    ("name", "fields", "kind", "why"),
    [
        ("docker0", {"kind": "bridge"}, "bridge", "a bridge: its ports or containers share it"),
        ("virbr0", {"kind": "bridge"}, "bridge", "a bridge: its ports or containers share it"),
        ("ovs0", {"kind": "openvswitch"}, "bridge", "a bridge: its ports or containers share it"),
        ("tun0", {"kind": "tun", "arp_type": 65534}, "tun", "a tunnel or VPN"),
        ("tailscale0", {"kind": "tun"}, "tun", "a tunnel or VPN"),
        ("wg0", {"kind": "wireguard", "arp_type": 65534}, "vpn", "a VPN"),
        ("ppp0", {"kind": "ppp", "arp_type": 512}, "vpn", "a VPN"),
        ("gre1", {"kind": "gre", "arp_type": 778}, "tunnel", "a tunnel or VPN"),
        ("ptp", {"flags": 0x51}, "tunnel", "a tunnel or VPN"),
        ("flannel.1", {"kind": "vxlan"}, "overlay", "an overlay network over another NIC"),
        ("dummy0", {"kind": "dummy"}, "dummy", "leads nowhere"),
        ("vboxnet0", {}, "bridge", "a network of virtual machines on this host"),
        ("vethab12", {"kind": "veth"}, "veth", "this host's end of a container's cable"),
        ("cali77", {"kind": "veth"}, "veth", "this host's end of a container's cable"),
    ],
)
def test_virtual_interfaces_are_out(
    name: str, fields: dict[str, object], kind: str, why: str
) -> None:
    virtual = nic(name, 3, "198.51.100.1/24", **fields)
    assert kind_of(virtual) == kind
    assert verdicts([LO, ETH0, virtual])[name] == (NO, why)


def test_a_containers_own_eth0_is_in_although_it_is_one_end_of_a_veth_pair() -> None:
    own = nic("eth0", 2, "172.17.0.2/16", kind="veth", lower=9, lower_elsewhere=True)
    assert verdicts([LO, own])["eth0"] == (YES, "ranks meet over it")


def test_a_second_nic_is_in_on_the_bootstraps_subnet_and_else_depends_on_the_peer() -> None:
    near, far = nic("eth1", 3, "192.0.2.9/24"), nic("eth2", 4, "198.51.100.1/24", "2001:db8::1/64")
    assert verdicts([LO, ETH0, near, far]) == {
        "lo": (NO, "loopback: never leaves this machine"),
        "eth0": (YES, "ranks meet over it"),
        "eth1": (YES, "on the bootstrap's subnet 192.0.2.0/24"),
        "eth2": (PEER, "if the peer is on 198.51.100.0/24 or 2001:db8::/64 too"),
    }


def test_a_bond_counts_once_and_its_ports_are_out() -> None:
    bond = nic("bond0", 5, "192.0.2.1/24", kind="bond")
    ports = [nic("eth0", 2, master=5), nic("eth1", 3, master=5)]
    assert verdicts([LO, *ports, bond]) == {
        "lo": (NO, "loopback: never leaves this machine"),
        "eth0": (NO, "a port of bond0, which counts once"),
        "eth1": (NO, "a port of bond0, which counts once"),
        "bond0": (YES, "ranks meet over it"),
    }


def test_a_port_of_a_bridge_is_out() -> None:
    bridge = nic("br0", 5, "192.0.2.1/24", kind="bridge")
    assert verdicts([LO, nic("eth0", 2, master=5), bridge]) == {
        "lo": (NO, "loopback: never leaves this machine"),
        "eth0": (NO, "a port of the bridge br0"),
        "br0": (
            NO,
            "a bridge: its ports or containers share it; ranks meet over it, as there is no other",
        ),
    }


def test_vlans_macvlans_and_virtual_functions_share_the_wire_of_their_nic() -> None:
    stacked = [
        nic("eth0.7", 3, "198.51.100.1/24", kind="vlan", lower=2),
        nic("mac0", 4, "203.0.113.1/24", kind="macvlan", lower=2),
        nic("eth0v1", 5, "10.0.0.1/8", parent="eth0"),
    ]
    found = verdicts([LO, *stacked, ETH0])
    once = (NO, "the same NIC as eth0, which counts once")
    # The bootstrap takes the first that is real; only one of the four may carry bytes.
    first = (NO, "the same NIC as eth0.7, which counts once")
    assert found["eth0.7"] == (YES, "ranks meet over it")
    assert found["mac0"] == found["eth0v1"] == found["eth0"] == first
    again = verdicts([LO, ETH0, *stacked])
    assert [again[n.name] for n in stacked] == [once] * 3


def test_a_nic_without_carrier_power_or_address_is_out() -> None:
    nics = [
        ETH0,
        nic("eth1", 3, "10.0.0.1/8", up=False),
        nic("eth2", 4, "10.0.0.2/8", flags=1),
        nic("eth3", 5),
        nic("eth4", 6, "169.254.3.4/16", "fe80::1/64"),
    ]
    assert list(verdicts(nics).values())[1:] == [
        (NO, "down"),
        (NO, "no carrier"),
        (NO, "no address"),
        (NO, "only a link-local address"),
    ]


def test_a_wish_takes_nics_in_or_out() -> None:
    docker = nic("docker0", 3, "172.17.0.1/16", kind="bridge")
    assert verdicts([LO, ETH0, docker], Wish(socket_ifname="docker0")) == {
        "lo": (NO, "loopback: never leaves this machine"),
        "eth0": (NO, "NCCL_SOCKET_IFNAME=docker0 leaves it out"),
        "docker0": (YES, "ranks meet over it"),
    }
    assert verdicts([LO, ETH0], Wish(socket_ifname="^eth"))["eth0"] == (
        NO,
        "NCCL_SOCKET_IFNAME=^eth leaves it out",
    )
    assert verdicts([ETH0], Wish(family="AF_INET6"))["eth0"] == (NO, "no address of AF_INET6")


def test_infiniband_comes_before_ethernet_for_the_bootstrap() -> None:
    places = classify([LO, ETH0, nic("ib0", 3, "198.51.100.1/24", arp_type=32)], ANY)
    assert [place.bootstrap for place in places] == [False, False, True]


def test_lo_carries_the_bootstrap_where_there_is_no_other() -> None:
    why = "loopback: never leaves this machine; ranks meet over it, as there is no other"
    assert classify([LO], ANY) == [Place(NO, why, bootstrap=True)]


def test_patterns_are_ncclss() -> None:
    assert [matches(p, "eth1") for p in ("", "eth", "=eth", "=eth1", "^eth", "^=eth", "ib,et")] == [
        True, True, False, True, False, True, True,
    ]  # fmt: skip


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def test_a_link_is_read_from_the_kernels_bytes() -> None:
    head = struct.pack("=BxHiII", 0, 1, 7, 0x1043, 0)
    body = attribute(3, b"bond0\0") + attribute(4, struct.pack("=I", 9000)) + attribute(16, b"\x06")
    body += attribute(1, bytes.fromhex("0200c0ffee01")) + attribute(10, struct.pack("=I", 3))
    body += attribute(18, attribute(1, b"bond\0")) + attribute(5, struct.pack("=I", 2))
    assert parse_link(head + body) == Link(
        "bond0", 7, "bond", 1, 0x1043, 9000, "up", "02:00:c0:ff:ee:01", 3, 2
    )
    assert parse_link(head + struct.pack("=HH", 1, 3)).name == "?"  # a length below its own header


def test_the_own_address_of_a_tunnel_is_taken_not_the_other_ends() -> None:
    raw = struct.pack("=BBBBI", socket.AF_INET, 30, 0, 0, 4)
    raw += attribute(1, bytes([10, 0, 0, 2])) + attribute(2, bytes([10, 0, 0, 1]))
    assert parse_address(raw) == (4, Address("10.0.0.1", 30))
    assert parse_address(struct.pack("=BBBBI", socket.AF_PACKET, 0, 0, 0, 4)) is None


def test_the_kernel_lists_lo_of_this_machine() -> None:
    (lo,) = (link for link in read_links() if link.name == "lo")
    assert (lo.index, lo.arp_type, lo.kind) == (1, 772, "")
    assert lo.mtu == int(Path("/sys/class/net/lo/mtu").read_text())


def test_sys_adds_speed_driver_and_node(tmp_path: Path) -> None:
    folder = "sys/class/net/eth0/"
    facts = {"ifindex": "2", "address": "02:00", "speed": "25000", "device/numa_node": "1"}
    plant(tmp_path, **{folder + name: text for name, text in facts.items()})
    (tmp_path / "drivers/mlx5_core").mkdir(parents=True)
    (tmp_path / folder / "device/driver").symlink_to(tmp_path / "drivers/mlx5_core")
    link = Link("eth0", 2, mac="02:00")
    assert read_nic(tmp_path, link) == Nic(link, 25000, "mlx5_core", 1)


def test_sys_of_another_network_namespace_adds_nothing(tmp_path: Path) -> None:
    folder = "sys/class/net/eth0/"
    plant(tmp_path, **{folder + "ifindex": "9", folder + "address": "", folder + "speed": "100"})
    assert read_nic(tmp_path, Link("eth0", 2)) == Nic(Link("eth0", 2))


def test_a_row_says_all_of_a_nic() -> None:
    full = nic("eth0", 2, "192.0.2.1/24", "2001:db8::1/64", speed=2500, driver="igc", mtu=9000)
    assert row(full, Place(YES, "ranks meet over it")) == (
        "eth0", "ethernet", "2.5 Gb/s", "9000", "up", "igc", "192.0.2.1/24, 2001:db8::1/64",
        "yes: ranks meet over it",
    )  # fmt: skip
    assert row(nic("w\x1b0", 3, up=False), Place(NO, "down"))[0] == "w?0"
