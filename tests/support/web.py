"""The web tier in this process, and a worker that hands in results as real ones do."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import redis
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from common.settings import Settings
from common.store.incarnation import Exchanged, Incarnation, Result
from common.store.packing import pack
from common.types import ItemState, ModelCard
from tests.support.cards import card
from web.app import create_app
from web.services.services import EXTENSION, Services


class Answer(TestResponse):
    """An answer of the test client, whose JSON is taken to be there."""

    if TYPE_CHECKING:

        @property
        def json(self) -> Any: ...


class Worker:
    """A worker of one model: takes items and hands in whatever it is told to say."""

    def __init__(self, client: redis.Redis, model: ModelCard):
        self.incarnation = Incarnation(client, model, lease=30)
        self.incarnation.register({"host": "box", "pid": "1", "started_at": "1893456000"})

    def take(self, room: int = 8) -> Exchanged:
        return self.incarnation.exchange([], room)

    def finish(
        self, taken: Exchanged, text: str = "said", n: int = 1, error: str | None = None
    ) -> None:
        results = [
            self._result(run.job_id, run.first + offset, run.attempt, text, n, error)
            for run in taken.runs
            for offset in range(run.count)
        ]
        self.incarnation.exchange(results, 0)

    def run(self, room: int = 8, **say: Any) -> None:
        self.finish(self.take(room), **say)

    def say(self, *outputs: dict[str, Any]) -> None:
        """Take an item for each of these, and hand it in with this output."""
        self.hand_in(*({"outputs": [output]} for output in outputs))

    def hand_in(self, *results: dict[str, Any]) -> None:
        """Take an item for each of these, and hand it in with these fields of its result."""
        taken = self.take(sum(max(1, len(found.get("outputs", ()))) for found in results))
        places = ((run, run.first + offset) for run in taken.runs for offset in range(run.count))
        stored = [
            self._stored(run.job_id, index, run.attempt, found.pop("outputs", []), None, **found)
            for (run, index), found in zip(places, results, strict=True)
        ]
        self.incarnation.exchange(stored, 0)

    def _result(
        self, job_id: str, index: int, attempt: int, text: str, n: int, error: str | None
    ) -> Result:
        outputs = [{"text": f"{text} {index}"}] * n
        return self._stored(job_id, index, attempt, outputs, error)

    def _stored(
        self,
        job_id: str,
        index: int,
        attempt: int,
        said: Sequence[dict[str, Any]],
        error: str | None,
        **more: Any,
    ) -> Result:
        n = len(said)
        common = {"finish_reason": "stop", "token_count": 2, "logprobs": None}
        outputs = [common | output for output in said]
        stored = {
            "outputs": [] if error else outputs,
            "usage": {"prompt_tokens": 3, "completion_tokens": 2 * n, "total_tokens": 3 + 2 * n},
            "error": {"code": error, "message": "it failed"} if error else None,
            "seed": 7,
            "attempts": attempt,
            "queued_s": 0.1,
            "run_s": 0.2,
            "worker": self.incarnation.id,
            **more,
        }
        state = ItemState.FAILED if error else ItemState.SUCCEEDED
        return Result(job_id, index, attempt, state, 3, 2 * n, pack(stored))


class Web:
    """A client with a key, and the services behind it."""

    def __init__(self, settings: Settings):
        self.app = create_app(settings)
        self.services: Services = self.app.extensions[EXTENSION]
        self.card = card()
        self.services.fleet.publish(self.card, b"")
        self.key = self.services.api_keys.create_key("acme")
        self.client: FlaskClient = self.app.test_client()

    def call(self, method: str, path: str, key: str | None = None, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {key or self.key}"} | options.pop("headers", {})
        return cast(Answer, self.client.open(path, method=method, headers=headers, **options))

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> Answer:
        return self.call("POST", path, **options)

    def submit(self, *prompts: str, **fields: Any) -> str:
        """The id of a job with these prompts."""
        answer = self.post(
            "/v1/jobs", json={"prompts": list(prompts) or ["one two three"]} | fields
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json["id"])

    def upload(
        self,
        name: str,
        content: bytes,
        path: str = "/v1/jobs",
        headers: Any = None,
        **job: Any,
    ) -> Answer:
        parts = {"file": FileStorage(io.BytesIO(content), name), "job": json.dumps(job)}
        boundary, body = encode_multipart(parts)
        kind = f"multipart/form-data; boundary={boundary}"
        return self.post(path, data=body, content_type=kind, headers=headers or {})

    def worker(self, model: ModelCard | None = None) -> Worker:
        return Worker(self.services.redis, model or self.card)

    def job_keys(self) -> list[bytes]:
        """Every key that a submit leaves."""
        return sorted(
            key
            for part in ("job", "stage", "idem", "ready")
            for key in self.services.redis.keys(f"pm:{part}:*")
        )


class Site(Web):
    """A browser that is logged in as the tenant `acme`."""

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.browser = self.log_in("acme")

    def log_in(self, tenant: str) -> FlaskClient:
        browser = self.app.test_client()
        answer = browser.post("/login", data={"token": self.services.sessions.create_login(tenant)})
        assert answer.status_code == 303
        return browser

    def look(self, path: str) -> str:
        """A page's HTML."""
        answer = self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def send(self, action: str = "submit", **fields: Any) -> Answer:
        """Press a button of the form. Double underscores are dots: `params__n="2"`."""
        typed = {name.replace("__", "."): value for name, value in fields.items()}
        form = {"action": action, "prompts": "hello there", **typed}
        return cast(Answer, self.browser.post("/", data=form))
