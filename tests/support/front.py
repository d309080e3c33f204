"""What stands between a client and its server on real machines? A login, a proxy, a certificate.

    with fronting(Front(stub.port, wanted="Basic ...")) as front:
        subprocess.run([..., "--base-url", f"http://127.0.0.1:{front.port}/v1"])

It passes everything on to one port of this machine, whatever host was asked for: as a proxy it
reaches servers that there are not.
"""

import http.client
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Front:
    """Who is let through to the port `backend`, and what was asked for."""

    backend: int
    wanted: str = ""  # the Authorization header that is demanded, '' for any
    status: int = 0  # the answer to everything, in place of the backend's
    certificate: Path | None = None  # with its key: https is spoken
    port: int = 0
    asked: list[str] = field(default_factory=list)  # 'GET http://judge.example/v1/models'
    logins: set[str] = field(default_factory=set)  # the Authorization headers that came


@contextmanager
def fronting(front: Front) -> Iterator[Front]:
    """Listen on a free port while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            login = self.headers.get("Authorization", "")
            front.asked.append(f"{self.command} {self.path}")
            front.logins.add(login)
            if front.status:
                self.answer(front.status, {}, b"<html><h1>squid</h1></html>")
            elif front.wanted and login != front.wanted:
                # As gateways do that are too helpful.
                self.answer(401, {}, f'{{"error": "who is {login}?"}}'.encode())
            else:
                self.answer(*self.backend(body))

        def backend(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            parts = urlsplit(self.path)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            dropped = ("host", "authorization", "connection", "proxy-connection")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
            behind = http.client.HTTPConnection("127.0.0.1", front.backend, timeout=60)
            behind.request(self.command, path, body, headers)
            reply = behind.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_CONNECT = pass_on  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", front.port), Handler)
    if front.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(front.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    front.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()


def make_certificate(folder: Path) -> Path:
    """A self-signed one for 127.0.0.1, with its key, in one file."""
    path = folder / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    place = ["-keyout", str(path), "-out", str(folder / "only.pem")]
    words = [*command.split(), "subjectAltName=IP:127.0.0.1", *place]
    subprocess.run(words, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (folder / "only.pem").read_bytes())
    return path
