"""Where the hosted server listens, and one sentence for the operator where it cannot."""

from __future__ import annotations

import errno
import socket
from urllib.parse import ParseResult

from asyncua.server.server import Server

from lineside_gateway.publish.errors import HostingError

DEFAULT_PORT = 4840  # registered for opc.tcp, OPC UA Part 6, 7.2


async def listen(server: Server, url: ParseResult) -> None:
    """Start ``server``.

    Raises:
        HostingError: The port is taken or the address is not of this machine.
    """
    try:
        await server.start()
    except OSError as e:
        raise _hosting_error(url, e) from e


def check_free(url: ParseResult) -> None:
    """Bind and let go: a taken port is told before the address space is built, without a traceback in the log.

    Raises:
        HostingError: As ``listen``.
    """
    if url.port == 0:
        return
    try:
        address = socket.getaddrinfo(url.hostname, url.port or DEFAULT_PORT, type=socket.SOCK_STREAM)[0]
        with socket.socket(address[0], address[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address[4])
            probe.listen(1)
    except OSError as e:
        raise _hosting_error(url, e) from e


def _hosting_error(url: ParseResult, cause: OSError) -> HostingError:
    where, port = url.geturl(), url.port or DEFAULT_PORT
    if cause.errno == errno.EADDRINUSE:
        sentence = (
            f"port {port} of endpoint {where} is in use, perhaps by a second gateway; "
            "stop that process or set another port in gateway.endpoint"
        )
    elif cause.errno == errno.EACCES:
        sentence = f"port {port} of endpoint {where} needs more rights; set a port above 1023 in gateway.endpoint"
    else:
        sentence = (
            f"endpoint {where} cannot be opened: {cause.strerror or cause}; set an address of this machine "
            "in gateway.endpoint"
        )
    return HostingError(sentence, detail=repr(cause))
