"""The admission port's limits, over real sockets."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from support.certs import Authority
from support.ports import Port, answer, port, request
from support.processes import eventually

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
MANY = 4000
SHORT = 0.5


@pytest.fixture(scope="module")
def usual() -> Iterator[Port]:
    """One port with the limits that are the default."""
    with port() as served:
        yield served


@pytest.fixture(scope="module")
def hasty() -> Iterator[Port]:
    """One port that does not wait long for a request to arrive."""
    with port(request_seconds=SHORT) as served:
        yield served


@pytest.fixture(scope="module")
def restless() -> Iterator[Port]:
    """One port that does not wait long for a request to begin."""
    with port(idle_seconds=2 * SHORT) as served:
        yield served


ENDLESS: dict[str, tuple[bytes, Iterable[bytes], int, str]] = {
    "header lines": (HEAD, (b"h%d: %s\r\n" % (n, b"a" * 1000) for n in itertools.count()), 431, "16384 bytes besides"),
    "one header": (HEAD + b"big: ", itertools.repeat(b"a" * 65536), 431, "16384 bytes besides its body"),
    "one name": (HEAD, itertools.repeat(b"a" * 65536), 431, "16384 bytes besides its body"),
    "small headers": (HEAD, itertools.repeat(b"a:\r\n"), 431, "more than 100 headers"),
    "the URL": (b"POST /", itertools.repeat(b"a" * 65536), 414, "the URL is longer than 2048 bytes"),
    "trailers": (CHUNKED + b"0\r\n", itertools.repeat(b"t: " + b"a" * 1000 + b"\r\n"), 431, "16384 bytes besides"),
    "one trailer": (CHUNKED + b"0\r\nt: ", itertools.repeat(b"a" * 65536), 431, "16384 bytes besides its body"),
    "small chunks": (CHUNKED, itertools.repeat(b"1\r\nx\r\n" * 1000), 431, "16384 bytes besides its body"),
    "a chunk's extension": (CHUNKED + b"1;", itertools.repeat(b"a" * 65536), 431, "16384 bytes besides its body"),
    "blank lines": (b"", itertools.repeat(b"\r\n" * 1000), 431, "16384 bytes besides its body"),
}


@pytest.mark.parametrize(("begin", "more", "status", "sentence"), ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_refused(
    usual: Port, begin: bytes, more: Iterable[bytes], status: int, sentence: str
) -> None:
    """Long before it fills the memory, with one sentence; and no piece of it reaches the parser beyond the limit."""
    with usual.connect(begin) as connection:
        with contextlib.suppress(ConnectionError):
            for part in itertools.islice(more, MANY):
                connection.sendall(part)
        got, said, closes = answer(connection)
        # A client that goes on sending may find the connection reset before it reads the answer.
        assert got in {status, 0}
        assert got == 0 or (sentence in said["error"] and closes)
    assert usual.sample("trustbind_webhook_refused_requests_total", status=str(status)) >= 1


ODD: dict[str, tuple[bytes, int, str]] = {
    "not HTTP": (b"hello\r\n\r\n", 400, "this is not HTTP/1.1"),
    "an upgrade": (
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        400,
        "cannot be changed",
    ),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "cannot be changed"),
    "a URL": (b"POST http:///\xc3\xa4 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "this is not HTTP/1.1"),
    "a length": (HEAD + b"content-length: " + b"9" * 500 + b"\r\n\r\n", 400, "this is not HTTP/1.1"),
    "101 headers": (HEAD + b"a: b\r\n" * 100 + b"\r\n", 431, "there are more than 100 headers"),
    "a long head": (HEAD + b"a: " + b"b" * 16384 + b"\r\n\r\n", 431, "more than 16384 bytes besides its body"),
    "a long URL": (b"POST /" + b"a" * 2048 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414, "the URL is longer than 2048 bytes"),
}


@pytest.mark.parametrize(("sent", "status", "sentence"), ODD.values(), ids=ODD.keys())
def test_what_is_no_request_has_a_sentence(usual: Port, sent: bytes, status: int, sentence: str) -> None:
    """In the form of all other refusals, and the connection ends."""
    with usual.connect(sent) as connection:
        got, said, closes = answer(connection)
        assert (got, list(said), closes) == (status, ["error"], True)
        assert sentence in said["error"]
        assert connection.recv(1) == b""


def test_limits_are_on_the_head_alone(usual: Port) -> None:
    """A body may be as large as ever, in one piece with its head or in many, and a head may fill its limit."""
    body = b"x" * 3_000_000
    with usual.connect(request(body=body)) as connection:
        assert answer(connection)[:2] == (200, {"size": len(body)})
    with usual.connect(
        CHUNKED, *(b"8000\r\n" + b"x" * 0x8000 + b"\r\n" for _ in range(90)), b"0\r\n\r\n"
    ) as connection:
        assert answer(connection)[:2] == (200, {"size": 90 * 0x8000})
    with usual.connect(HEAD + b"a: " + b"b" * 16000 + b"\r\ncontent-length: 3\r\n\r\nabc") as connection:
        assert answer(connection)[:2] == (200, {"size": 3})


def test_a_connection_is_kept_after_a_usual_request_and_not_after_a_large_one(usual: Port) -> None:
    """TLS keeps a buffer as large as the largest piece that it has read, for as long as the connection lasts."""
    with usual.connect(request(body=b"x" * 10_000)) as connection:
        assert answer(connection) == (200, {"size": 10_000}, False)
        connection.sendall(request(body=b"x" * 100_000))
        assert answer(connection) == (200, {"size": 100_000}, True)
        assert connection.recv(1) == b""


@pytest.mark.parametrize("together", [True, False])
def test_a_request_before_the_answer_is_not_taken(usual: Port, *, together: bool) -> None:
    """The first one is answered, then the connection ends: thousands of small requests must not queue up in memory."""
    usual.release.clear()
    begun = usual.begun
    flood = request("/hold") * 1000
    with usual.connect(request("/hold") + flood if together else request("/hold")) as connection:
        eventually(lambda: usual.begun > begun, "the request is under way")
        if not together:
            connection.sendall(flood)
        usual.release.set()
        assert answer(connection)[0] == 200
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b""
    assert usual.begun == begun + 1


@pytest.mark.parametrize(
    "sent",
    [b"POST", HEAD, HEAD + b"content-length: 10\r\n\r\n", request(body=b"abc", length=10), CHUNKED + b"3\r\nab"],
    ids=["a word", "half a head", "no body", "half a body", "half a chunk"],
)
def test_half_a_request_is_given_up(hasty: Port, sent: bytes) -> None:
    """With a sentence, after the seconds that a request may take."""
    with hasty.connect(sent) as connection:
        got, said, closes = answer(connection)
    assert (got, said, closes) == (408, {"error": f"the request did not arrive within {SHORT} s"}, True)


def test_a_trickle_of_bytes_gains_no_time(hasty: Port) -> None:
    """The time is that of the whole request."""
    with hasty.connect(HEAD) as connection:
        connection.settimeout(0.02)
        with contextlib.suppress(ConnectionError):
            for _ in range(MANY):
                connection.sendall(b"a: b\r\n" if _ < 50 else b"c")
                with contextlib.suppress(TimeoutError):
                    assert b" 408 " in connection.recv(65536)
                    break
            else:
                pytest.fail("it was read for ever")


@pytest.mark.parametrize("first", [b"", request()], ids=["new", "used"])
def test_an_idle_connection_is_closed_without_a_word(restless: Port, first: bytes) -> None:
    """Before its first request, and after one."""
    ended = restless.sample("trustbind_webhook_connections_ended_total", cause="idle")
    with restless.connect(first) as connection:
        if first:
            assert answer(connection)[0] == 200
        assert connection.recv(1) == b""
    assert restless.sample("trustbind_webhook_connections_ended_total", cause="idle") == ended + 1


def test_a_body_that_is_not_wanted_is_read_for_a_while(usual: Port, hasty: Port) -> None:
    """The answer came first; the rest of the body is thrown away, within time and bounds, and the connection kept."""
    with usual.connect(request("/early", b"x" * 1000, length=100_000)) as connection:
        assert answer(connection)[0] == 200
        connection.sendall(b"x" * 99_000 + request())
        assert answer(connection)[0] in {200, 400}
    with hasty.connect(request("/early", length=100_000)) as connection:
        assert answer(connection)[0] == 200
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b""
    with hasty.connect(request("/early", length=10**12)) as connection, pytest.raises(ConnectionError):
        connection.sendall(b"x" * 100_000_000)


def test_an_answer_that_is_not_read_is_given_up(hasty: Port) -> None:
    """Its bytes do not stay in memory."""
    late = hasty.sample("trustbind_webhook_connections_ended_total", cause="late")
    with hasty.connect(request("/large")):
        eventually(lambda: hasty.sample("trustbind_webhook_connections_ended_total", cause="late") > late, "the end")
    eventually(lambda: hasty.connections == 0, "no connection is left")


def test_an_answer_that_is_read_late_arrives(restless: Port) -> None:
    """And the connection lives on, for as long as an idle one does."""
    with restless.connect(request("/large")) as connection:
        received = bytearray(connection.recv(65536))
        whole = received.index(b"\r\n\r\n") + 4 + 10_000_000
        while len(received) < whole:
            received += connection.recv(65536)
        connection.sendall(request())
        assert answer(connection)[0] == 200
        assert connection.recv(1) == b""


def test_a_request_that_is_answered_slowly_is_waited_for(hasty: Port) -> None:
    """The deadline is the client's, not ours."""
    hasty.release.clear()
    with hasty.connect(request("/hold")) as connection:
        connection.settimeout(3 * SHORT)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        hasty.release.set()
        assert answer(connection)[0] == 200


