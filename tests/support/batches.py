"""Batches as a user sees them: lines, files, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
from openai.types import Batch

from tests.support.deployment import Deployment
from tests.support.waiting import wait_until

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
COMPLETIONS: Literal["/v1/completions"] = "/v1/completions"
OVER = {"completed", "failed", "expired", "cancelled"}


def chat(custom_id: str, text: str, **body: Any) -> dict[str, Any]:
    """A line that asks for a chat completion."""
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        **body,
    }
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def completion(custom_id: str, prompt: Any, **body: Any) -> dict[str, Any]:
    """A line that asks for a completion."""
    body = {"model": "echo", "prompt": prompt, "temperature": 0, **body}
    return {"custom_id": custom_id, "method": "POST", "url": COMPLETIONS, "body": body}


def jsonl(lines: list[Any]) -> bytes:
    """Lines as a file; bytes go in as they are."""
    return b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )


class BatchUser(Deployment):
    """What a user of batches does, and the parts that serve one."""

    def upload(
        self, lines: list[Any] | bytes, client: openai.OpenAI | None = None, **options: Any
    ) -> str:
        content = lines if isinstance(lines, bytes) else jsonl(lines)
        made = (client or self.client).files.create(
            file=("requests.jsonl", content), purpose="batch", **options
        )
        return made.id

    def submit(
        self, lines: list[Any] | bytes, endpoint: Any = CHAT, window: Any = "24h", **options: Any
    ) -> Batch:
        return self.client.batches.create(
            input_file_id=self.upload(lines), endpoint=endpoint, completion_window=window, **options
        )

    def wait(self, batch: Batch, *states: str, limit: float = 30.0) -> Batch:
        """The batch once it is in one of these states, by default over."""
        wanted = set(states) or OVER

        def look() -> Batch | None:
            found = self.client.batches.retrieve(batch.id)
            return found if found.status in wanted else None

        return wait_until(look, limit=limit)

    def keep_busy(self) -> Batch:
        """A batch that keeps the validator busy for a second or two: what comes behind it waits."""
        batch = self.submit([chat(f"{i}", "x") for i in range(10_000)])
        wait_until(lambda: self.redis.hget(f"pm:batch:{batch.id}", "claim"))
        return batch

    def run(self, lines: list[Any] | bytes, endpoint: Any = CHAT, **options: Any) -> Batch:
        return self.wait(self.submit(lines, endpoint, **options))

    def rows(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a file; none if there is none."""
        if file_id is None:
            return []
        return [json.loads(line) for line in self.client.files.content(file_id).text.splitlines()]
