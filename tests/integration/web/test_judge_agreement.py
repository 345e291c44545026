"""A judge beside people who rated the same outputs."""

from __future__ import annotations

from tests.support.derived import answer_all, can_judge, derived, settle
from tests.support.people import finished, prefer, rate, rater, study_of
from tests.support.web import Web


def test_ratings_of_people_are_counted_beside_the_verdicts(web: Web) -> None:
    can_judge(web)
    good, bad = finished(web, "good", rows=4), finished(web, "bad", rows=4)
    study = study_of(web, good, bad, raters=1)["id"]
    prefer(rater(web, study), "good", 4)
    made = derived(web, bad, good, judge="pairs")
    settle(web)
    # The judge finds the good one better three times, and the other once.
    answer_all(web, *("B", "A") * 3, "A", "B")
    path = f"/v1/jobs/{made}/verdicts"
    found = web.get(f"{path}?study={study}").json
    assert (found["totals"]["wins_a"], found["totals"]["wins_b"]) == (1, 3)
    fluency = found["agreement"]["criteria"]["fluency"]
    assert (fluency["ratings"], fluency["agreed"]) == (4, 3)
    assert fluency["alpha"] is not None and fluency["alpha"] <= 0.01
    assert web.get(path).json["agreement"] is None
    third = finished(web, "third", rows=4)
    other = study_of(web, good, third, raters=1)["id"]
    assert web.get(f"{path}?study={other}").json["code"] == "other_study"
    assert web.get(f"{path}?study=study_0none").status_code == 404


def test_ratings_on_a_scale_are_counted_beside_the_grades(web: Web) -> None:
    can_judge(web)
    job = finished(web, "said", rows=3)
    study = study_of(web, job, kind="scale", raters=1)["id"]
    browser = rater(web, study)
    for _ in range(3):
        task = rate(browser, fluency=4)
        assert task["text"].startswith("said")
    made = derived(web, job, judge="scale")
    settle(web)
    answer_all(web, "4", "4", "1")
    found = web.get(f"/v1/jobs/{made}/verdicts?study={study}").json["agreement"]["criteria"]
    assert (found["fluency"]["ratings"], found["fluency"]["agreed"]) == (3, 2)


def test_another_tenants_study_is_not_found(web: Web) -> None:
    can_judge(web)
    good, bad = finished(web, "good"), finished(web, "bad")
    made = derived(web, good, bad, judge="pairs")
    mine = study_of(web, good, bad)["id"]
    key = web.services.api_keys.create_key("other")
    assert web.get(f"/v1/jobs/{made}/verdicts?study={mine}", key=key).status_code == 404