def opened(served: Port, count: int, source: str, *sent: bytes) -> list[socket.socket]:
    """Return that many connections, made one after another."""
    made = []
    for _ in range(count):
        before = served.connections
        made.append(served.connect(*sent, source=source))
        eventually(partial(_more, served, before), "the connection is in")
    return made


def _more(served: Port, before: int) -> bool:
    return served.connections > before


def alive(connections: list[socket.socket]) -> list[bool]:
    """Return which connections are open."""
    result = []
    for connection in connections:
        connection.settimeout(0)
        try:
            result.append(connection.recv(1) != b"")
        except BlockingIOError:
            result.append(True)
        except ConnectionError:
            result.append(False)
    return result


def test_an_address_that_has_too_many_connections_loses_the_longest_idle() -> None:
    """A new one always gets in; a request under way is never the one to go."""
    with port(connections=100, connections_per_address=4) as served:
        (busy,) = opened(served, 1, "127.0.0.1", request("/hold"))
        eventually(lambda: served.begun == 1, "a request is under way")
        idle = opened(served, 3, "127.0.0.1")
        with served.connect(request()) as newest:
            assert answer(newest)[0] == 200
        eventually(lambda: alive(idle) == [False, True, True], "the oldest of the idle ones is closed")
        served.release.set()
        assert answer(busy)[0] == 200
        assert served.sample("trustbind_webhook_connections_ended_total", cause="displaced") == 1
        assert "too many connections, one was displaced" in served.log.getvalue()


