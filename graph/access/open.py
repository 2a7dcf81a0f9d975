"""Who can reach this server: nobody but this machine, or others."""

import ipaddress
import os

from deployments.errors import ConfigError
from graph.access.config import AccessConfig
from graph.access.keys import KeyRing

_LOOPBACK = frozenset({"localhost", "ip6-localhost"})
_REFUSAL = (
    "Others than this machine would reach this server ({why}) and no API keys are configured. Make one with "
    "`pipeline-graph key NAME`, or let everybody in with `access: {{open: true}}`."
)


def refuse_open(access: AccessConfig, host: str) -> None:
    """Do not start where strangers could ask.

    Args:
        access: the configuration.
        host: that Serve's proxy listens on.

    Raises:
        ConfigError: it is no loopback address, or HAProxy's statistics listen everywhere, and there are no keys.
    """
    why = None if _is_loopback(host) else f"it listens on {host}"
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        why = why or "HAProxy's statistics listen on every interface"
    if why is not None and not access.open and not KeyRing(access).required:
        raise ConfigError(_REFUSAL.format(why=why))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in _LOOPBACK


def listening_host() -> str:
    """The address that Serve's proxy listens on; asked inside a replica."""
    from ray.serve.context import _get_global_client  # there is no public way to it

    return str(_get_global_client().http_config.host)
