"""promptmill behind nginx and Caddy, configured as docs/deployment.md says, at the root and under a
path."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import openai
import pytest
import requests
from playwright.sync_api import Browser, expect

from tests.field.proxies import Caddy, Nginx, Ports, Proxy
from tests.support.browser import Console
from tests.support.up import Running, run

LIMIT = 4 * 2**20  # bytes of a body
DELAY = "0.02"  # seconds a token takes


@dataclass
class Site:
    """A running promptmill and the proxy before it. `prefix` is empty or `/promptmill`."""

    running: Running
    proxy: Proxy
    prefix: str

    @property
    def url(self) -> str:
        """As browsers see it."""
        return f"https://127.0.0.1:{self.proxy.ports.tls}{self.prefix}"

    @property
    def plain(self) -> str:
        """The same without TLS, for clients that would have to be told of our certificate."""
        return f"http://127.0.0.1:{self.proxy.ports.plain}{self.prefix}"

    @property
    def key(self) -> str:
        return self.running.server()["api_key"]

    def call(self, method: str, url: str, **options: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {self.key}"
            return session.request(method, url, verify=str(self.proxy.cert), timeout=30, **options)

    def command(self, *arguments: str | Path) -> str:
        done = run(
            *arguments, env={"PROMPTMILL_URL": f"{self.plain}/", "PROMPTMILL_API_KEY": self.key}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


THOROUGH = [(Nginx, ""), (Nginx, "cut off")]  # what goes over everything
MODES = [*THOROUGH, (Nginx, "handed on"), (Caddy, ""), (Caddy, "cut off"), (Caddy, "handed on")]


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], tuple[Running, Ports]]]:
    """Answers a promptmill under a prefix, and the ports that its proxy must have; each is started
    once."""
    known: dict[str, tuple[Running, Ports]] = {}
    with ExitStack() as stops:

        def start(prefix: str) -> tuple[Running, Ports]:
            if prefix not in known:
                ports = Ports()
                running = Running(
                    tmp_path_factory.mktemp("site"),
                    *("--engine", "echo", "--model", "echo", "--port", str(ports.backend)),
                    PROMPTMILL_PUBLIC_URL=f"https://127.0.0.1:{ports.tls}{prefix}/",
                    PROMPTMILL_TRUSTED_PROXIES="127.0.0.1",
                    PROMPTMILL_MAX_UPLOAD_BYTES=str(LIMIT),
                    PROMPTMILL_ECHO_DELAY=DELAY,
                )
                stops.callback(running.stop)
                known[prefix] = running.wait_until_ready(), ports
            return known[prefix]

        yield start


def name_of(mode: tuple[type[Proxy], str]) -> str:
    return f"{mode[0].__name__} {mode[1]}".strip()


@pytest.fixture(scope="module", params=MODES, ids=name_of)
def site(
    request: pytest.FixtureRequest,
    start: Callable[[str], tuple[Running, Ports]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    kind, under = request.param
    if kind is Caddy and not shutil.which("caddy"):
        pytest.skip("needs Caddy (Debian's package `caddy`), which not every system has")
    prefix = "/promptmill" if under else ""
    running, ports = start(prefix)
    proxy = kind(tmp_path_factory.mktemp("proxy"), ports, under)
    yield Site(running, proxy, prefix)
    proxy.stop()


thorough = pytest.mark.parametrize("site", THOROUGH, ids=name_of, indirect=True)


@thorough
def test_what_is_printed_at_start_names_the_public_url(site: Site) -> None:
    assert f"promptmill runs at {site.url};" in site.running.said
    assert f"{site.url}/login?token=" in site.running.said
    assert f"curl {site.url}/v1/jobs " in site.running.said


@thorough
def test_the_command_line_works_through_the_proxy(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"say {n}"}) + "\n" for n in range(3)))
    job_id = site.command("submit", file, "--param", "temperature=0").strip()
    assert "completed: 3 succeeded" in site.command("watch", job_id)
    assert len(site.command("results", job_id).splitlines()) == 3


def test_the_links_of_a_job_lead_to_it(site: Site) -> None:
    job = site.call("POST", f"{site.url}/v1/jobs", json={"prompts": ["a b"]}).json()
    assert {link.startswith(f"{site.url}/") for link in job["links"].values()} == {True}
    assert (
        site.call("GET", job["links"]["self"], params={"wait": 20}).json()["status"] == "completed"
    )
    assert site.call("GET", job["links"]["results_csv"]).status_code == 200
    servers = site.call("GET", f"{site.url}/openapi.json").json()["servers"]
    assert servers == [{"url": site.url}]


def test_an_openai_client_streams_through_the_proxy(site: Site) -> None:
    direct = openai.DefaultHttpx2Client(trust_env=False)
    with openai.OpenAI(
        base_url=f"{site.plain}/v1", api_key=site.key, max_retries=0, http_client=direct
    ) as client:
        chunks = client.completions.create(
            model="echo", prompt="one two three four", max_tokens=20, stream=True
        )
        assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].text]) > 1
        assert "echo" in [model.id for model in client.models.list()]


def test_events_are_not_held_back(site: Site) -> None:
    """The job is not over before its first event came: it waits for us."""
    job_id = site.call("POST", f"{site.url}/v1/jobs", json={"prompts": ["word " * 1000]}).json()[
        "id"
    ]
    with site.call("GET", f"{site.url}/v1/jobs/{job_id}/events", stream=True) as stream:
        lines = stream.iter_lines(chunk_size=1)
        assert next(line for line in lines if line.startswith(b"event:")) == b"event: job"
        assert site.call("POST", f"{site.url}/v1/jobs/{job_id}/cancel").status_code == 202
        assert b"event: job.finished" in lines


def test_bodies_are_limited_by_the_web_tier_not_by_the_proxy(site: Site) -> None:
    def upload(size: int) -> requests.Response:
        line = json.dumps({"prompt": "x" * 1000}).encode() + b"\n"
        parts = {
            "file": ("a.jsonl", line * (size // len(line))),
            "job": (None, json.dumps({"model": "echo"})),
        }
        return site.call("POST", f"{site.url}/v1/jobs/check", files=parts)

    assert upload(LIMIT - 100_000).status_code == 200
    refused = upload(LIMIT + 100_000)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


@thorough
def test_the_pages_work_in_a_browser(site: Site, chromium: Browser) -> None:
    link = run("login", "--data", site.running.folder).stdout.strip()
    assert link.startswith(f"{site.url}/login?token=")
    context, console = chromium.new_context(ignore_https_errors=True), Console()
    context.set_default_timeout(10_000)
    context.on("page", console.listen)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(link)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{site.url}/")
    (cookie,) = context.cookies()
    assert (cookie["path"], cookie["secure"], cookie["httpOnly"]) == (
        site.prefix or "/",
        True,
        True,
    )

    page.get_by_label("Prompts to paste").fill(
        "\n".join(f"these are eight words in line number {n}" for n in range(4))
    )
    page.get_by_label("temperature", exact=True).fill("0")
    expect(page.locator("#count")).to_contain_text("4 prompts")
    page.get_by_role("button", name="Try the first 3").click()
    expect(page.locator("#trial [data-terminal=yes]")).to_be_visible()
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url(f"{site.url}/jobs/job_*")
    expect(page.locator("[data-terminal=yes]")).to_be_visible()
    expect(page.locator(".items .output .text")).to_have_count(4)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert re.fullmatch(r"job_\w+\.csv", download.value.suggested_filename)
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("link", name="Jobs", exact=True)).to_have_attribute(
        "aria-current", "page"
    )
    page.get_by_role("link", name="Workers").click()
    page.get_by_role("button", name="Log out everywhere").click()
    page.wait_for_url(f"{site.url}/login")
    context.add_cookies([cast(Any, cookie)])  # a copy of it
    console.expect_status(401)
    console.expected.append("Clear-Site-Data header")
    answer = page.goto(f"{site.url}/jobs")
    assert answer and answer.status == 401
    assert [address for address in asked if not address.startswith((f"{site.url}/", "data:"))] == []
    assert [line for line in console.lines if not line.startswith(tuple(console.expected))] == []
    context.close()
