"""The name of every Redis key promptmill owns; no other code spells one.

`docs/redis-keys.md` says what each key holds, who writes it and how long it lives. The Lua scripts
under `lua/` build the same names (`lua/lib/keys.lua`, `key`); a test compares them with that page.
"""

from __future__ import annotations

from common import ids

PREFIX = "pm:"
CHANGES = PREFIX + "changes"
SAID = PREFIX + "said"
METRICS = PREFIX + "metrics"
HISTORY = PREFIX + "history"
WISHES = PREFIX + "wishes"
FENCE = PREFIX + "fence"
WORKERS = PREFIX + "workers"
MODELS = PREFIX + "models"
TENANTS = PREFIX + "tenants"
KEYS = PREFIX + "keys"
DUE = PREFIX + "due"
VERSION = PREFIX + "version"
RESTORING = 1_000_000  # as `compatible`: no part may work here until a restore is done
EVALUATIONS_TURNS = PREFIX + "evals:turns:due"
HOOKS_DUE = PREFIX + "hooks:due"


def job(job_id: str, part: str = "") -> str:
    return f"{PREFIX}job:{ids.job(job_id)}" + (f":{part}" if part else "")


def stage(stage_id: str, part: str) -> str:
    return f"{PREFIX}stage:{stage_id}:{part}"


def idempotency(tenant_name: str, key: str) -> str:
    return f"{PREFIX}idem:{ids.tenant(tenant_name)}:{key}"


def worker(incarnation: str) -> str:
    return f"{PREFIX}worker:{incarnation}"


def held(incarnation: str) -> str:
    return f"{PREFIX}held:{incarnation}"


def work(incarnation: str) -> str:
    return f"{PREFIX}work:{incarnation}"


def room(model_name: str) -> str:
    return f"{PREFIX}room:{ids.model(model_name)}"


def checkpoint(incarnation: str) -> str:
    return f"{PREFIX}checkpoint:{incarnation}"


def queued(tenant_name: str = "") -> str:
    return f"{PREFIX}queued" + (f":{ids.tenant(tenant_name)}" if tenant_name else "")


def stored(tenant_name: str) -> str:
    return f"{PREFIX}stored:{ids.tenant(tenant_name)}"


def suspects(model_name: str) -> str:
    return f"{PREFIX}suspects:{ids.model(model_name)}"


def unfinished(model_name: str) -> str:
    return f"{PREFIX}unfinished:{ids.model(model_name)}"


def gpu(uuid: str) -> str:
    return f"{PREFIX}gpu:{uuid}"


def model(name: str) -> str:
    return f"{PREFIX}model:{ids.model(name)}"


def tokenizer(digest: str) -> str:
    return f"{PREFIX}tokenizer:{digest}"


def hook(event: str) -> str:
    return f"{PREFIX}hook:{event}"


def tenant(name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(name)}"


def tenant_jobs(name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(name)}:jobs"


def tenant_batches(name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(name)}:batches"


def tenant_files(name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(name)}:files"


def form(tenant_name: str, draft_id: str) -> str:
    return f"{PREFIX}form:{ids.tenant(tenant_name)}:{draft_id}"


def tenant_forms(tenant_name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(tenant_name)}:forms"


def presets(tenant_name: str, part: str = "") -> str:
    return f"{PREFIX}presets:{ids.tenant(tenant_name)}" + (f":{part}" if part else "")


def gone(name: str) -> str:
    return f"{PREFIX}gone:{ids.tenant(name)}"


def file(file_id: str, part: str = "") -> str:
    return f"{PREFIX}file:{ids.file(file_id)}" + (f":{part}" if part else "")


def batches_due(tenant_name: str) -> str:
    return f"{PREFIX}batches:due:{ids.tenant(tenant_name)}"


def batches_sizing(tenant_name: str) -> str:
    return f"{PREFIX}batches:sizing:{ids.tenant(tenant_name)}"


def batch(batch_id: str) -> str:
    return f"{PREFIX}batch:{ids.batch(batch_id)}"


def derived_line(tenant_name: str) -> str:
    return f"{PREFIX}derived:line:{ids.tenant(tenant_name)}"


def sweep(sweep_id: str, part: str = "") -> str:
    return f"{PREFIX}sweep:{ids.sweep(sweep_id)}" + (f":{part}" if part else "")


def sweep_key(tenant_name: str, key: str) -> str:
    return f"{PREFIX}sweepidem:{ids.tenant(tenant_name)}:{key}"


def comparison(comparison_id: str) -> str:
    return f"{PREFIX}comparison:{ids.comparison(comparison_id)}"


def tenant_sweeps(name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(name)}:sweeps"


def study(study_id: str, part: str = "") -> str:
    return f"{PREFIX}study:{ids.study(study_id)}" + (f":{part}" if part else "")


def study_key(tenant_name: str, key: str) -> str:
    return f"{PREFIX}studyidem:{ids.tenant(tenant_name)}:{key}"


def rated(study_id: str, rater_id: str) -> str:
    return study(study_id, f"rated:{ids.rater(rater_id)}")


def rater(digest: str) -> str:
    return f"{PREFIX}rater:{digest}"


def tenant_studies(name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(name)}:studies"


def evaluation(evaluation_id: str, part: str = "") -> str:
    return f"{PREFIX}eval:{ids.evaluation(evaluation_id)}" + (f":{part}" if part else "")


def evaluation_key(tenant_name: str, key: str) -> str:
    return f"{PREFIX}evalidem:{ids.tenant(tenant_name)}:{key}"


def evaluations_due(tenant_name: str) -> str:
    return f"{PREFIX}evals:due:{ids.tenant(tenant_name)}"


def api_key(key_id: str) -> str:
    return f"{PREFIX}key:{ids.api_key(key_id)}"


def sessions(tenant_name: str) -> str:
    return f"{PREFIX}tenant:{tenant_name}:sessions"


def invites(tenant_name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(tenant_name)}:invites"


def links(tenant_name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(tenant_name)}:links"


def tenant_keys(name: str) -> str:
    return f"{PREFIX}tenant:{ids.tenant(name)}:keys"