def test_where_all_are_busy_there_is_no_room() -> None:
    """Then, and only then, is a new connection closed at once."""
    with port(connections=2, connections_per_address=2) as served:
        busy = opened(served, 2, "127.0.0.1", request("/hold"))
        eventually(lambda: served.begun == 2, "both requests are under way")
        for _ in range(3):
            with served.connect() as refused, contextlib.suppress(ConnectionError):
                assert refused.recv(1) == b""
        served.release.set()
        assert [answer(connection)[0] for connection in busy] == [200, 200]
        assert served.sample("trustbind_webhook_connections_ended_total", cause="refused") == 3
        assert served.log.getvalue().count("one was refused") == 1


def test_one_address_cannot_keep_another_one_out() -> None:
    """Where there are too many in all, the address with the most loses one: idle, or with half a request."""
    with port(connections=10, connections_per_address=10) as served:
        few = opened(served, 2, "127.0.0.3")
        many = opened(served, 4, "127.0.0.2") + opened(served, 4, "127.0.0.2", request(body=b"abc", length=10))
        fresh = opened_beyond(served, 3, "127.0.0.4")
        assert [answer(connection)[0] for connection in fresh] == [200] * 3
        eventually(lambda: sum(alive(many)) == 5, "three of the many are closed")
        assert alive(few) == [True, True]
        more = served.connect(source="127.0.0.2")
        eventually(lambda: sum(alive(many)) == 4, "its own turn")
        assert alive([*few, more]) == [True] * 3


