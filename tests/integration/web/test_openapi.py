"""The specification says what the API does, and is made of the models that do it."""

from __future__ import annotations

import re
from typing import Any

from tests.support.web import Web


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*(references(value) for value in node.values())) if node else own
    return set().union(*map(references, node)) if isinstance(node, list) and node else set()


def specification(web: Web) -> Any:
    return web.client.get("/openapi.json").json


def test_every_route_of_the_api_is_in_the_specification(web: Web) -> None:
    paths = specification(web)["paths"]
    described = {(path, method.upper()) for path, methods in paths.items() for method in methods}
    routes = {
        (re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule), method)
        for rule in web.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1/")
    }
    assert routes <= described


def test_the_specification_is_complete_in_itself(web: Web) -> None:
    found = specification(web)
    assert found["openapi"].startswith("3.1")
    parts = {
        f"#/components/{kind}/{name}"
        for kind, known in found["components"].items()
        for name in known
    }
    assert references(found) <= parts
    names = [
        operation["operationId"] for path in found["paths"].values() for operation in path.values()
    ]
    assert len(names) == len(set(names))


def test_every_answer_is_described_by_its_status(web: Web) -> None:
    for path, methods in specification(web)["paths"].items():
        for method, operation in methods.items():
            statuses = set(operation["responses"])
            assert all(status.isdecimal() for status in statuses), f"{method} {path}"
            refused = "404" if operation.get("security") == [{"rater": []}] else "401"
            public = operation.get("security") == []
            assert public or {refused, "503"} <= statuses, f"{method} {path}"


def test_null_and_one_text_for_a_list_are_described_where_they_are_taken(web: Web) -> None:
    schemas = specification(web)["components"]["schemas"]
    stop = schemas["ChatRequest"]["properties"]["stop"]["anyOf"]
    assert {"type": "null"} in stop and [kind["type"] for kind in stop] == [
        "array",
        "string",
        "null",
    ]
    assert {"type": "null"} not in schemas["ChatRequest"]["properties"]["messages"].get("anyOf", [])


def test_a_path_that_looks_like_another_one_tells_its_own_methods(web: Web) -> None:
    assert web.client.options("/v1/jobs/check").headers["Allow"] == "OPTIONS, POST"
    assert (
        web.client.options("/v1/jobs/job_0").headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    )


def test_the_bounds_in_the_specification_are_those_that_refuse(web: Web) -> None:
    params = specification(web)["components"]["schemas"]["SamplingParams"]["properties"]
    # Or null: not given.
    top_p, max_tokens = (params[name]["anyOf"][0] for name in ("top_p", "max_tokens"))
    assert (top_p["exclusiveMinimum"], top_p["maximum"]) == (0, 1)
    body = {"prompts": ["a"], "params": {"max_tokens": max_tokens["maximum"] + 1}}
    assert web.post("/v1/jobs", json=body).status_code == 422


def test_both_ways_to_send_a_job_are_described(web: Web) -> None:
    content = specification(web)["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}


def test_an_address_that_is_too_long_is_described_where_a_query_is_taken(web: Web) -> None:
    found = specification(web)
    responses = found["paths"]["/v1/jobs"]["get"]["responses"]
    assert responses["414"] == {"$ref": "#/components/responses/LongAddress"}
    assert "text/html" in found["components"]["responses"]["LongAddress"]["content"]
    assert "414" not in found["paths"]["/v1/jobs/{job_id}"]["delete"]["responses"]


def test_answers_that_are_computed_first_are_described_before_and_after(web: Web) -> None:
    paths = specification(web)["paths"]
    for path in ("/v1/comparisons", "/v1/comparisons/rows"):
        responses = paths[path]["get"]["responses"]
        before, after = responses["202"], responses["200"]
        assert before["content"] == after["content"]
        assert set(before["headers"]) - set(after["headers"]) == {"Retry-After"}
    computed = {
        path
        for path, methods in paths.items()
        for operation in methods.values()
        if {"200", "202"} <= set(operation["responses"])
    }
    assert computed == {"/v1/comparisons", "/v1/comparisons/rows"}
