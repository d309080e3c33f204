"""What went wrong between us and the server, and what helps? Every fault becomes one line.

The line names the URL, the cause and the next command; who catches a ServerFault prints it as it
is. Two faults, as the clients show them:

    python llm_client/vllm_api_client.py --base-url http://127.0.0.1:9/v1
    python llm_client/openai_client_example.py --model gpt-4o
"""

import json
import ssl
from collections.abc import Iterator

from llm_client.settings import redacted
from llm_client.surroundings import Route

START_SERVER = "bash vllm_server/run_vllm_server.sh"  # as typed in the repository's root

# What reading a reply raises when it is some other server's: no JSON, or JSON of another shape.
FOREIGN_REPLY = (ValueError, LookupError, TypeError, AttributeError)
# OpenSSL's words for an answer that is none of TLS.
_PLAIN_HTTP = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}


class ServerFault(Exception):
    """The server gave no answer that can be used; the message is one line for the user."""


def _fault(route: Route, what: str) -> ServerFault:
    """With the server's address before it and the proxy, if there is one, behind."""
    return ServerFault(redacted(f"{route.url}: {what}{route.through}"))


def no_reply(route: Route, error: Exception, seconds: float) -> ServerFault:
    """A connection that could not be made, broke or stayed silent, in any HTTP library."""
    chain = list(_causes(error))
    cause = chain[-1]
    names = " ".join(type(link).__name__ for link in chain)
    if "Timeout" in names and "ConnectTimeout" not in names:
        return _fault(
            route,
            f"nothing came for {seconds:g} s; wait longer: --timeout {4 * seconds:g}, "
            f"or ask for less: --max-tokens 50",
        )
    if distrust := tls_fault(error):
        return _fault(route, distrust)
    # requests' own errors are OSErrors too; these three mean that there was a connection
    lost = isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError)
    if lost or not isinstance(cause, OSError):
        return broken_off(route, _reason(cause))
    return _fault(
        route,
        f"no connection ({_reason(cause)}); start the server in the repository's root: "
        f"{START_SERVER} (it takes minutes to load a model), or name one that runs: --base-url",
    )


def tls_fault(error: BaseException) -> str:
    """What helps where https does not come about, in any HTTP library; '' for other faults."""
    for link in _causes(error):
        reason = getattr(link, "verify_message", "")  # of an SSLCertVerificationError
        if "mismatch" in reason:
            return f"{reason}; give the name that its certificate has"
        if reason:
            return (
                f"its certificate is not trusted here ({reason}); name the file with it, or with "
                "its authority's: SSL_CERT_FILE=/path/to/cert.pem before the command"
            )
        if isinstance(link, ssl.SSLError) and getattr(link, "reason", "") in _PLAIN_HTTP:
            return "no https is spoken there; write http:// if that was meant"
    return ""


def broken_off(route: Route, reason: str) -> ServerFault:
    """The server was there, and the answer never came to its end."""
    return _fault(
        route,
        f"the answer broke off ({reason}); see the server's output, then: "
        f"curl {_origin(route.url)}/health",
    )


def foreign_reply(route: Route, error: Exception) -> ServerFault:
    """HTTP works, and what came back is not what an OpenAI-compatible server says."""
    text = _shorten(getattr(error, "doc", ""), 60)  # JSONDecodeError has the text as `doc`
    quoted = f" ({text!r})" if text else ""
    return _fault(
        route,
        f"the reply is not the JSON of an OpenAI-compatible server{quoted}, another web "
        f"server or a proxy answers there; look at it: curl {route.url}/models",
    )


def unknown_model(route: Route, model: str, served: list[str]) -> ServerFault:
    """The server does not serve this model, or none at all."""
    if not served:
        return _fault(route, f"the server lists no model; look at it: curl {route.url}/models")
    return _fault(
        route,
        f"the model '{model}' is not served; leave --model out, or take what is served: "
        f"--model {' or '.join(served)}",
    )


def refused(route: Route, status: int, text: str) -> ServerFault:
    """An HTTP status from 400 on, and the reply's text as it came."""
    if status in {401, 403}:
        return _fault(route, f"{status}, {_who_asked(route)}")
    if status == 407:
        return _fault(
            route, "407, the proxy wants a login; write it as http://user:password@proxy:3128"
        )
    try:
        reason = _reason_given(json.loads(text))
    except ValueError as error:
        if status < 500:
            return foreign_reply(route, error)
        reason = text
    reason = _shorten(reason, 300).rstrip(". ")
    return _fault(route, f"{status}, {reason}; {_remedy(route.url, status, reason.lower())}")


def _who_asked(route: Route) -> str:
    """What was wrong with the key or the login, and what helps."""
    sent = route.headers.get("Authorization", "")
    if sent.startswith("Basic "):
        return "the user or the password in the URL is wrong; correct them in --base-url"
    cause = "the API key that was sent is wrong" if sent else "no API key was sent"
    return (
        f"{cause}; set VLLM_API_KEY in .env, or VLLM_API_KEY=... before the command, to the key "
        "that the server was started with"
    )


def _remedy(url: str, status: int, reason: str) -> str:
    """What helps against a refusal: its status says it, or vLLM's wording."""
    if status >= 500:
        return f"see the server's output, then: curl {_origin(url)}/health"
    if "chat template" in reason:
        return f"start the server with one, as this does for base models: {START_SERVER}"
    if "context length" in reason or "max_model_len" in reason:
        return (
            "shorten --prompt or lower --max-tokens, or give the server a longer context: "
            f"{START_SERVER} --max-model-len ..."
        )
    if status == 404:
        return f"is the base URL complete? it ends in /v1: --base-url {_origin(url)}/v1"
    return "change the flag that it is about, see --help"


def _reason_given(body: object) -> str:
    """The reason in an error's JSON: `error` (vLLM, OpenAI) or `detail` (FastAPI)."""
    if isinstance(body, dict):
        body = body.get("error") or body.get("detail") or body
    if isinstance(body, dict):
        body = body.get("message") or body
    return str(body)


def _origin(url: str) -> str:
    """`http://host:port` of a URL below it, where vLLM has /health."""
    return "/".join(url.split("/")[:3])


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: 'Connection refused' is wrapped three deep."""
    link: BaseException | None = error
    while link:
        yield link
        link = link.__cause__ or link.__context__


def _reason(error: BaseException) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return _shorten(strerror or str(error) or type(error).__name__, 120)


def _shorten(text: str, width: int) -> str:
    """The text as one line of at most this many characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."
