"""Accounts: `promptmill key create|list|revoke`, `login`, `logout`, `webhook-secret` and
`webhook-url`.

These commands use Redis directly, without the web tier.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click
import redis

from cli.commands import Command, Commands
from cli.folder import DataFolder, data_option, find_settings
from cli.login_link import TENANT, login_link
from cli.terminal import print_line
from common.printable import printable
from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.sessions import Sessions
from common.store.tenants import Tenants
from web.intake.validation_messages import validated
from web.schemas.webhooks import Target

tenant_option = click.option("--tenant", default=TENANT, show_default=True, help="The tenant.")


@click.group(cls=Commands)
def key() -> None:
    """Create, list and revoke API keys."""


@key.command()
@tenant_option
@click.option("--name", default="", help="Name shown in lists, such as its purpose.")
@data_option
def create(tenant: str, name: str, folder: DataFolder) -> None:
    """Create a key and print it; it cannot be shown again."""
    print_line(ApiKeys(_client(folder)).create_key(tenant, name))


@key.command("list")
@data_option
def list_keys(folder: DataFolder) -> None:
    """List all keys, without their secrets."""
    for entry in ApiKeys(_client(folder)).list_keys():
        created = datetime.fromtimestamp(entry.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        print_line(
            f"{entry.id}  {created}  {entry.tenant}  "
            f"{printable(entry.name)}{'  revoked' if entry.revoked_at else ''}"
        )


@key.command()
@click.argument("key_id")
@data_option
def revoke(key_id: str, folder: DataFolder) -> None:
    """Revoke a key; KEY_ID is its id or the key itself."""
    ApiKeys(_client(folder)).revoke_key(key_id)
    print_line("revoked")


@click.command(cls=Command)
@tenant_option
@data_option
def login(tenant: str, folder: DataFolder) -> None:
    """Print a link that logs a browser in.

    The link can be used once, within ten minutes.
    """
    settings, server = find_settings(folder), folder.server()
    print_line(
        login_link(
            server.url if server else settings.base_url,
            Sessions(connect(settings.redis_url)),
            tenant,
        )
    )


@click.command(cls=Command)
@tenant_option
@data_option
def logout(tenant: str, folder: DataFolder) -> None:
    """Log out all browsers of a tenant.

    Login links that were not used become invalid, too.
    """
    Sessions(_client(folder)).end_sessions(tenant)
    print_line(f"every browser of {tenant} is logged out")


@click.command("webhook-secret", cls=Command)
@tenant_option
@data_option
def webhook_secret(tenant: str, folder: DataFolder) -> None:
    """Print the secret that signs a tenant's webhooks."""
    print_line(Tenants(_client(folder)).webhook_secret(tenant))


@click.command("webhook-url", cls=Command)
@click.argument("url", required=False)
@click.option("--clear", is_flag=True, help="Remove the URL.")
@tenant_option
@data_option
def webhook_url(url: str | None, clear: bool, tenant: str, folder: DataFolder) -> None:
    """Set or print the webhook URL of batches.

    It gets the events of a tenant's batches that name no URL themselves.
    """
    tenants = Tenants(_client(folder))
    if url and clear:
        raise click.UsageError("give a URL or --clear, not both")
    if url or clear:
        tenants.set_webhook_url(tenant, validated(Target, {"url": url}).url if url else None)
    print_line(tenants.webhook_url(tenant) or "none")


def _client(folder: DataFolder) -> redis.Redis:
    return connect(find_settings(folder).redis_url)
