"""What does the tests' Hugging Face Hub answer? Files of three kinds of models: open, gated, none.

with hub(Hub(files={"org/open": {"config.json": b"{}"}}, gated={"org/closed"})) as url:
    subprocess.run(command, env={"HF_ENDPOINT": url})
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0" * 40


@dataclass
class Hub:
    """Models by id with their files, ids that are gated, and the tokens that were sent."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)


@contextmanager
def hub(content: Hub) -> Iterator[str]:
    """Serve it on a free port; yields the value for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            content.tokens.append(self.headers.get("Authorization", ""))
            path = self.path.split("?")[0]
            if path.startswith("/api/models/"):
                self._describe(path.removeprefix("/api/models/").split("/revision/")[0])
            else:
                model, _, rest = path.strip("/").partition("/resolve/")
                self._send_file(model, rest.partition("/")[2])

        def _describe(self, model: str) -> None:
            if model not in content.files:
                return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            files = content.files[model].items()
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files]
            info = {"id": model, "sha": COMMIT, "siblings": siblings}
            return self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

        def _send_file(self, model: str, name: str) -> None:
            if model in content.gated:
                return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
            data = content.files.get(model, {}).get(name)
            if data is None:
                return self._send(
                    404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
                )
            etag = hashlib.sha1(data).hexdigest()
            return self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
