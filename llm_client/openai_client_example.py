"""How do I ask the judge's server a question with the openai SDK?

    python llm_client/openai_client_example.py
    python llm_client/openai_client_example.py --system "Answer in one word." --stream

It needs a running server (bash vllm_server/run_vllm_server.sh). The settings come from .env.
"""

import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
from openai.types.chat import ChatCompletionMessageParam

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so it runs from any folder
from llm_client import command_line, server_faults
from llm_client.command_line import Ending, Question


def main() -> None:
    """Ask one question and print the answer."""
    question = command_line.read_question(__doc__)
    client = connect(question)
    with faults_in_one_line(question):  # GET /v1/models
        served = [model.id for model in client.models.list()]
    model = command_line.choose_model(question, served)
    command_line.print_answer(question, model, ask(client, question, model))


def connect(question: Question) -> openai.OpenAI:
    """The SDK speaks to OpenAI's own servers unless it is told otherwise by these two:"""
    route = question.route
    trusted = route.certificates and ssl.create_default_context(cafile=route.certificates)
    return openai.OpenAI(
        # base_url: where the API's paths begin. The SDK appends /models and /chat/completions,
        # so it ends in /v1 here. Without it, the question would go to api.openai.com.
        base_url=route.url,
        # api_key: the SDK refuses to start without one, so any word will do. What it sends as
        # "Authorization: Bearer ..." is the key that vLLM was started with (VLLM_API_KEY), if any.
        api_key="EMPTY",
        default_headers=route.headers,
        # The SDK would try three times and wait ten minutes: too long to learn of a dead server.
        max_retries=0,
        timeout=openai.Timeout(question.timeout, connect=command_line.CONNECT_SECONDS),
        # Left to itself, it would not read NO_PROXY as the others do.
        http_client=openai.DefaultHttpxClient(
            trust_env=False, proxy=route.proxy or None, verify=trusted or True
        ),
    )


def ask(client: openai.OpenAI, question: Question, model: str) -> Iterator[str | Ending]:
    """POST /v1/chat/completions: the answer, whole or piece by piece, then what it cost."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question.prompt}]
    if question.system:
        messages.insert(0, {"role": "system", "content": question.system})
    with faults_in_one_line(question):
        reply = client.chat.completions.create(
            model=model,
            messages=messages,
            # Left out, these two would come from the model's own generation_config.json.
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            stream=question.stream,
            # A stream tells its tokens only when asked to, in a last chunk without choices.
            stream_options={"include_usage": True} if question.stream else openai.omit,
        )
        finish, usage = None, None
        if isinstance(reply, openai.Stream):
            for chunk in reply:
                for piece in chunk.choices:
                    yield piece.delta.content or ""
                    finish = piece.finish_reason or finish
                usage = chunk.usage or usage
        else:
            yield reply.choices[0].message.content or ""
            finish, usage = reply.choices[0].finish_reason, reply.usage
        yield Ending(finish, usage.model_dump() if usage else {})


@contextmanager
def faults_in_one_line(question: Question) -> Iterator[None]:
    """Whatever fails in a call, or in reading its reply, becomes one line."""
    route = question.route
    try:
        yield
    except openai.APIStatusError as error:
        raise server_faults.refused(route, error.status_code, error.response.text) from error
    except openai.APIConnectionError as error:
        raise server_faults.no_reply(route, error, question.timeout) from error
    except openai.APIError as error:  # it began with status 200, and then the server failed
        raise server_faults.refused(route, 500, error.message) from error
    except server_faults.FOREIGN_REPLY as error:
        raise server_faults.foreign_reply(route, error) from error


if __name__ == "__main__":
    command_line.run(main)
