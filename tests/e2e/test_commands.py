"""The commands against a running promptmill: submit, watch, results, cancel, keys, login,
listen."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from cli.valkey import free_port
from tests.support.processes import spawn
from tests.support.up import COMMAND, Running, run
from tests.support.up import running as started

HOOK_PORT = free_port()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(
        tmp_path_factory.mktemp("commands") / "data",
        PROMPTMILL_WEBHOOK_ALLOW=f"127.0.0.1:{HOOK_PORT}",
        PROMPTMILL_ECHO_DELAY="0.02",
        PROMPTMILL_ECHO_FAIL_ON="please fail",
    ) as up:
        yield up


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        "".join(json.dumps({"custom_id": f"c{n}", "prompt": f"say {n}"}) + "\n" for n in range(5))
    )
    return file


def promptmill(running: Running, *arguments: str | Path) -> subprocess.CompletedProcess:
    return run(*arguments, "--data", running.folder)


def submitted(running: Running, *arguments: str | Path) -> str:
    done = promptmill(running, "submit", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_file_is_submitted_watched_and_its_results_written(running: Running, jsonl: Path) -> None:
    job_id = submitted(running, jsonl, "--param", "max_tokens=2", "--param", "temperature=0")
    watched = promptmill(running, "watch", job_id)
    assert watched.returncode == 0
    assert "completed: 5 succeeded" in watched.stdout
    rows = [json.loads(line) for line in promptmill(running, "results", job_id).stdout.splitlines()]
    assert {row["custom_id"]: row["outputs"][0]["text"] for row in rows} == {
        f"c{n}": f"say {n}" for n in range(5)
    }
    assert len(promptmill(running, "results", job_id, "--format", "csv").stdout.splitlines()) == 6


def test_watch_fails_when_an_item_failed(running: Running, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("this is fine\nplease fail here\n")
    watched = promptmill(running, "watch", submitted(running, tmp_path / "prompts.txt"))
    assert watched.returncode == 1
    assert "1 succeeded, 1 failed" in watched.stdout


def test_bad_lines_are_told_with_their_numbers(running: Running, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "good"}\n{"prompt": 7}\n{"prompt"\n')
    done = promptmill(running, "submit", tmp_path / "bad.jsonl")
    assert done.returncode == 1
    assert "line 2" in done.stderr
    assert "line 3" in done.stderr
    one = promptmill(running, "submit", tmp_path / "bad.jsonl", "--param", "top_p=7").stderr
    # Once, not once more for its place.
    assert one == "promptmill: params.top_p must be at most 1, not 7\n"


def test_a_running_job_can_be_cancelled(running: Running, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("a long one\n")
    job_id = submitted(
        running, tmp_path / "long.txt", "--param", "max_tokens=4000", "--param", "ignore_eos=true"
    )
    assert promptmill(running, "cancel", job_id).returncode == 0
    assert "cancelled" in promptmill(running, "watch", job_id).stdout


def test_a_key_works_until_it_is_revoked(
    running: Running, jsonl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = promptmill(running, "key", "create", "--name", "for the test").stdout.strip()
    assert "for the test" in promptmill(running, "key", "list").stdout
    monkeypatch.setenv("PROMPTMILL_URL", running.url)
    monkeypatch.setenv("PROMPTMILL_API_KEY", key)
    submitted(running, jsonl)
    assert promptmill(running, "key", "revoke", key).returncode == 0
    assert "key" in promptmill(running, "submit", jsonl).stderr


def test_a_tenants_webhook_url_is_set_told_and_cleared(running: Running) -> None:
    assert promptmill(running, "webhook-url").stdout == "none\n"
    assert (
        promptmill(running, "webhook-url", "https://example.com/hook").stdout
        == "https://example.com/hook\n"
    )
    assert promptmill(running, "webhook-url").stdout == "https://example.com/hook\n"
    wrong = promptmill(running, "webhook-url", "example.com")
    assert wrong.returncode == 1 and "http://" in wrong.stderr
    unknown = promptmill(running, "webhook-url", "https://example.com/", "--tenant", "nobody")
    assert unknown.returncode == 1 and "no tenant nobody" in unknown.stderr
    assert promptmill(running, "webhook-url", "--clear").stdout == "none\n"


def test_a_login_link_opens_the_pages_once_and_logout_closes_them(running: Running) -> None:
    link = promptmill(running, "login").stdout.strip()
    assert link.startswith(running.url)
    with requests.Session() as browser:
        browser.trust_env = False
        assert browser.get(link, timeout=10).ok
        token = link.partition("token=")[2]
        login = browser.post(f"{running.url}/login", data={"token": token}, timeout=10)
        assert login.ok, login.text
        assert browser.get(f"{running.url}/", timeout=10).ok
        assert promptmill(running, "logout").stdout == "every browser of default is logged out\n"
        assert browser.get(f"{running.url}/", timeout=10).status_code == 401
        refused = promptmill(running, "logout", "--tenant", "defualt")
        assert (refused.returncode, refused.stdout) == (1, "")
    with requests.Session() as second:
        second.trust_env = False
        assert (
            second.post(f"{running.url}/login", data={"token": token}, timeout=10).status_code
            == 401
        )


def test_listen_prints_verified_webhooks(running: Running, jsonl: Path) -> None:
    command = [*COMMAND, "listen", "--port", str(HOOK_PORT), "--data", running.folder]
    listener = spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert listener.stdout and listener.stderr
    try:
        assert "Listening" in listener.stderr.readline()
        job_id = submitted(running, jsonl, "--webhook", f"http://127.0.0.1:{HOOK_PORT}/hook")
        event = json.loads(listener.stdout.readline())
        assert event["type"] == "job.finished"
        assert job_id in json.dumps(event)
        listener.send_signal(signal.SIGINT)
        assert listener.wait(10) == 0
    finally:
        listener.kill()
        listener.communicate()


def test_listen_names_a_port_that_is_taken(running: Running) -> None:
    done = promptmill(running, "listen", "--port", running.url.rpartition(":")[2])
    assert done.returncode == 2
    assert "choose another --port" in done.stderr


def test_the_doctor_finds_nothing_wrong(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTMILL_MODEL", "echo")
    done = promptmill(running, "doctor")
    assert done.returncode == 0, done.stdout


def test_an_unknown_job_is_told(running: Running) -> None:
    assert promptmill(running, "watch", "job_nowhere").returncode == 1


@pytest.mark.parametrize(
    ("env", "arguments", "says"),
    [
        (
            {"PROMPTMILL_URL": "nonsense", "PROMPTMILL_API_KEY": "x"},
            ["watch", "x"],
            "PROMPTMILL_URL='nonsense'",
        ),
        (
            {"PROMPTMILL_URL": "http://", "PROMPTMILL_API_KEY": "x"},
            ["watch", "x"],
            "http://127.0.0.1:8000",
        ),
        ({"REDIS_URL": "nonsense"}, ["key", "list"], "REDIS_URL='nonsense'"),
        ({}, ["listen", "--secret", "hush"], "--secret: must be `whsec_`"),
        ({}, ["watch", "x"], "--data"),
    ],
)
def test_what_is_set_wrong_is_named(
    tmp_path: Path, env: dict[str, str], arguments: list[str], says: str
) -> None:
    done = run(*arguments, "--data", tmp_path / "none", env=env)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_redis_that_is_away_sends_to_the_doctor(tmp_path: Path) -> None:
    done = run(
        "key", "list", "--data", tmp_path, env={"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    )
    assert done.returncode == 1
    assert "promptmill doctor" in done.stderr


def test_a_server_that_is_away_is_told(tmp_path: Path, jsonl: Path) -> None:
    env = {"PROMPTMILL_URL": f"http://127.0.0.1:{free_port()}", "PROMPTMILL_API_KEY": "pm_x"}
    done = run("submit", jsonl, "--data", tmp_path, env=env)
    assert done.returncode == 1
    assert "is promptmill up?" in done.stderr


ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202e"


def on_a_terminal(running: Running, *arguments: str) -> str:
    """What a terminal is sent by a command that writes to one."""
    ours, theirs = pty.openpty()
    process = spawn([*COMMAND, *arguments, "--data", running.folder], stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0, said
    return said.decode()


def test_a_terminal_is_commanded_by_no_output_of_a_model(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"custom_id": ESCAPES, "prompt": f"say {ESCAPES}"}) + "\n")
    job_id = submitted(running, file, "--param", "temperature=0")
    assert "completed" in on_a_terminal(running, "watch", job_id)
    for kind in ("jsonl", "csv"):
        said = on_a_terminal(running, "results", job_id, "--format", kind)
        assert "\\u001b]0;owned\\u0007" in said
        assert not set(said) & set(ESCAPES) - set("]0;owned[2J")
    written = promptmill(running, "results", job_id, "--format", "csv").stdout
    assert ESCAPES in written  # a file gets what was said


def test_no_request_forges_a_line_of_the_log(running: Running) -> None:
    forged = "12:00:00 INFO    web.requests: GET /forged"
    with requests.Session() as session:
        session.trust_env = False
        path = quote(f"/v1/\n{forged}\n{ESCAPES}", safe="/")
        assert session.get(f"{running.url}{path}", timeout=10).status_code == 404
    log = (running.folder / "logs" / "web.log").read_text()
    assert f"\\n{forged}\\n\\u001b]0;owned" in log
    assert forged not in log.splitlines()
    assert not set(log) & set(ESCAPES) - set("]0;owned[2J")


def test_what_a_server_says_commands_no_terminal(running: Running) -> None:
    answer = json.dumps(
        {"detail": f"no {ESCAPES}", "errors": [{"message": f"{ESCAPES}!", "field": ESCAPES}]}
    ).encode()

    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        env = {
            "PROMPTMILL_URL": f"http://127.0.0.1:{server.server_port}",
            "PROMPTMILL_API_KEY": "x",
        }
        said = run("watch", "job_1", env=env).stderr
        server.shutdown()
        thread.join(10)
    assert said.count("\\u001b]0;owned\\u0007\\u001b[2J\\u009b2J\\u202e") == 3
    assert not set(said) & set(ESCAPES) - set("]0;owned[2J")