def opened_beyond(served: Port, count: int, source: str) -> list[socket.socket]:
    """Return that many connections with a request each, of a port that is full."""
    return [served.connect(request(), source=source) for _ in range(count)]


def test_bodies_in_flight_are_bounded_and_the_greedy_one_pays() -> None:
    """The address with the most bytes gets 503 for its largest request; a small one of another address is answered."""
    with port(body_bytes=1_000_000) as served:
        greedy = [served.connect(request(body=b"x" * 99_000, length=200_000), source="127.0.0.2") for _ in range(10)]
        eventually(lambda: served.sample("trustbind_webhook_body_bytes") == 990_000, "all bodies are half there")
        with served.connect(request(body=b"x" * 20_000)) as usual:
            assert answer(usual)[:2] == (200, {"size": 20_000})
        eventually(lambda: sum(alive(greedy)) == 10, "one has its answer")
        got = [answered(connection) for connection in greedy]
        assert sorted(status for status in got if status) == [503]
        assert served.sample("trustbind_webhook_refused_requests_total", status="503") == 1
        assert served.sample("trustbind_webhook_body_bytes") == 891_000
        for connection in greedy:
            connection.close()
        eventually(lambda: served.sample("trustbind_webhook_body_bytes") == 0, "nothing is held")


def answered(connection: socket.socket) -> int:
    """Return the status that has come; 0 when none has."""
    connection.settimeout(0)
    try:
        return int(connection.recv(65536).split(b" ")[1])
    except BlockingIOError:
        return 0


def test_a_handshake_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    """Over TLS too, and a connection counts before it has shaken hands."""
    authority = Authority()
    authority.issue().write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    with port(context, request_seconds=SHORT) as served:
        silent = [served.connect() for _ in range(3)]
        eventually(lambda: not any(alive(silent)), "all are closed")
        eventually(lambda: served.connections == 0, "none is left")
    with port(context, connections=4, connections_per_address=4) as served:
        silent = opened(served, 4, "127.0.0.1")
        client = ssl.create_default_context(cadata=authority.pem.decode())
        with client.wrap_socket(served.connect(), server_hostname="127.0.0.1") as connection:
            connection.sendall(request())
            assert answer(connection)[0] == 200
        with served.connect(b"GET / HTTP/1.1\r\n\r\n") as plain, contextlib.suppress(ConnectionError):
            plain.recv(100)
        assert served.sample("trustbind_webhook_connections_ended_total", cause="displaced") >= 1
        eventually(lambda: served.sample("trustbind_webhook_connections_ended_total", cause="handshake") >= 1, "no TLS")


def test_half_a_second_request_is_given_up_too(hasty: Port) -> None:
    """A connection that has been used has no more rights than a new one."""
    with hasty.connect(request()) as connection:
        assert answer(connection)[0] == 200
        connection.sendall(HEAD)
        assert answer(connection)[0] == 408
