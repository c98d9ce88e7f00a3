from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import InvalidResponse, ResponseError

from lineside_workers.requests.replies import SMALL_BYTES, Replies


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_replies_of_every_kind_come_whole_however_they_were_cut(ends: tuple[socket.socket, socket.socket]) -> None:
    """Short and long strings, numbers, lists, nothing and errors, byte by byte or all at once; long ones read-only."""
    ours, theirs = ends
    long = bytes(range(256)) * 1600
    parts = [
        b"$3\r\nabc\r\n",
        b":-7\r\n",
        b"*2\r\n$-1\r\n*-1\r\n",
        b"+OK\r\n",
        b"-ERR no\r\n",
        b"$%d\r\n%s\r\n" % (len(long), long),
    ]
    said = b"".join(parts)

    def speak() -> None:
        for byte in said[:60]:
            theirs.sendall(bytes([byte]))
        theirs.sendall(said[60:] + said)

    speaking = threading.Thread(target=speak)
    speaking.start()
    replies = Replies(ours)
    for _ in range(2):
        short, number, pair, fine, error, tensor = (replies.read() for _ in parts)
        assert (short, number, pair, fine, str(error)) == (b"abc", -7, [None, None], b"OK", "ERR no")
        assert isinstance(error, ResponseError)
        assert bytes(tensor) == long
        assert tensor.readonly
    speaking.join()


@pytest.mark.parametrize("said", [b"-LOADING it starts\r\n", b"-READONLY a replica\r\n", b"$5\r\nab", b""])
def test_a_broker_that_is_not_there_yet_or_no_more_is_lost(
    ends: tuple[socket.socket, socket.socket], said: bytes
) -> None:
    """What asks for another connection is told apart from what a command was refused for."""
    ours, theirs = ends
    theirs.sendall(said)
    theirs.close()
    with pytest.raises(ConnectionLostError):
        Replies(ours).read()


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n", b"x" * (SMALL_BYTES + 1)])
def test_who_is_no_redis_server_is_found_out(ends: tuple[socket.socket, socket.socket], said: bytes) -> None:
    """The error says whose address is wrong."""
    ours, theirs = ends
    theirs.sendall(said)
    with pytest.raises(InvalidResponse):
        Replies(ours).read()
