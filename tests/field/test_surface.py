"""Paths as clients ask them: slashes too many, paths that are none, and what vLLM's server has
beside OpenAI's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.field.byte_model import CONTEXT, END
from tests.field.client_fields import WEATHER
from tests.support.up import Running

MODEL = "bytes"
HI = [{"role": "user", "content": "Hi"}]
RENDERED = "user: Hi\nassistant:"


class Caller:
    """Requests with the stack's key, which follow no redirect."""

    def __init__(self, server: dict[str, str]):
        self.url = server["url"]
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {server['api_key']}"

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(
            method, self.url + path, timeout=30, allow_redirects=False, **options
        )


@pytest.fixture(scope="module")
def call(stack: Running) -> Iterator[Caller]:
    caller = Caller(stack.server())
    yield caller
    caller.session.close()


# method, path, status, media type, what the message names
UNKNOWN = [
    ("POST", "/v1/embeddings", 404, "application/json", "/openapi.json"),
    ("POST", "/v1/chat/completion", 404, "application/json", "/v1/chat/completions"),
    ("POST", "/v1/predictions", 404, "application/json", "/v1/completions"),
    ("POST", "/v1/models/owner/name/predictions", 404, "application/json", "/v1/models/{name}"),
    ("POST", f"/v1/models/{MODEL}/predictions", 404, "application/json", "/v1/models/{name}"),
    ("GET", "/v1/models/owner/name", 404, "application/json", "owner/name"),
    ("GET", "/v1", 404, "application/json", "/openapi.json"),
    ("GET", "/v1/job", 404, "application/json", "/v1/jobs"),
    ("GET", "/v1/jobs/job_0123456789/result", 404, "application/problem+json", "/v1/jobs/{job_id}"),
    ("GET", "/nothing", 404, "application/problem+json", "/openapi.json"),
    ("GET", "/v1/chat/completions", 405, "application/json", "POST"),
    ("DELETE", "/v1/models", 405, "application/json", "GET"),
    ("POST", f"/v1/models/{MODEL}", 405, "application/json", "GET"),
    ("PUT", "/v1/jobs", 405, "application/problem+json", "GET and POST"),
    ("GET", "/tokenize", 405, "application/json", "POST"),
]


@pytest.mark.parametrize(("method", "path", "status", "kind", "named"), UNKNOWN)
def test_what_there_is_not_is_told_in_the_shape_of_its_path_and_names_what_there_is(
    call: Caller, method: str, path: str, status: int, kind: str, named: str
) -> None:
    answer = call(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, kind)
    body = answer.json()
    if kind == "application/json":
        assert set(body["error"]) == {"message", "type", "param", "code"}
    assert named in (body["error"]["message"] if kind == "application/json" else body["detail"])
    assert ("Allow" in answer.headers) == (status == 405)


CHAT = {"model": MODEL, "messages": HI, "max_tokens": 2}
SLASHES = [
    ("GET", "/v1/models/", None, 200),
    ("GET", f"/v1/models/{MODEL}/", None, 200),
    ("GET", "/v1//models", None, 200),
    ("POST", "/v1/chat/completions/", CHAT, 200),
    ("POST", "//v1/chat//completions//", CHAT, 200),
    ("POST", "/v1/jobs/", {"prompts": ["a"], "params": {"max_tokens": 1}}, 202),
    ("GET", "/health/", None, 200),
    ("GET", "/metrics/", None, 200),
    ("GET", "/login/", None, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), SLASHES)
def test_slashes_too_many_are_none(
    call: Caller, method: str, path: str, body: Any, status: int
) -> None:
    assert call(method, path, json=body).status_code == status


# body, tokens' text (bytes, one a token), answer's max_model_len
TOKENIZED = [
    ({"prompt": "Hi"}, "Hi"),
    ({"model": MODEL, "prompt": "Hi", "add_special_tokens": False}, "Hi"),
    ({"messages": HI}, RENDERED),
    (
        {
            "messages": HI,
            "add_generation_prompt": True,
            "continue_final_message": False,
            "tools": None,
        },
        RENDERED,
    ),
    ({"prompt": ""}, ""),
    ({"prompt": "a" * 20_000}, "a" * 20_000)
    if CONTEXT > 20_000
    else ({"prompt": "b" * CONTEXT}, "b" * CONTEXT),
]


@pytest.mark.parametrize(("body", "text"), TOKENIZED)
def test_texts_are_tokenized_and_back_as_vllm_s_clients_ask(
    call: Caller, body: Any, text: str
) -> None:
    told = call("POST", "/tokenize", json=body).json()
    assert (told["count"], len(told["tokens"])) == (len(text), len(text))
    assert (told["max_model_len"], told["token_strs"]) == (CONTEXT, None)
    assert call("POST", "/detokenize", json={"model": MODEL, "tokens": told["tokens"]}).json() == {
        "prompt": text
    }


def test_the_tokens_of_a_chat_are_those_of_its_tools_too(call: Caller) -> None:
    counts = [
        call("POST", "/tokenize", json={"messages": HI, "tools": tools}).json()["count"]
        for tools in ([], [WEATHER], [WEATHER, {**WEATHER, "function": {"name": "now"}}])
    ]
    assert counts == sorted(set(counts))


def test_tokens_are_told_by_their_names_in_the_vocabulary(call: Caller) -> None:
    told = call("POST", "/tokenize", json={"prompt": f"a b{END}", "return_token_strs": True}).json()
    assert told["token_strs"] == ["a", "Ġ", "b", END]


REFUSED = [
    ("/tokenize", {"prompt": "a", "messages": HI}, 400, "prompt"),
    ("/tokenize", {}, 400, "prompt"),
    ("/tokenize", {"prompt": "a", "tools": [WEATHER]}, 400, "tools"),
    ("/tokenize", {"prompt": "a", "model": "nobody"}, 404, "model"),
    ("/tokenize", {"prompt": "a" * (CONTEXT * 20)}, 400, "prompt"),
    ("/tokenize", {"messages": HI, "add_generation_prompt": False}, 400, "add_generation_prompt"),
    ("/tokenize", {"prompt": "a", "add_special_token": False}, 400, "add_special_token"),
    ("/detokenize", {"tokens": [-1]}, 400, "tokens.0"),
    ("/detokenize", {"tokens": "a"}, 400, "tokens"),
    ("/detokenize", {}, 400, "tokens"),
]


@pytest.mark.parametrize(("path", "body", "status", "param"), REFUSED)
def test_what_cannot_be_tokenized_is_refused_by_name(
    call: Caller, path: str, body: Any, status: int, param: str
) -> None:
    answer = call("POST", path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_a_tokenizer_is_described(call: Caller) -> None:
    told = call("GET", "/tokenizer_info").json()
    assert told["tokenizer_class"] and told["chat_template"] and told["model_max_length"] == CONTEXT
    assert call("GET", "/tokenizer_info?model=nobody").status_code == 404


def test_health_needs_no_key_and_tokens_do(stack: Running) -> None:
    url = stack.server()["url"]
    with requests.Session() as session:
        session.trust_env = False
        health = session.get(f"{url}/health", timeout=10)
        assert (health.status_code, health.content) == (200, b"")
        for path in ("/tokenize", "/detokenize"):
            assert (
                session.post(f"{url}{path}", json={}, timeout=10).json()["error"]["code"]
                == "unauthorized"
            )
        assert session.get(f"{url}/tokenizer_info", timeout=10).status_code == 401
