"""Clients that never stop asking, and an origin for them. Every request that gets no whole answer is a failure."""

import collections
import socket
import threading
import time

ORIGIN = 8000
PROXY = ("127.0.0.1", 3128)
BODY = b"x" * 1000


class Origin:
    """Answers GET / at once, and GET /slow/N in N pieces, a tenth of a second apart."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", ORIGIN), backlog=1024)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            client, _ = self.socket.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            with client, client.makefile("rb") as reader:
                while line := reader.readline():
                    while reader.readline() not in (b"\r\n", b""):
                        pass
                    path = line.split()[1].decode()
                    pieces = int(path.split("/")[2]) if path.startswith("/slow/") else 1
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(BODY) * pieces))
                    for piece in range(pieces):
                        if piece:
                            time.sleep(0.1)
                        client.sendall(BODY)
        except OSError:
            pass


def request(connection, path="/", close=True):
    """Asks through the proxy, and returns the status and the body's length."""
    field = "Connection: close\r\n" if close else ""
    connection.sendall(f"GET http://127.0.0.1:{ORIGIN}{path} HTTP/1.1\r\nHost: 127.0.0.1:{ORIGIN}\r\n{field}\r\n".encode())
    return response(connection)


def response(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("closed before an answer" if not data else "closed in the head")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    length, received = int(fields[b"content-length"]), len(body)
    while received < length:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("closed in the body")
        received += len(piece)
    return int(head.split()[1]), length, fields.get(b"connection", b"").strip() == b"close"


def once(path="/", address=PROXY, timeout=30):
    with socket.create_connection(address, timeout=timeout) as connection:
        return request(connection, path)


class Load:
    """Runs from `with` to its end: new connections, kept ones, and tunnels."""

    def __init__(self, fresh=6, kept=3, tunnels=2):
        self.stopping = threading.Event()
        self.good = collections.Counter()
        self.failures = collections.Counter()
        self.slowest = 0.0
        kinds = [self.fresh] * fresh + [self.kept] * kept + [self.tunnel] * tunnels
        self.threads = [threading.Thread(target=self.run, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        time.sleep(0.5)
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def run(self, kind):
        while not self.stopping.is_set():
            try:
                kind()
            except Exception as error:
                self.failures[f"{kind.__name__}: {type(error).__name__}: {error}"] += 1
                time.sleep(0.01)

    def count(self, kind, answer, began):
        self.slowest = max(self.slowest, time.monotonic() - began)
        if answer[:2] != (200, len(BODY)):
            raise RuntimeError(f"status {answer[0]}")
        self.good[kind] += 1

    def fresh(self):
        began = time.monotonic()
        self.count("fresh", once(), began)
        time.sleep(0.002)

    def kept(self):
        """Reuses its connection until it is told not to."""
        with socket.create_connection(PROXY, timeout=30) as connection:
            closes = False
            while not self.stopping.is_set() and not closes:
                began = time.monotonic()
                answer = request(connection, close=False)
                closes = answer[2]
                self.count("kept", answer, began)
                time.sleep(0.01)

    def tunnel(self):
        began = time.monotonic()
        with socket.create_connection(PROXY, timeout=30) as connection:
            connection.sendall(f"CONNECT 127.0.0.1:{ORIGIN} HTTP/1.1\r\nHost: 127.0.0.1:{ORIGIN}\r\n\r\n".encode())
            data = b""
            while not data.endswith(b"\r\n\r\n"):
                piece = connection.recv(1)
                if not piece:
                    raise ConnectionError("closed before the tunnel")
                data += piece
            if b" 200 " not in data:
                raise RuntimeError(data.decode())
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.count("tunnel", response(connection), began)
        time.sleep(0.005)

    def figures(self):
        total = sum(self.good.values())
        text = f"{sum(self.failures.values())} of {total + sum(self.failures.values())} requests failed, the slowest took {self.slowest:.2f} s"
        return text + "".join(f"\n       {count} x {what}" for what, count in self.failures.most_common(5))
