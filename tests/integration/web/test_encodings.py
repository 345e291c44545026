"""Bodies with a byte-order mark, with U+FFFD, and compressed; answers compressed where that is
asked for."""

from __future__ import annotations

import gzip
import json
import time
import zlib

import pytest

from tests.support.web import Answer, Web

BOM = b"\xef\xbb\xbf"
GOOD = json.dumps({"prompts": ["one two"]}).encode()
LARGE = {"prompts": ["one two three"] * 500}


def post(web: Web, body: bytes, path: str = "/v1/jobs", **headers: str) -> Answer:
    return web.post(path, data=body, content_type="application/json", headers=headers)


def gzipped(web: Web, body: bytes, path: str = "/v1/jobs") -> Answer:
    return post(web, body, path, **{"Content-Encoding": "gzip"})


@pytest.mark.parametrize("pad", [b"", b" " * 100_000], ids=["short", "long"])
def test_a_byte_order_mark_before_a_json_body_is_skipped(web: Web, pad: bytes) -> None:
    assert post(web, BOM + pad + GOOD).status_code == 202
    assert post(web, BOM + BOM + pad + GOOD).status_code == 400


def form(job: bytes, name: bytes = b"job") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name, job) + (
        b'--x\r\nContent-Disposition: form-data; name="file"; '
        b'filename="a.txt"\r\n\r\none\r\n--x--\r\n'
    )


def upload(web: Web, body: bytes) -> Answer:
    return web.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=x")


def test_a_byte_order_mark_before_the_part_job_is_skipped(web: Web) -> None:
    assert upload(web, form(BOM + b"{}")).status_code == 202


def test_a_replacement_character_that_was_written_is_text_and_bytes_that_are_no_utf8_are_refused(
    web: Web,
) -> None:
    written = upload(web, form('{"metadata": {"k": "\ufffd"}}'.encode()))
    assert (written.status_code, written.json["metadata"]) == (202, {"k": "\ufffd"})
    broken = upload(web, form(b'{"metadata": {"k": "\xef\xbf"}}'))
    assert (broken.status_code, broken.json["code"]) == (400, "malformed_form")
    assert "'job' is not valid UTF-8 at byte 21" in broken.json["detail"]


@pytest.mark.parametrize(
    "body",
    [b"", b"--x", b"--x--", b"--x\r\n\r\na\r\n--x--", form(b"{}")[:-20], b"--y\r\n\r\n"],
    ids=range(6),
)
def test_what_is_no_multipart_is_a_400_that_says_so(web: Web, body: bytes) -> None:
    refused = upload(web, body)
    assert refused.status_code in (400, 422)
    assert refused.json["code"] in ("malformed_form", "missing_field")


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 129]
)
def test_a_form_without_a_boundary_is_a_400(web: Web, kind: str) -> None:
    refused = web.post("/v1/jobs", data=b"x", content_type=kind)
    assert (refused.status_code, refused.json["code"]) == (400, "malformed_form")


def test_gzipped_bodies_are_read_as_what_they_were(web: Web) -> None:
    answer = gzipped(web, gzip.compress(json.dumps(LARGE).encode()))
    assert (answer.status_code, answer.json["counts"]["total"]) == (202, 500)
    assert post(web, GOOD, **{"Content-Encoding": "identity"}).status_code == 202
    headers = {"Content-Encoding": "gzip", "Content-Type": "multipart/form-data; boundary=x"}
    assert web.post("/v1/jobs", data=gzip.compress(form(b"{}")), headers=headers).status_code == 202


@pytest.mark.parametrize("name", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br"])
def test_other_encodings_are_a_415_that_names_what_is_read(web: Web, name: str) -> None:
    refused = post(web, GOOD, **{"Content-Encoding": name})
    assert (refused.status_code, refused.json["code"]) == (415, "unsupported_encoding")
    assert name in refused.json["detail"] and "send gzip" in refused.json["detail"]


PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (GOOD, "is not gzip"),
        (PACKED[:-9], "in the middle"),
        (PACKED[:5], "in the middle"),
        (b"", "in the middle"),
        (PACKED + b"more", "one gzip member"),
        (PACKED + PACKED, "one gzip member"),
        (PACKED[:-8] + bytes(8), "is not gzip"),
    ],
)
def test_what_is_no_whole_gzip_is_a_400(web: Web, body: bytes, says: str) -> None:
    refused = gzipped(web, body)
    assert (refused.status_code, refused.json["code"]) == (400, "malformed_encoding")
    assert says in refused.json["detail"]
    assert web.job_keys() == []


