"""What a tenant may do with studies: make, see, list and delete them, and say who rates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from common.errors import Conflict, InvalidRequest, NotFound
from common.store.job import Job
from common.store.raters import Rater, new_rater_id
from common.store.studies import About, Study, StudyJob, Task, new_study_id
from evals.seeds import generator
from evals.sides import swapped
from web.intake.idempotency import key_use, made_before
from web.jobs.study_results import study_results
from web.jobs.study_rows import draw_rows, match_rows
from web.jobs.views import moment, page
from web.schemas.studies import (
    RaterMade,
    RaterView,
    StudyDetail,
    StudyJobView,
    StudyList,
    StudyProgress,
    StudyRequest,
    StudyView,
)
from web.services.services import Services
from web.wire.links import base_url, study_links

LONGEST_NAME = 200  # characters of a job's name that a study remembers


def create_study(
    services: Services, tenant: str, wanted: StudyRequest, idempotency_key: str | None = None
) -> tuple[StudyView, bool]:
    """Make a study with a copy of the texts that are rated. Answers also whether an earlier request
    with the same idempotency key had made it.

    Raises:
        KeyReused: the idempotency key made a study of other content.
        NotFound: a job is another tenant's, or there is none.
        Conflict: a job is not over, the tenant has too many studies, or the study that the key
            made was deleted.
        InvalidRequest: no row succeeded in all jobs, or the jobs or texts are too large.
        StorageFull: the tenant would keep too many bytes.
    """
    use = key_use(idempotency_key, wanted.model_dump(mode="json", exclude_unset=True))
    made = services.studies.made_with(tenant, use.idem) if use.idem else None
    if before := made_before(use, made, "study"):
        return _made(services, tenant, before), True
    jobs = [services.store.job(job_id, tenant) for job_id in wanted.jobs]
    for job in jobs:
        if not job.status.terminal:
            message = f"job {job.id} is not over yet; make the study when it is"
            raise Conflict(message, code="job_not_over", field="jobs")
    study_id = new_study_id()
    with services.study_turns.turn(tenant):
        matches = match_rows(services, jobs)
        drawn = draw_rows(services, jobs, matches, study_id, wanted.sample)
        if not drawn.rows:
            message = "no row succeeded in all of these jobs with a text that can be shown"
            raise InvalidRequest(message, code="no_rows", field="jobs")
        about = About(
            kind=wanted.kind,
            jobs=tuple(map(_as_called, jobs)),
            criteria=tuple(wanted.criteria),
            matched_by=matches.by,
            matched=len(matches.indices),
            rows=len(drawn.rows),
            left_out=drawn.left_out,
        )
        tasks = _tasks(study_id, about)
        most = services.settings.max_stored_bytes
        try:
            size = services.studies.stage_rows(study_id, drawn.rows)
            made_id = services.studies.create(
                study_id, tenant, about, tasks, wanted.raters, size, most, use
            )
        finally:  # those of the study that was made stay
            services.studies.drop_rows(study_id)
    return _made(services, tenant, made_id), made_id != study_id


def _made(services: Services, tenant: str, study_id: str) -> StudyView:
    try:
        return view_of(services, services.studies.get(study_id, tenant))
    except NotFound:
        message = f"this Idempotency-Key made {study_id}, which was deleted since; take a new key"
        raise Conflict(message, code="study_deleted", field="Idempotency-Key") from None


def study_view(services: Services, study_id: str, tenant: str) -> StudyDetail:
    """One study with its people and what their votes amount to; `NotFound` if it is another
    tenant's."""
    study = services.studies.get(study_id, tenant)
    people = [_rater_view(rater) for rater in services.raters.of(study_id)]
    results = study_results(services, study)
    return StudyDetail(**dict(view_of(services, study)), people=people, results=results)


def study_list(services: Services, tenant: str, after: str | None, limit: int) -> StudyList:
    """A tenant's studies, newest first, as many as make a `page`."""
    views = (view_of(services, study) for study in services.studies.walk(tenant, after))
    data, more = page(((view, len(view.model_dump_json())) for view in views), limit)
    return StudyList(data=data, has_more=more, after=data[-1].id if more else None)


def add_rater(services: Services, study_id: str, tenant: str, name: str) -> RaterMade:
    """A link for a person who is to rate; its address is told only now. Raises what `Raters.add`
    does."""
    rater_id, name = new_rater_id(), name.strip()
    first = swapped(study_id, rater_id, 0)
    secret = services.raters.add(study_id, tenant, rater_id, name, first)
    return RaterMade(id=rater_id, name=name, url=f"{base_url(services)}/rate/open?token={secret}")


def view_of(services: Services, study: Study) -> StudyView:
    about = study.about
    return StudyView(
        id=study.id,
        kind=about.kind,
        jobs=[
            StudyJobView(id=job.id, name=job.name or None, model=job.model) for job in about.jobs
        ],
        criteria=list(about.criteria),
        matched_by=about.matched_by,
        matched=about.matched,
        rows=about.rows,
        left_out=about.left_out,
        tasks=study.tasks,
        raters=study.wanted,
        progress=StudyProgress(done=study.ratings, total=study.to_give),
        created_at=moment(study.created_at),
        links=study_links(services, study.id),
    )


def _as_called(job: Job) -> StudyJob:
    name = str(job.spec.get("metadata", {}).get("name") or "")
    return StudyJob(job.id, name[:LONGEST_NAME], job.model)


def _tasks(study_id: str, about: About) -> Sequence[Task]:
    """Every task of every row, in an order that tells nothing of rows and jobs."""
    places = range(len(about.jobs))
    pairs = [*combinations(places, 2)] if about.kind == "pairs" else [(at, at) for at in places]
    tasks = [Task(row, left, right) for row in range(about.rows) for left, right in pairs]
    return [tasks[at] for at in generator(study_id, "tasks").permutation(len(tasks))]


def _rater_view(rater: Rater) -> RaterView:
    return RaterView(
        id=rater.id,
        name=rater.name,
        done=rater.done,
        created_at=moment(rater.created_at),
        revoked_at=moment(rater.revoked_at),
    )
