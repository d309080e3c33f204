"""How do I ask the judge's server a question with nothing but HTTP? (requests)

    python llm_client/vllm_api_client.py
    python llm_client/vllm_api_client.py --prompt "Почему небо синее?" --max-tokens 100 --stream

It needs a running server (bash vllm_server/run_vllm_server.sh). The settings come from .env.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so it runs from any folder
from llm_client import command_line, server_faults
from llm_client.command_line import Ending, Question
from llm_client.surroundings import Route


def main() -> None:
    """Ask one question and print the answer."""
    question = command_line.read_question(__doc__)
    model = command_line.choose_model(question, served_models(question))
    command_line.print_answer(question, model, ask(question, model))


def served_models(question: Question) -> list[str]:
    """GET /v1/models: the names that a request may put into `model`."""
    with call(question, "GET", "/models") as response:
        return [model["id"] for model in response.json()["data"]]


def ask(question: Question, model: str) -> Iterator[str | Ending]:
    """POST /v1/chat/completions: the answer, whole or piece by piece, then what it cost."""
    messages = [{"role": "user", "content": question.prompt}]
    if question.system:
        messages.insert(0, {"role": "system", "content": question.system})
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        # Left out, these two would come from the model's own generation_config.json.
        "max_tokens": question.max_tokens,
        "temperature": question.temperature,
    }
    if question.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    with call(question, "POST", "/chat/completions", body) as response:
        finish, usage = None, dict[str, Any]()
        for reply in events(question, response) if question.stream else [response.json()]:
            for choice in reply["choices"]:  # none in the last event, the one with the usage
                yield choice["delta" if question.stream else "message"].get("content") or ""
                finish = choice["finish_reason"] or finish
            usage = reply.get("usage") or usage
        yield Ending(finish, usage)


def events(question: Question, response: requests.Response) -> Iterator[dict[str, Any]]:
    """The JSON of each server-sent event: `data: {...}`, and at the end `data: [DONE]`."""
    for line in response.iter_lines(chunk_size=1):  # the default may wait for 512 bytes
        data = line.decode().removeprefix("data:").strip()
        if data.startswith("{"):
            event = json.loads(data)
            if "error" in event:  # it began with status 200, and then the server failed
                raise server_faults.refused(question.route, 500, data)
            yield event


@contextmanager
def call(
    question: Question, method: str, path: str, body: object = None
) -> Iterator[requests.Response]:
    """One request; whatever fails in it, or in reading its reply, becomes one line."""
    route = question.route
    try:
        with (
            session(route) as http,
            http.request(
                method,
                route.url + path,
                json=body,
                timeout=(command_line.CONNECT_SECONDS, question.timeout),
                stream=True,
            ) as response,
        ):
            if not response.ok:
                raise server_faults.refused(route, response.status_code, response.text)
            yield response
    except requests.JSONDecodeError as error:
        raise server_faults.foreign_reply(route, error) from error
    except requests.RequestException as error:
        raise server_faults.no_reply(route, error, question.timeout) from error
    except server_faults.FOREIGN_REPLY as error:
        raise server_faults.foreign_reply(route, error) from error


def session(route: Route) -> requests.Session:
    """The key as "Authorization: Bearer ...", and the proxy and certificates of the machine."""
    http = requests.Session()
    # Left to itself, requests takes a proxy even to 127.0.0.1, and a login of ~/.netrc for the key.
    http.trust_env = False
    http.headers.update(route.headers)
    http.proxies = {"all": route.proxy} if route.proxy else {}
    http.verify = route.certificates or True
    return http


if __name__ == "__main__":
    command_line.run(main)
