"""`promptmill demo`: starts everything, submits a sample batch, prints its answers and webhook."""

from __future__ import annotations

import queue
import sys
from typing import Any

import click

from cli.children import end_on_signals
from cli.client import Client
from cli.commands import Command
from cli.demo_model import fetch_demo
from cli.folder import DataFolder
from cli.listen import Receiver
from cli.login_link import TENANT
from cli.progress import all_succeeded, show_progress, summary
from cli.terminal import print_line
from cli.up import Up, up_options
from common.model_names import DEMO_MODEL
from common.settings import Settings
from common.types import JsonObject

WEBHOOK_LIMIT = 30.0  # seconds until the job's webhook must arrive
# The parts need the receiver's port at their start; the tenant's secret is known only after it.
NO_SECRET_YET = ""

PLAIN: JsonObject = {"temperature": 0}
BALANCED: JsonObject = {"temperature": 0.7, "top_p": 0.9, "seed": 7}
LIVELY: JsonObject = {
    "temperature": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "presence_penalty": 0.3,
    "seed": 11,
}
BATCH = (
    # Without the second sentence the model may answer in French or in English, depending on how
    # numbers are rounded.
    (PLAIN, "What is the capital of France? Answer in one sentence."),
    (PLAIN, "What is the capital of Japan?"),
    (PLAIN, "What is 2 + 2?"),
    (PLAIN, "Name the three primary colors."),
    (BALANCED, "Explain in one sentence why the sky is blue."),
    (BALANCED, "Why do cats purr? Answer in one sentence."),
    (BALANCED, "Give three tips for a good night's sleep."),
    (BALANCED, "What is photosynthesis?"),
    (LIVELY, "Write a short poem about the sea."),
    (LIVELY, "Write a two-line poem about autumn."),
    (LIVELY, "Begin a story about a robot who learns to paint."),
    (LIVELY, "Describe an old lighthouse at night."),
)
MAX_TOKENS = 64


@click.command(cls=Command)
@up_options
@click.option("--once", is_flag=True, help="Exit after the batch, with 0 if every item succeeded.")
def demo(folder: DataFolder, once: bool, **options: Any) -> None:
    """Like `up`, with a small model and a sample batch.

    It serves until Ctrl-C, unless --once is given.
    """
    receiver = Receiver(NO_SECRET_YET)
    settings = Settings.load()
    allowed = ",".join(filter(None, [settings.webhook_allow, receiver.address]))
    running = Up(folder, print_line, env={"PROMPTMILL_WEBHOOK_ALLOW": allowed}, **options)
    if running.settings.model == DEMO_MODEL and not running.settings.is_echo:
        fetch_demo(settings.cache, print_line)
    end_on_signals()
    try:
        running.start()
        receiver.secret = running.tenants.webhook_secret(TENANT)
        receiver.start()
        succeeded = run_batch(running, receiver)
        running.show_usage()
        if once:
            sys.exit(0 if succeeded else 1)
        running.run()
    except KeyboardInterrupt:
        pass
    finally:
        running.stop()
        receiver.stop()


def run_batch(running: Up, receiver: Receiver) -> bool:
    """Submit the batch; print progress, answers and webhook. Returns whether all succeeded."""
    running.wait_for_worker()
    with Client(running.server.url, running.server.api_key) as client:
        job_id = client.submit(sample_job(client, running.settings.model_name, receiver.address))[
            "id"
        ]
        print_line(
            f"Submitted {len(BATCH)} prompts with three sets of decoding parameters: "
            f"{running.server.url}/jobs/{job_id}"
        )
        job = show_progress(client, job_id)
        for item in client.items(job_id):
            show_item(item)
    print_line(f"\n{summary(job)}")
    return show_webhook(receiver, job_id) and all_succeeded(job)


def sample_job(client: Client, model: str, receiver: str) -> JsonObject:
    """The batch as chats, or as plain prompts if the model has no chat template."""
    (card,) = [entry["card"] for entry in client.models() if entry["id"] == model]
    items: list[JsonObject] = []
    for params, text in BATCH:
        asked = (
            {"messages": [{"role": "user", "content": text}]}
            if card["chat_template"]
            else {"prompt": text}
        )
        items.append({**asked, "params": params})
    return {
        "model": model,
        "params": {"max_tokens": MAX_TOKENS},
        "items": items,
        "webhook": {"url": f"http://{receiver}/", "events": ["job.finished"]},
        "metadata": {"from": "promptmill demo"},
    }


def show_item(item: JsonObject) -> None:
    asked = item["prompt"] or item["messages"][-1]["content"]
    setting = ", ".join(f"{name} {value}" for name, value in BATCH[item["index"]][0].items())
    print_line(f"\n{asked}", nl=False, bold=True)
    print_line(f"  ({setting})", dim=True)
    print_line(item["error"]["message"] if item["error"] else item["outputs"][0]["text"].strip())


def show_webhook(receiver: Receiver, job_id: str) -> bool:
    try:
        event = receiver.events.get(timeout=WEBHOOK_LIMIT)
    except queue.Empty:
        reason = (
            receiver.refused.get()
            if not receiver.refused.empty()
            else "see logs/webhooks.log in the data folder"
        )
        print_line(f"No webhook with a valid signature came within {WEBHOOK_LIMIT:.0f} s: {reason}")
        return False
    print_line(
        f"Webhook received, signature verified: {event['type']} of "
        f"{event['data'].get('id', job_id)}"
    )
    return True
