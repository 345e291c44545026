"""The page of a tenant's API keys and invitations, and the page of a job's links."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from common.errors import Conflict, InvalidRequest
from common.store.labels import LONGEST_LABEL
from common.store.sessions import INVITE_AGE
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.services.services import services
from web.wire.links import base_url


@pages.get("/people")
@logged_in
def people(tenant: str) -> Response:
    return _people(tenant)


@pages.post("/people/keys")
@logged_in
def create_key(tenant: str) -> Response:
    """Shows the new key, once."""
    try:
        made = services().api_keys.create_key(tenant, _name())
    except (InvalidRequest, Conflict) as error:
        return _people(tenant, error=("key", error.message), status=error.status)
    return _people(tenant, key=made, status=201)


@pages.post("/people/keys/<key_id>/revoke")
@logged_in
def revoke_key(tenant: str, key_id: str) -> Any:
    services().api_keys.revoke_key(key_id, tenant)
    return redirect(url_for("pages.people"), 303)


@pages.post("/people/invites")
@logged_in
def invite(tenant: str) -> Response:
    """Shows the new link, once."""
    try:
        token = services().sessions.invite(tenant, _name())
    except (InvalidRequest, Conflict) as error:
        return _people(tenant, error=("invite", error.message), status=error.status)
    link = f"{base_url(services())}{url_for('pages.login_page', token=token)}"
    return _people(tenant, link=link, status=201)


@pages.post("/people/invites/<invite_id>/take-back")
@logged_in
def take_back(tenant: str, invite_id: str) -> Any:
    services().sessions.take_back(tenant, invite_id)
    return redirect(url_for("pages.people"), 303)


@pages.get("/jobs/<job_id>/shares")
@logged_in
def shares(tenant: str, job_id: str) -> Response:
    return _shares(tenant, job_id)


@pages.post("/jobs/<job_id>/shares")
@logged_in
def share(tenant: str, job_id: str) -> Response:
    """Shows the new link, once."""
    try:
        secret = services().shares.create(job_id, tenant, _name())
    except (InvalidRequest, Conflict) as error:
        return _shares(tenant, job_id, error=error.message, status=error.status)
    path = url_for("pages.open_shared_job", job_id=job_id, token=secret)
    return _shares(tenant, job_id, link=f"{base_url(services())}{path}", status=201)


@pages.post("/jobs/<job_id>/shares/<share_id>/revoke")
@logged_in
def revoke_share(tenant: str, job_id: str, share_id: str) -> Any:
    services().store.check_owner(job_id, tenant)
    services().shares.revoke(job_id, share_id)
    return redirect(url_for("pages.shares", job_id=job_id), 303)


def _name() -> str:
    return request.form.get("name", "").strip()


def _people(
    tenant: str,
    *,
    key: str = "",
    link: str = "",
    error: tuple[str, str] = ("", ""),
    status: int = 200,
) -> Response:
    """The page; `error` is a message and the form that it belongs to: `key` or `invite`."""
    api_keys = services().api_keys.keys_of(tenant)
    page = render_template(
        "people.html",
        tenant=tenant,
        api_keys=api_keys,
        valid_keys=sum(entry.revoked_at is None for entry in api_keys),
        invites=services().sessions.invites(tenant),
        browsers=services().sessions.browsers(tenant),
        days=INVITE_AGE // 86400,
        new_key=key,
        new_link=link,
        error_at=error[0],
        error=error[1],
        longest=LONGEST_LABEL,
        typed=request.form.get("name", "") if error[1] else "",
    )
    return _never_kept(page, status)


def _shares(
    tenant: str, job_id: str, *, link: str = "", error: str = "", status: int = 200
) -> Response:
    page = render_template(
        "shares.html",
        tenant=tenant,
        job=job_view(services(), job_id, tenant),
        shares=services().shares.of(job_id),
        new_link=link,
        error=error,
        longest=LONGEST_LABEL,
        typed=request.form.get("name", "") if error else "",
    )
    return _never_kept(page, status)


def _never_kept(page: str, status: int) -> Response:
    """A page that may show a secret: no cache may keep it."""
    response = make_response(page, status)
    response.headers["Cache-Control"] = "no-store"
    return response