def bomb(head: bytes) -> bytes:
    """A few hundred KB that become 300 MB."""
    packer = zlib.compressobj(1, wbits=31)
    return (
        packer.compress(head)
        + b"".join(packer.compress(bytes(2**20)) for _ in range(300))
        + packer.flush()
    )


def test_limits_are_on_what_a_body_has_unpacked(web: Web) -> None:
    bodies = {
        "application/json": bomb(b"["),
        "multipart/form-data; boundary=x": bomb(form(b"{}")[:-10]),
    }
    for kind, body in bodies.items():
        began = time.monotonic()
        refused = web.post(
            "/v1/jobs", data=body, content_type=kind, headers={"Content-Encoding": "gzip"}
        )
        assert (refused.status_code, refused.json["code"]) == (413, "too_large")
        assert time.monotonic() - began < 10


def fetched(web: Web, path: str, accept: str = "gzip", **headers: str) -> Answer:
    return web.get(path, headers={"Accept-Encoding": accept, **headers})


@pytest.mark.parametrize("path", ["", "/items", "/results.jsonl", "/results.csv"])
def test_answers_are_compressed_for_who_asks(web: Web, path: str) -> None:
    job = web.submit(*LARGE["prompts"][:100])
    web.worker().run(room=200)
    plain, packed = (
        fetched(web, f"/v1/jobs/{job}{path}", accept) for accept in ("identity", "gzip")
    )
    assert "Content-Encoding" not in plain.headers
    assert (
        "Accept-Encoding" in plain.headers["Vary"] and "Accept-Encoding" in packed.headers["Vary"]
    )
    if len(plain.data) >= 1024:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.data) == plain.data
        assert len(packed.data) < len(plain.data)
    else:
        assert packed.data == plain.data


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("gzip", True),
        ("*", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("*, gzip;q=0", False),
        ("br", False),
    ],
)
def test_what_a_client_does_not_take_is_not_sent(web: Web, accept: str, expected: bool) -> None:
    assert ("Content-Encoding" in fetched(web, "/openapi.json", accept).headers) is expected


def test_short_answers_event_streams_and_parquet_stay_as_they_are(web: Web) -> None:
    job = web.submit("one")
    web.worker().run()
    for path in ("/healthz", f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/results.parquet"):
        assert "Content-Encoding" not in fetched(web, path).headers, path


def test_static_files_keep_their_tags_and_ranges(web: Web) -> None:
    plain, packed = (fetched(web, "/static/base.css", accept) for accept in ("identity", "gzip"))
    for answer in (plain, packed):
        assert answer.data
        answer.close()
    tag = plain.headers["ETag"]
    assert packed.headers["ETag"] == f"W/{tag}"
    assert gzip.decompress(packed.data) == plain.data
    for known in (tag, f"W/{tag}"):
        again = fetched(web, "/static/base.css", **{"If-None-Match": known})
        assert (again.status_code, again.data) == (304, b"")
        assert "Accept-Encoding" in again.headers["Vary"]
        again.close()
    part = fetched(web, "/static/base.css", Range="bytes=0-9")
    assert (part.status_code, part.data) == (206, plain.data[:10])
    assert "Content-Encoding" not in part.headers
    part.close()


def test_a_file_comes_back_compressed_as_it_is_read(web: Web) -> None:
    content = b'{"a": 1}\n' * 100_000
    body = form(b"batch", b"purpose").replace(b"one", content)
    file_id = web.post("/v1/files", data=body, content_type="multipart/form-data; boundary=x").json[
        "id"
    ]
    answer = fetched(web, f"/v1/files/{file_id}/content")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.data) == content
