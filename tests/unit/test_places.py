"""Which addresses are public, by the registries that say so, and lists of hosts and networks."""

import ipaddress

import pytest
from pydantic import ValidationError

from graph.config import FetchConfig, FilesConfig
from graph.places import Places, is_public, read_address

# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, those not globally
# reachable; the registries of multicast addresses; RFC 3879 (site-local), RFC 3056 (6to4), RFC 4291 (IPv4-compatible)
NOT_PUBLIC = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/29"),
    *("192.0.0.8/32", "192.0.0.170/31", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32", "224.0.0.0/4"),
    *(
        "::1/128",
        "::/128",
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/32",
        "2001:2::/48",
    ),
    *("2001:10::/28", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10"),
    "ff00::/8",
]
METADATA = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"]
INSIDE = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "0.0.0.0"]


@pytest.mark.parametrize("block", NOT_PUBLIC)
def test_no_address_of_a_special_block_is_public(block: str) -> None:
    network = ipaddress.ip_network(block)
    for address in {network[0], network[-1], network[network.num_addresses // 2]}:
        assert not is_public(read_address(str(address))), address


@pytest.mark.parametrize("address", METADATA)
def test_no_metadata_service_is_public(address: str) -> None:
    assert not is_public(read_address(address))


@pytest.mark.parametrize("inner", INSIDE)
def test_an_address_inside_another_counts_as_itself(inner: str) -> None:
    packed = int(ipaddress.IPv4Address(inner))
    for outer in (
        (0xFFFF << 32) | packed,  # mapped
        (0x64FF9B << 96) | packed,  # NAT64
        packed,  # IPv4-compatible
        (0x2002 << 112) | (packed << 80),  # 6to4
        (0x20010000 << 96) | (packed << 64),  # Teredo, its server
        (0x20010000 << 96) | (packed ^ 0xFFFFFFFF),  # Teredo, its client
    ):
        assert not is_public(read_address(str(ipaddress.IPv6Address(outer)))), hex(outer)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "fe80::1%1"])
def test_an_interface_changes_nothing(address: str) -> None:
    assert not is_public(read_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "93.184.215.14",
        "8.8.8.8",
        "1.1.1.1",
        "2606:4700::1111",
        "2a00:1450:4001::8a",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_what_anybody_may_serve_from_is_public(address: str) -> None:
    assert is_public(read_address(address))


@pytest.mark.parametrize("name", ["cdn.example.com", "a.b.example.com", "CDN.Example.COM.", "data.example"])
def test_a_listed_host_is_listed_in_every_spelling(name: str) -> None:
    assert Places(["*.example.com", "Data.Example."]).has_host(name)


@pytest.mark.parametrize(
    "name", ["example.com", "evilexample.com", "example.com.evil.net", "x.data.example", "ata.example", "com", ""]
)
def test_a_name_that_only_looks_like_it_is_not(name: str) -> None:
    assert not Places(["*.example.com", "data.example"]).has_host(name)


def test_a_name_in_its_own_script_is_the_same_name() -> None:
    assert Places(["bücher.example"]).has_host("xn--bcher-kva.example")


def test_networks_hold_addresses() -> None:
    places = Places(["10.1.0.0/16", "fd00::/8", "192.0.2.7"])
    assert all(
        places.has_address(read_address(one)) for one in ("10.1.255.255", "fd12::1", "192.0.2.7", "::ffff:10.1.2.3")
    )
    assert not any(places.has_address(read_address(one)) for one in ("10.2.0.0", "fe80::1", "192.0.2.8"))


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "a b", "http://x.example", "10.1.0.0/33", "10.1.2.3/16", "10.1", "a*.b", "x/y"]
)
@pytest.mark.parametrize("key", ["allow", "deny"])
def test_an_entry_that_is_neither_is_a_mistake_of_the_configuration(key: str, entry: str) -> None:
    with pytest.raises(ValidationError):
        FetchConfig(**{key: [entry]})


@pytest.mark.parametrize("folder", ["images", "./images", "", "/", "/tmp/.."])
def test_an_allowed_folder_is_absolute_and_not_all_of_the_disk(folder: str) -> None:
    with pytest.raises(ValidationError):
        FilesConfig(allowed=[folder])
