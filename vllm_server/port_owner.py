"""What listens on this host and port: nothing, a vLLM (with which model), or something else?

    python vllm_server/port_owner.py 127.0.0.1 8000
    VLLM_API_KEY=secret python vllm_server/port_owner.py 127.0.0.1 8000

Prints one line: `free`, `vllm MODEL`, `vllm` (it wants another key) or `other`. Used by the shell
scripts before vLLM's own start, and to see when a server is ready; standard library only, so that
it costs 0.1 s.
"""

import argparse
import http.client
import json
import os
import socket
from typing import Any

SECONDS = 5.0


def main() -> int:
    """Print what listens there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host", help="the address that the server listens on, 0.0.0.0 included")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(arguments.host, arguments.host)
    print(port_owner(host, arguments.port, os.environ.get("VLLM_API_KEY", "")))  # noqa: T201
    return 0


def port_owner(host: str, port: int, key: str) -> str:
    """`free`, `vllm MODEL`, `vllm` or `other`."""
    try:
        socket.create_connection((host, port), SECONDS).close()
    except OSError:
        return "free"
    status, body = get(host, port, "/v1/models", key)
    if status == 200 and body.get("object") == "list" and body.get("data"):
        return f"vllm {body['data'][0]['id']}"
    # Another key than ours, and yet vLLM: /version stays open.
    if status == 401 and set(get(host, port, "/version", key)[1]) == {"version"}:
        return "vllm"
    return "other"


def get(host: str, port: int, path: str, key: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of one GET; (0, {}) when the answer is not such."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        reply = connection.getresponse()
        body = json.loads(reply.read(1 << 20) or b"null")
        return reply.status, body if isinstance(body, dict) else {}
    except (OSError, ValueError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(main())
