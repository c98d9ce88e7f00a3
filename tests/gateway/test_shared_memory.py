"""Memory for batches on one machine, from the gateway's side and as a worker reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lineside_gateway.dispatch.shared_memory import SMALLEST_BYTES, SharedMemory
from lineside_plugins.wire import Place, place_of
from lineside_workers.requests import shared_memory as reading

LARGE = (b"head", memoryview(b"x" * SMALLEST_BYTES), b"")


@pytest.fixture
def memory():
    it = SharedMemory()
    yield it
    it.give_up()
    for name in ("r1", "r2"):
        it.release(name)


def test_a_worker_reads_what_was_placed(memory: SharedMemory) -> None:
    """The pieces one after the other, read-only; the place is small and survives the broker."""
    place = memory.place("r1", LARGE)
    assert place is not None
    claim = reading.SharedMemory().find("r1", place.encode())
    assert bytes(claim) == b"".join(LARGE)
    assert isinstance(claim, memoryview)
    assert claim.readonly
    assert len(place.encode()) < 64
    assert memory.place("r1", LARGE) == place  # sent again


def test_a_block_is_used_again_and_what_was_read_stays(memory: SharedMemory) -> None:
    """Once released it holds the next batch, in the same file; who comes late for the first finds out."""
    reader = reading.SharedMemory()
    first = memory.place("r1", LARGE)
    claim = reader.find("r1", first.encode())
    memory.release("r1")
    assert bytes(reader.find("r1", first.encode())) == bytes(claim)  # until somebody else's batch lies there
    second = memory.place("r2", (b"y" * len(b"".join(LARGE)),))
    assert (second.pid, second.fd) == (first.pid, first.fd)
    assert bytes(reader.find("r2", second.encode())[:4]) == b"yyyy"
    assert bytes(claim) == b"".join(LARGE)
    with pytest.raises(reading.UnreadError, match="holds no batch of this request"):
        reader.find("r1", first.encode())


def test_what_changes_while_it_is_read_is_not_taken(memory: SharedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block goes to another request in the middle of the copy: neither's batch, so nobody's answer."""
    place = memory.place("r1", LARGE)
    empty = reading.np.empty

    def meanwhile(*args: object) -> object:
        memory.release("r1")
        memory.place("r2", LARGE)
        return empty(*args)

    monkeypatch.setattr(reading.np, "empty", meanwhile)
    with pytest.raises(reading.UnreadError, match="holds no batch of this request"):
        reading.SharedMemory().find("r1", place.encode())


def test_what_is_half_written_is_not_taken(memory: SharedMemory) -> None:
    """A worker that comes late while the next batch is written sees neither the old nor the new one."""
    reader, place, seen = reading.SharedMemory(), memory.place("r1", LARGE), []
    memory.release("r1")

    class Pieces(tuple):
        def __iter__(self):
            for piece in tuple(self[:]):
                for name in ("r1", "r2"):
                    try:
                        seen.append((name, bytes(reader.find(name, place.encode()))))
                    except reading.UnreadError:
                        seen.append((name, None))
                yield piece

    second = (b"y" * SMALLEST_BYTES, b"y" * 4)
    assert memory.place("r2", Pieces(second)) == place
    before, half = seen[: 2 * len(second)], seen[-2 * len(second) :]
    assert [bytes_ for _, bytes_ in before] == [b"".join(LARGE), None] * 2  # as its size was taken
    assert [bytes_ for _, bytes_ in half] == [None] * 4
    assert bytes(reader.find("r2", place.encode())) == b"".join(second)


def test_a_file_of_the_same_number_is_opened_anew() -> None:
    """A gateway that closes a block may get its number again for another one."""
    reader, places = reading.SharedMemory(), []
    for n in range(2):
        memory = SharedMemory()
        places.append(memory.place(f"r{n}", (bytes([n]) * SMALLEST_BYTES,)))
        assert bytes(reader.find(f"r{n}", places[n].encode())[:1]) == bytes([n])
        memory.release(f"r{n}")
        memory.give_up()
    assert places[0] == places[1]


