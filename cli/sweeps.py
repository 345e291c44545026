"""Sweeps on the command line: where a job's id is asked for, a sweep's stands for its jobs."""

from __future__ import annotations

import json

from cli.client import SWEEP, Client
from cli.progress import ended
from cli.terminal import print_line


def is_sweep(given: str) -> bool:
    return given.startswith(SWEEP)


def jobs_of(client: Client, given: str) -> list[str]:
    """The ids of a sweep's jobs; of a job its own."""
    if not is_sweep(given):
        return [given]
    return [job["id"] for job in client.sweep(given)["jobs"]]


def show_sweep(client: Client, sweep_id: str) -> None:
    """Print each of its jobs with its parameters, and where its page is."""
    sweep = client.sweep(sweep_id)
    print_line(f"id:         {sweep['id']}")
    print_line(f"name:       {sweep['metadata'].get('name', '')}".rstrip())
    print_line(f"status:     {sweep['status']}")
    print_line(f"model:      {sweep['model']}")
    for job in sweep["jobs"]:
        params = ", ".join(f"{name}={json.dumps(value)}" for name, value in job["params"].items())
        done = f"{ended(job)}/{job['counts']['total']}"
        print_line(f"{'job:':<11} {job['id']}  {job['status']}  {done}  {params}")
    print_line(f"page:       {sweep['links']['page']}")


def cancel_sweep(client: Client, sweep_id: str) -> None:
    """Cancel every job of a sweep that is not over, and print how each stands then."""
    for job in client.cancel_sweep(sweep_id)["jobs"]:
        print_line(f"{job['id']}: {job['status']}")
