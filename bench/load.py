"""An origin and clients for measuring a proxy: plain sockets, no dependencies."""

import contextlib
import multiprocessing
import os
import selectors
import signal
import socket
import subprocess
import time

BODY = b"x" * 1024
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 1024\r\nCache-Control: no-store\r\n\r\n" + BODY
)
DEADLINE = 60.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def origin(cpus=None):
    """A process that answers every request head with 1 KiB, and keeps its connections; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    process = multiprocessing.Process(target=_serve, args=(listener, cpus), daemon=True)
    process.start()
    try:
        yield listener.getsockname()[1]
    finally:
        process.kill()
        process.join()
        listener.close()


def _serve(listener, cpus):
    if cpus:
        os.sched_setaffinity(0, cpus)
    listener.setblocking(False)
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    # What came of a head that is not whole; some proxies write one in pieces.
    begun = {}
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        connection, _ = listener.accept()
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        ready.register(connection, selectors.EVENT_READ)
                continue
            try:
                piece = key.fileobj.recv(65536)
                if piece:
                    *heads, rest = (begun.pop(key.fd, b"") + piece).split(b"\r\n\r\n")
                    if rest:
                        begun[key.fd] = rest
                    if heads:
                        key.fileobj.sendall(ANSWER * len(heads))
                    continue
            except OSError:
                pass
            begun.pop(key.fd, None)
            ready.unregister(key.fileobj)
            key.fileobj.close()


def request_for(origin_port):
    return (
        b"GET http://127.0.0.1:%d/path?query HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: bench\r\nAccept: */*\r\n"
        b"Proxy-Connection: keep-alive\r\n\r\n" % (origin_port, origin_port)
    )


class Closed(Exception):
    """The proxy closed a kept connection, without having said that it would."""


class Client:
    """One connection to the proxy."""

    def __init__(self, proxy_port):
        self.proxy_port = proxy_port
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.proxy_port), timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = 0

    def close(self):
        self.socket.close()

    def send(self, request):
        self.received = b""
        self.requests += 1
        try:
            self.socket.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            # Told when its answer is waited for.
            pass

    def receive(self):
        """Takes what came; whether the answer is whole."""
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            piece = b""
        self.received += piece
        if not self.received and self.requests > 1:
            raise Closed
        if not self.received.startswith(b"HTTP/1."[: len(self.received)]):
            raise RuntimeError(f"not an answer: {self.received[:200]!r}")
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if separator and b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"refused: {head.decode('latin-1')}")
        whole = bool(separator) and len(body) >= len(BODY)
        if not piece and not whole:
            raise RuntimeError("closed before the answer was whole")
        return whole

    def must_close(self):
        head = self.received.split(b"\r\n\r\n", 1)[0].lower()
        return head.startswith(b"http/1.0") or b"\r\nconnection: close" in head or b"\r\nproxy-connection: close" in head

    def get(self, request):
        self.send(request)
        while not self.receive():
            pass


def get_keep_alive(proxy_port, origin_port, count):
    """One client, one request after the other."""
    client, request = Client(proxy_port), request_for(origin_port)
    for _ in range(count):
        client.get(request)
    client.close()


def get_new_connections(proxy_port, origin_port, count):
    request = request_for(origin_port)
    for _ in range(count):
        client = Client(proxy_port)
        client.get(request)
        client.close()


def connect_tunnels(proxy_port, origin_port, count):
    """Tunnels that are opened and closed again, each on a connection of its own."""
    request = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (origin_port, origin_port)
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", proxy_port), timeout=DEADLINE) as client:
            client.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = client.recv(4096)
                if not piece or not b"HTTP/1.1 200 ".startswith((answer + piece)[:13]):
                    raise RuntimeError(f"no tunnel: {answer + piece!r}")
                answer += piece
            # Both ends close before the next, so that runs are alike.
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass


def get_concurrently(proxy_port, origin_port, count, clients, keep_alive):
    """Many clients at once, each with one request under way."""
    request = request_for(origin_port)
    ready = selectors.DefaultSelector()

    def start(client):
        ready.register(client.socket, selectors.EVENT_READ, client)
        client.send(request)

    for _ in range(clients):
        start(Client(proxy_port))
    begun, done = clients, 0
    while done < count:
        events = ready.select(timeout=DEADLINE)
        if not events:
            raise RuntimeError("no answer in time")
        for key, _ in events:
            client = key.data
            try:
                if not client.receive():
                    continue
            except Closed:
                ready.unregister(client.socket)
                client.close()
                client.connect()
                start(client)
                continue
            done += 1
            renew = not keep_alive or client.must_close()
            if renew or begun >= count:
                ready.unregister(client.socket)
                client.close()
            if begun < count:
                begun += 1
                if renew:
                    client.connect()
                    start(client)
                else:
                    client.send(request)


OUTRIDER = """
[server]
workers = 1
[[listener]]
name = "bench"
addresses = ["127.0.0.1:{port}"]
[dns]
servers = ["udp://127.0.0.1:1"]
[addresses]
allow = ["127.0.0.0/8"]
[access_log]
path = "{directory}/access.log"
"""


@contextlib.contextmanager
def running(command, port, cpus=None):
    """A proxy that listens on `port`; told to stop in the end, and waited for."""
    def confine():
        if cpus:
            os.sched_setaffinity(0, cpus)

    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=confine)
    try:
        give_up = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > give_up:
                    process.kill()
                    raise RuntimeError(f"{command[0]} did not start:\n{process.communicate()[0].decode(errors='replace')}")
                time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
