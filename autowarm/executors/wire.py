"""A connection over TCP between the owner of a training and the node that it runs on, shut to whoever has no key."""

from __future__ import annotations

import socket
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

# A machine that has vanished without a word is noticed after _IDLE + _PROBES * _EVERY seconds.
_IDLE, _EVERY, _PROBES = 10, 5, 3
# How long a node tries to reach the owner.
_CONNECT_SECONDS = 30.0


def listen(host: str) -> socket.socket:
    """Open a port on an address of this machine; connections to it wait for `welcome`."""
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def call(address: tuple[str, int], authkey: bytes) -> Connection:
    """Connect to an owner.

    Raises:
        ConnectionError: nobody is reached there, or somebody else.
    """
    try:
        connection = _connection(socket.create_connection(address, timeout=_CONNECT_SECONDS))
        answer_challenge(connection, authkey)
        deliver_challenge(connection, authkey)
    except (OSError, EOFError, AuthenticationError) as e:
        raise ConnectionError(f"the owner of the training is not reached at {address[0]}:{address[1]}: {e}") from None
    return connection


def welcome(accepted: socket.socket, authkey: bytes) -> Connection | None:
    """Make a connection of an accepted socket, or None where the other end has not the key. May wait for it forever."""
    connection = _connection(accepted)
    try:
        deliver_challenge(connection, authkey)
        answer_challenge(connection, authkey)
    except (OSError, EOFError, AuthenticationError):
        connection.close()
        return None
    return connection


def _connection(opened: socket.socket) -> Connection:
    opened.settimeout(None)
    # a rung is a small question whose answer is waited for: it must not wait to be sent with more
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _EVERY)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    return Connection(opened.detach())
