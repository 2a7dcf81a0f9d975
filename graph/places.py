"""Where on the network a fetched URL may lead: which addresses are public, and lists of hosts and networks.

An address is judged by where its packets end: an IPv4 address inside an IPv6 one counts as itself, and the tunnels
(6to4, Teredo) are refused altogether.
"""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# beside what `is_global` refuses, which says where an address is routed, not where it ends, and which differs between
# releases of Python; https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry
_NEVER = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; also Alibaba's metadata service
        "168.63.129.16/32",  # Azure's wire server: a public number, answered by the host of the virtual machine
        "192.0.0.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",  # IPv4-compatible
        "::ffff:0:0:0/96",  # IPv4 translated into IPv6 (SIIT)
        "64:ff9b:1::/48",  # NAT64 of a private network
        "100::/63",
        "2001::/23",  # Teredo among others
        "2002::/16",  # 6to4
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",  # also fd00:ec2::254, Amazon's metadata service
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def read_address(text: str) -> Address:
    """The address that packets to ``text`` reach: of an IPv4 address mapped into IPv6 or behind NAT64, that one.

    Raises:
        ValueError: it is no address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:  # what a resolver gives for IPv4 hosts in a network that has IPv6 only
            return ipaddress.IPv4Address(address.packed[-4:])
    return address


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could be meant."""
    return address.is_global and not any(_holds(block, address) for block in _NEVER)


def _holds(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network


class Places:
    """A list of hosts and networks.

    Args:
        entries: ``data.example`` (that host alone), ``*.example.com`` (every host below it, and not itself), an address
            or a network in CIDR notation.

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._hosts: set[str] = set()
        self._below: set[str] = set()
        self._networks: list[Network] = []
        for entry in entries:
            self._add(entry.strip())

    def __bool__(self) -> bool:
        return bool(self._hosts or self._below or self._networks)

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry))
            return
        except ValueError:
            pass
        below = entry.startswith("*.")
        host = host_name(entry[2:] if below else entry)
        if not all(part and part.replace("-", "").replace("_", "").isalnum() for part in host.split(".")):
            raise ValueError(f"{entry!r} is neither a host (data.example, *.example.com) nor a network (10.1.0.0/16)")
        if host.rpartition(".")[2].isdigit():
            raise ValueError(f"{entry!r} is no network: write it as 10.1.0.0/16, with no bits set beyond the prefix")
        (self._below if below else self._hosts).add(host)

    def has_host(self, name: str) -> bool:
        """Whether ``name`` is listed or below a listed name."""
        name = host_name(name)
        parts = name.split(".")
        return name in self._hosts or any(".".join(parts[cut:]) in self._below for cut in range(1, len(parts)))

    def has_address(self, address: Address) -> bool:
        """Whether ``address`` is in a listed network."""
        return any(_holds(network, address) for network in self._networks)


def host_name(name: str) -> str:
    """``name`` as resolvers compare it: in ASCII, lower case, without the dot at its end.

    Raises:
        ValueError: it is no host name.
    """
    name = name.lower().removesuffix(".")
    return name if name.isascii() else name.encode("idna").decode("ascii")
