"""Every Redis key promptmill owns: the schema, and the only place that spells one.

All keys begin with `pm:`; times are milliseconds of the Redis server's clock unless a field says
otherwise. The Lua scripts under `lua/` build the same names (their shared head is `lua/lib.lua`); a
test holds the two lists against each other.

A job
    job:{id}            hash    tenant, model, digest, status, total, counts by state, cursor (items
    never claimed start
                                here), cost and weight (expected tokens and stored bytes of an
                                item), surplus (bytes that its result is expected to take above 3 a
                                token: log-probabilities), n_max (most slots an item takes) and
                                n_min (fewest; none where all take n_max), priority, created_at,
                                started_at, finished_at, deadline, prompt_tokens, completion_tokens,
                                bytes (of items and results), hooks (events wanted), retention (ms),
                                interactive, token_budget, error_rate (0: no limit), batch (whose
                                lines the items are), retry_of and retried_by (jobs: each other's,
                                the last if there are several), flags cancel_requested (and
                                cancel_reason), deadline_passed and paused, suspected (1 once a
                                worker was lost with items of it), streamed (1 once an item of it
                                was), streams (continuations to be streamed), indexed (1: custom_ids
                                are in `in`; 0.1.0's first jobs have none), spec (JSON: params,
                                webhook, metadata, limits, chat_template_kwargs, rendered_at: the
                                time that chat templates are told, in unix seconds)
    job:{id}:in         hash    first index of a chunk -> zlib(JSON list of items); `#bucket` ->
    digests, eight bytes
                                each, of the custom_ids in that bucket (`stage.custom_id_digest`)
    job:{id}:starts     zset    first index of each chunk, so that an item's chunk is found
    job:{id}:st         string  one state byte per item (`ItemState.byte`) job:{id}:needs
    string  a byte per item, the slots it takes; only where not all take the same, and until the job
                                ends
    job:{id}:retry      zset    index -> attempts charged x 2^32 + index, of items handed back by a
    lost or
                                draining worker, and of those that a worker passed over because it
                                is too small
    job:{id}:attempts   hash    index -> `charged free`: attempts used up, losses not charged; only
    where a worker was
                                lost
    job:{id}:from       hash    index -> how far it got: zlib(JSON list of token ids per
    continuation), or
                                `@incarnation`
                                whose checkpoint tells
    job:{id}:out        hash    index -> zlib(JSON of the result) or JSON job:{id}:order      string
    4-byte big-endian indices in order of completion: the cursor of who follows job:{id}:hooks
    list    ids of the job's webhook events job:{id}:streams    set     indices of items that are
    streamed and have no result yet job:{id}:events:{index}    list    what such an item said, an
    entry a flush: JSON list of [continuation, position
                                of the first token, [token, ...]]; written by stream, dropped with
                                the result
  They live until `due` says purge, retention_days after the job ended, or until finished jobs take
  more than retention_bytes. Written by attach, append, exchange, edit, cancel, tick, release,
  delete.
    finished            zset    job -> when it ended
    finished:bytes      string  bytes of all finished jobs

Submitting
    stage:{id}:in, stage:{id}:starts, stage:{id}:needs
                                       like the job's, while an upload streams in; TTL one hour;
                                       attach renames them
    stage:{id}:done                    string  first index of what was appended; TTL one hour;
    written by append idem:{tenant}:{key}                string  `fingerprint job-id`, of an append
    with `first-index count`; TTL 24 h;
                                       written by attach and append

Files and batches (OpenAI's dialect)
    file:{id}           hash    tenant, filename, purpose, bytes, stored (bytes as they are kept),
    created_at,
                                expires_at: `due` purges it then; TTL ten minutes more
    file:{id}:data      hash    number of a chunk -> zlib(256 KiB of it); TTL as the file's, one
    hour until it is whole file:{id}:verdicts  hash    endpoint -> JSON of what its validation as a
    batch came to (`web/openai/verdicts.py`);
                                TTL until the file expires
    batch:{id}          hash    tenant, file, endpoint, window (as it was written), expires_at,
    metadata and webhook
                                (JSON), created_at, output_ttl (ms), cancelling_at; while it is
                                validated tries and claim (who does it); then queued_at, or
                                failed_at, cancelled_at or expired_at and errors (JSON);
                                output_gone, error_gone (deleted); sized (items, from the first on,
                                whose lines were measured), sized_output, sized_error (their bytes).
                                Its job has the id job_0… where it has batch_…, and tells all else
    batchidem:{tenant}:{key}    string  `fingerprint batch-id`; TTL 24 h; written by create_batch
    batch:{id}:hooks    list    ids of the events of a batch that came to have no job
    batches:due:{tenant}      zset    batch -> when its validation is to begin, or when the claim on
    it ends batches:sizing:{tenant}   zset    batch -> when its files are to be measured on, until
    they are whole batches:turns:due, batches:turns:sizing
                        zset    tenant -> its turn, the first is served next; only tenants that have
                        such a line
    batches:busy        hash    tenant -> the batch of it that was claimed last for validation
    batches:due, batches:sizing
                        zset    the lines of earlier versions, one for all tenants; claim_… moves
                        what is in them
  A batch is purged with its job, or by `due` where none was made of it.

Fair serving
    ready:{model}             zset    tenant -> virtual time (tokens), only tenants with something
    claimable ready:{model}:{tenant}    zset    job -> created_at - priority x 10 minutes
    interactive:{model}, interactive:{model}:{tenant}    the same for interactive jobs, which go
    first
                                      (in the names of these four a model's `:` is `%3A` and its `%`
                                      is `%25`: model `x:t` shares no key with tenant t of model x)
    suspects:{model}          zset    job -> rank x 2^43 + created_at, only jobs with something
    claimable whose worker
                                was lost; they are no part of the lists above
    queued, queued:{tenant}   hash    items, tokens, bytes: what waits, in all and by tenant; what
    admission goes by. In
                                      all surplus, too
    stored:{tenant}           hash    jobs, files: bytes that a tenant keeps, without interactive
    jobs; what admission
                                      goes by
    recount                   hash    how far a tick got with counting that anew: tenant, what (jobs
    or files), score
                                      (the last created_at that is counted), sum (of those up to
                                      it); nth (of the tenants by name, in this round), began (when
                                      the round did)
    unfinished:{model}        set     jobs that are not over, paused ones included; no other weights
    are served under
                                      the name while there are any
    vtime:{model}             hash    tenant -> virtual time, also while it has nothing to do
    vclock:{model}            string  virtual time of the last pick room:{model}              zset
    incarnation -> load: the workers that have room, by the share of their slots that
                                      is taken; a wake counts as some more until the worker's next
                                      exchange
    woken:{model}             zset    incarnation -> when it was last woken; removed by its next
    exchange

Workers
    workers             zset    incarnation -> end of its lease worker:{inc}        hash    model,
    digest, slots, room, device, engine, host, pid, started_at, call, cohort (what it
                                does about suspects, and since when or until when), passed (where it
                                goes on, behind jobs that do not fit it); removed when it is reaped
    held:{inc}          hash    `job index` -> attempt: what the incarnation may write; removed when
    it is reaped replay:{inc}        string  the answer to its last exchange, under the call number
    in worker:{inc}; removed
                                when it is reaped
    checkpoint:{inc}    list    zlib(JSON) of tokens its items generated, a blob a beat; TTL one
    hour grown:{inc}         set     `job index` of held items that got further, as a checkpoint
    tells; TTL, gone when it is
                                reaped
    gpu:{uuid}          string  host and process that use the device; TTL, renewed by its holder
    tick                hash    at: when the last tick ran; models: where its walk through them goes
    on; purge_from:
                                nothing is purged before, because time jumped
    metrics             hash    metric and labels, joined by \\x1f -> how often: what was ever
    counted, by scripts and
                                by processes (`common/store/metrics.py`); a field a route and
                                status, and a model
    due                 zset    `expire:{job}`, `purge:{job}`, `batch:{batch}` or `file:{file}`
    (purge it) ->
                                when

Models
    models              set     names of all models ever served
    model:{name}        string  ModelCard as JSON
    tokenizer:{digest}  string  the tokenizer's file, compressed

Webhooks (the outbox)
    hook:{event}        hash    owner (a job or a batch), type, created_at, data (JSON), status
                                (`outbox.HookState`), tries (JSON list of `outbox.Try`),
                                claim (who is trying it right now); goes with its owner
    hooks:due           zset    event -> when it is to be tried next, or when the claim on it ends
    hooks:line:{tenant} zset    event -> when it came due; of those that wait for the tenant's turn
    hooks:turns         zset    tenant -> its turn, the first is served next; only tenants with such
    a line hooks:busy:{tenant} zset    event -> end of the claim on it: the tenant's deliveries
    under way; TTL of a claim

Accounts
    tenant:{t}          hash    webhook_secret, webhook_url (told of batches that name none),
    created_at tenant:{t}:jobs     zset    job -> created_at tenant:{t}:batches  zset    batch ->
    created_at tenant:{t}:files    zset    file -> created_at; TTL of the file that lives longest
    gone:{tenant}       zset    job, batch or file that left its list -> when it had been created: a
    place to go on from left:{tenant}       zset    the same -> when it left; those of more than a
    day ago, and the oldest of more than
                                10,000, are forgotten when the next leaves; both have a TTL of a day
    tenants             set     all tenants key:{id}            hash    tenant, name, digest
    (SHA-256 of the secret), created_at, revoked_at keys                set     ids of all keys
    login:{digest}      string  tenant of a login link; TTL 10 minutes; taken once tenant:{t}:links
    zset    digest of a login link -> when it ends; TTL of the last one tenant:{t}:sessions zset
    digest of a browser's session -> when it ends; TTL of the last one begun:{digest}      string
    tenant of the session that began a moment ago, for a login that is sent again; TTL one
                                minute
  0.1.0's first sessions were signed by `session_secret`, which nothing reads any more.

Connections
    webs                zset    web process -> end of its lease; TTL of the lease web:{process}
    hash    `kind owner` -> how many event streams (`stream`), chats (`chat`) or slow bodies
                                (`body`) a tenant or an address may keep open there; TTL of the
                                lease; written by permit and hold_permits

Versions
    version             hash    schema (the newest that a part wrote), compatible (the oldest whose
    parts may work here)
                                and version (of the part that wrote it); written by meet. While a
                                backup is restored compatible is 1,000,000

Channels
    pm:changes          `job` or `job status`: its state or results changed pm:tokens           `job
    index entry`: what was just put into job:{id}:events:{index} pm:work:{inc}       the model's
    name: there is work for this worker, which begins a turn or, in the middle of one,
                        looks now
    pm:fence            nothing; published so that a wait for disk or replicas covers what came
    before pm:wishes           job ids that workers should hear of before their next heartbeat
"""

from __future__ import annotations

from common import ids

PREFIX = "pm:"
CHANGES = PREFIX + "changes"
TOKENS = PREFIX + "tokens"
METRICS = PREFIX + "metrics"
WISHES = PREFIX + "wishes"
FENCE = PREFIX + "fence"
WORKERS = PREFIX + "workers"
MODELS = PREFIX + "models"
TENANTS = PREFIX + "tenants"
KEYS = PREFIX + "keys"
DUE = PREFIX + "due"
VERSION = PREFIX + "version"
RESTORING = 1_000_000  # as what is compatible: nobody, until a restore is done
HOOKS_DUE = PREFIX + "hooks:due"


def job(job_id: str, part: str = "") -> str:
    return f"{PREFIX}job:{ids.job(job_id)}" + (f":{part}" if part else "")


def stage(stage_id: str, part: str) -> str:
    return f"{PREFIX}stage:{stage_id}:{part}"


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


def api_key(key_id: str) -> str:
    return f"{PREFIX}key:{ids.api_key(key_id)}"


def sessions(tenant_name: str) -> str:
    return f"{PREFIX}tenant:{tenant_name}:sessions"
