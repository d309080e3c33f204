"""Who may use this server? With a key set, only who sends it, but for the four routes of a monitor.

vLLM's own check covers /v1, /v2 and /inference and leaves /invocations (which generates), /tokenize
and /generative_scoring open. This ASGI middleware turns that round: everything needs the key unless
it is listed here, so a route that a later vLLM adds is closed as well.

    VLLM_API_KEY=secret bash vllm_server/run_vllm_server.sh
    curl http://localhost:8000/v1/models -H "Authorization: Bearer secret"
"""

import argparse
import hmac
import os
import sys

from vllm_server.generate_route import App, Receive, Scope, Send, reply_json, route_path

# Compared as a whole with the string that the router matches: `//health`, `/health/../x` are not.
OPEN_PATHS = frozenset({"/health", "/ping", "/version", "/metrics", "/metrics/"})
REFUSAL = {
    "error": {
        "message": "This server needs its key: send 'Authorization: Bearer <VLLM_API_KEY>'",
        "type": "authentication_error",
        "code": 401,
    }
}


class KeyGuard:
    """ASGI middleware for `vllm ... --middleware vllm_server.key_guard.KeyGuard`."""

    def __init__(self, app: App, keys: list[str] | None = None) -> None:
        self.app = app
        self.keys = [key.encode() for key in (served_keys() if keys is None else keys) if key]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or refuse it with 401 (a websocket: close it)."""
        if not self.keys or is_open(scope) or self._has_key(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "key needed"})
        else:
            await reply_json(send, 401, REFUSAL, ((b"www-authenticate", b"Bearer"),))

    def _has_key(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        matches = [hmac.compare_digest(token.strip(), key) for key in self.keys]
        return scheme.lower() == b"bearer" and any(matches)


def is_open(scope: Scope) -> bool:
    """Whether this needs no key: start-up, a CORS preflight, or a route of a monitor."""
    if scope["type"] == "http":
        return str(scope["method"]) == "OPTIONS" or route_path(scope) in OPEN_PATHS
    return str(scope["type"]) != "websocket"


def served_keys() -> list[str]:
    """The keys as vLLM takes them: `--api-key` where it is given, else VLLM_API_KEY."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--api-key", "--api_key", nargs="*", default=[])
    given: list[str] = parser.parse_known_args(sys.argv[1:])[0].api_key
    return given or [os.environ.get("VLLM_API_KEY", "")]