def test_what_is_small_or_too_much_goes_by_the_broker() -> None:
    """Below 64 KiB; or once all that may be held is in use, until something is released."""
    memory = SharedMemory(most_bytes=4 * SMALLEST_BYTES)
    assert memory.place("small", (b"x" * (SMALLEST_BYTES - 1),)) is None
    assert memory.place("huge", (b"x" * (4 * SMALLEST_BYTES),)) is None
    assert [memory.place(f"r{n}", LARGE) is None for n in range(3)] == [False, False, True]
    memory.release("r0")
    assert memory.place("r2", LARGE) is not None
    for name in ("r1", "r2"):
        memory.release(name)
    assert memory.place("other size", (b"x" * (3 * SMALLEST_BYTES),)) is not None  # the free blocks made room
    memory.give_up()


def test_what_was_given_up_leaves_nothing_open() -> None:
    """Free blocks are closed at once, those in use as they are released."""
    memory = SharedMemory()
    places = {name: memory.place(name, LARGE) for name in ("a", "b")}
    memory.release("a")
    memory.give_up()
    assert memory.place("c", LARGE) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(places["a"].fd)
    os.fstat(places["b"].fd)
    memory.release("b")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(places["b"].fd)


def test_memory_of_a_gateway_that_has_ended_is_given_back(memory: SharedMemory) -> None:
    """Once another one's is opened: it would be kept for as long as somebody has it open."""
    code = (
        "from lineside_gateway.dispatch.shared_memory import SharedMemory; m = SharedMemory(); "
        f"print(m.place('r', (b'z' * {SMALLEST_BYTES},)).encode().hex(), flush=True); input()"
    )
    reader = reading.SharedMemory()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        claim = bytes.fromhex(other.stdout.readline().decode())
        place = place_of(claim)
        inode = Path(f"/proc/{place.pid}/fd/{place.fd}").stat().st_ino
        assert bytes(reader.find("r", claim)[:2]) == b"zz"
        other.stdin.write(b"\n")
    assert f" {inode} " in Path("/proc/self/maps").read_text()
    reader.find("r1", memory.place("r1", LARGE).encode())
    assert f" {inode} " not in Path("/proc/self/maps").read_text()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """No such process, another kind of file, one that is shorter than it is said to be; never a crash or a wait."""
    reader = reading.SharedMemory()
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with pytest.raises(reading.UnreadError, match="No such file"):
        reader.find("r", Place(int(gone.stdout), 3, SMALLEST_BYTES).encode())
    reading_end, writing_end = os.pipe()
    with pytest.raises(reading.UnreadError, match="holds something else"):
        reader.find("r", Place(os.getpid(), reading_end, 10).encode())
    (tmp_path / "file").write_bytes(b"x" * 4096)
    with (tmp_path / "file").open("rb") as f, pytest.raises(reading.UnreadError, match="holds something else"):
        reader.find("r", Place(os.getpid(), f.fileno(), 1000).encode())
    place = SharedMemory().place("r", LARGE)
    with pytest.raises(reading.UnreadError, match="holds something else"):
        reader.find("r", place._replace(size=1 << 40).encode())
    for fd in (reading_end, writing_end):
        os.close(fd)


def test_a_batch_that_came_by_the_broker_is_no_place() -> None:
    """It is handed on as it is."""
    assert place_of(b"LSB2" + bytes(100)) is None
    assert reading.SharedMemory().find("r", b"LSB2 and more") == b"LSB2 and more"


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("redis://:p@127.0.0.1:6379/0", True),
        ("rediss://localhost:6379/0", True),
        ("redis://[::1]:6379/0", True),
        ("unix:///run/redis.sock", True),
        ("redis://redis:6379/0", False),
        ("redis://10.0.0.7:6379/0", False),
        ("sentinel://127.0.0.1:26379/line/0", False),
    ],
)
def test_only_beside_a_broker_of_this_machine(url: str, fits: bool) -> None:
    """Elsewhere the workers are mostly on other machines."""
    assert SharedMemory.fits(url) is fits
