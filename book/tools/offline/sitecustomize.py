"""Python begins with this file where its folder is on PYTHONPATH: nothing leaves here.

Whatever tries to reach another machine fails, loudly, in this process and in those that
it starts. Only pip may download: the package starts it for what it has pinned by hash.
"""

import sys
from ipaddress import ip_address
from typing import Any


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to look up or to connect to another machine; an audit hook."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # else a local file
    else:
        return
    if not is_here(host):
        raise RuntimeError(f"a request to {host!r}: tests and notebooks make none")


def is_here(host: str | bytes | None) -> bool:
    """Whether an address is this machine's own."""
    name = host.decode() if isinstance(host, bytes) else host
    if not name or name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback or ip_address(name).is_unspecified
    except ValueError:
        return False


if sys.orig_argv[1:5] != ["-P", "-m", "pip", "download"]:
    sys.addaudithook(refuse)
