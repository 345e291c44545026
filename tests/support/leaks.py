"""Finds keys that would last for ever: without a time to live, and not deleted with an owner.

What may last is listed here by family; the parts of a job are read from the purge in the Lua
library, which is what removes them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import redis

from common.store import keys
from common.store.batches import job_of

FOREVER = re.compile(  # as many as there are models, tenants and API keys
    r"pm:(tick|due|beside|metrics|version|workers|models|tenants|keys|finished|finished:bytes|hooks:due"
    r"|derived:(line:[^:]+|turns|busy)"
    r"|batches:(due|sizing|turns):[^:]+|batches:busy|hooks:line:[^:]+|hooks:turns"
    r"|evaluated|evals:(due|turns):[^:]+"
    r"|(tokenizer|key|queued|stored):[^:]+|queued|recount|tenant:[^:]+(:jobs|:batches|:sweeps|:studies|:keys)?"
    r"|presets:[^:]+(:contents|:used)?"
    r"|(model|vtime|vclock|unfinished|suspects|room|woken):.+|(ready|interactive):[^:]+(:[^:]+)?)"
)
OWNED = re.compile(r"pm:(job|held|worker|replay|hook|batch|sweep|eval):([^:]+)(?::([a-z]+))?")
STUDY = re.compile(r"pm:study:([^:]+)(:(rows|tasks|open|leases|given|votes|raters|rated:[^:]+))?")
RATER = re.compile(r"pm:rater:[^:]+")
KEY = re.compile(r"pm:idem:[^:]+:.+")  # of a tenant, any text
SWEEP_KEY = re.compile(r"pm:sweepidem:[^:]+:.+")


@cache
def purged_parts() -> set[str]:
    """The parts of a job that its purge removes."""
    library = (files("common.store") / "lua" / "lib" / "remove.lua").read_text()
    source = library.partition("local function purge(job)")[2]
    listed = re.search(r"for _, part in ipairs\(\{(.*?)\}\)", source, re.S)
    beside = re.search(
        r"local function forget_beside\(id\).*?for _, part in ipairs\(\{(.*?)\}\)", library, re.S
    )
    assert listed and beside and "forget_beside(job.id)" in source
    hooks = (
        {"hooks"} if "forget_hooks(key('job', job.id, 'hooks'), job.tenant)" in source else set()
    )
    evals = {"evals"} if "forget_evaluations(job.id)" in source else set()
    return set(re.findall(r"'([a-z]+)'", listed[1] + beside[1])) | hooks | evals


def leaks(client: redis.Redis) -> list[str]:
    """Names of keys that nothing will ever remove."""
    names = sorted(name.decode() for name in client.scan_iter("pm:*", count=1000))
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.ttl(name)
    return [
        name
        for name, ttl in zip(names, pipe.execute(), strict=True)
        if ttl == -1 and not _owned(client, name)
    ]


def _owned(client: redis.Redis, name: str) -> bool:
    if FOREVER.fullmatch(name):
        return True
    if KEY.fullmatch(name):  # lives as long as the job that it made, which lists it
        job_id = (client.get(name) or b"").split()[1].decode()
        return client.zscore(keys.job(job_id, "idem"), name) is not None
    if SWEEP_KEY.fullmatch(name):  # lives as long as the sweep that it made
        return bool(client.exists(keys.sweep((client.get(name) or b"").split()[1].decode())))
    if RATER.fullmatch(name):  # goes with its study, or when it is revoked
        study = (client.get(name) or b"").split()[0].decode()
        return bool(client.exists(keys.study(study, "raters")))
    if match := STUDY.fullmatch(name):  # goes when its tenant deletes it
        tenant = (client.hget(keys.study(match[1]), "tenant") or b"").decode()
        return bool(tenant) and client.zscore(keys.tenant_studies(tenant), match[1]) is not None
    match = OWNED.fullmatch(name)
    if not match:
        return False
    kind, owner, part = match.groups()
    if kind in ("held", "worker", "replay"):  # reaped with its lease
        return client.zscore("pm:workers", owner) is not None
    if kind == "hook":  # goes with the job or batch that lists it
        whose = (client.hget(name, "owner") or b"").decode()
        return any(
            owner.encode() in client.lrange(f"pm:{kind}:{whose}:hooks", 0, -1)
            for kind in ("job", "batch")
        )
    if kind == "batch":  # is validated, waits for its purge, or goes with its job
        tenant = (client.hget(keys.batch(owner), "tenant") or b"").decode()
        lists = (
            client.zscore(keys.batches_due(tenant), owner),
            client.zscore("pm:due", f"batch:{owner}"),
        )
        return lists != (None, None) or bool(client.exists(keys.job(job_of(owner))))
    if kind == "eval":  # goes with its job, which lists it
        job_id = (client.hget(keys.evaluation(owner), "job") or b"").decode()
        return bool(job_id) and client.zscore(keys.job(job_id, "evals"), owner) is not None
    if kind == "sweep":  # goes with its last job
        jobs = client.zrange(keys.sweep(owner, "jobs"), 0, -1)
        return bool(jobs) and all(client.exists(keys.job(job.decode())) for job in jobs)
    if part is not None and part not in purged_parts():
        return False
    status = client.hget(f"pm:job:{owner}", "status")
    if status is None:
        return False
    ended = status in (b"completed", b"cancelled", b"expired")
    return not ended or client.zscore("pm:due", f"purge:{owner}") is not None
