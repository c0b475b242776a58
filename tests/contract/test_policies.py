"""Every line of the README's tables of policies, acts and errors has a test by name, so that no line is only words.

A test that moves or gets another name is found again by its new place; a line without one fails with what to do.
"""

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"

# The first cell of a line (and for a policy with a few values `setting: value`) → tests that fail without it.
PROOFS: Mapping[str, tuple[str, ...]] = {
    "misfirePolicy": ("unit/test_plan.py::test_misfires_follow_the_policy_and_every_instant_has_a_row",),
    "misfirePolicy: fire_once": ("services/test_scheduling.py::test_an_outage_leaves_a_ledger_without_holes",),
    "misfirePolicy: skip": ("unit/test_plan.py::test_misfires_follow_the_policy_and_every_instant_has_a_row",),
    "misfirePolicy: fire_all": ("unit/test_plan.py::test_misfires_follow_the_policy_and_every_instant_has_a_row",),
    "overlapPolicy": ("services/test_overlap_races.py::test_two_schedulers_and_two_workers_keep_to_one_at_a_time",),
    "overlapPolicy: allow": (
        "services/test_overlap_races.py::test_two_schedulers_and_two_workers_run_all_at_once_where_it_is_allowed",
    ),
    "overlapPolicy: skip": ("services/test_scheduling.py::test_overlap_skip_leaves_a_row_with_the_reason",),
    "overlapPolicy: buffer_one": ("services/test_admission.py::test_buffer_one_keeps_one_and_skips_the_rest",),
    "overlapPolicy: buffer_all": (
        "services/test_admission.py::test_buffer_all_runs_one_after_the_other_in_order",
        "services/test_admission.py::test_release_and_tick_race_and_nothing_stays_held",
    ),
    "overlapPolicy: cancel_other": (
        "services/test_admission.py::test_cancel_other_waits_until_the_other_has_stopped",
        "services/test_overlap_races.py::test_a_claim_in_the_middle_of_the_tick_that_replaces_it",
    ),
    "overlapPolicy: terminate_other": (
        "services/test_admission.py::test_terminate_other_runs_at_once_and_the_late_result_is_refused",
        "services/test_overlap_races.py::test_a_retry_in_the_middle_of_the_tick_that_replaces_it",
    ),
    "maxConcurrency": ("services/test_admission.py::test_many_workers_never_run_more_than_the_limit",),
    "egress list": (
        "services/test_egress_lists.py::test_a_worker_keeps_to_a_list_that_came_after_the_job",
        "executors/test_inside.py::test_a_redirect_and_a_token_keep_to_the_list_as_well",
        "web/test_outbound_api.py::test_a_namespace_calls_what_its_list_has",
    ),
    "egress list: two layers": (
        "services/test_egress_lists.py::test_nobody_in_a_namespace_widens_what_was_narrowed_for_it",
        "executors/test_inside.py::test_none_of_them_reaches_a_socket_that_listens",
    ),
    "callsPerSecond, callsPerMinute": (
        "services/test_outbound.py::test_two_workers_share_one_budget_and_what_is_held_costs_no_attempt",
        "services/test_outbound.py::test_the_minute_is_any_minute",
    ),
    "maxConcurrent": (
        "services/test_outbound.py::test_no_more_calls_run_than_may_and_an_end_lets_the_next_go",
        "services/test_outbound.py::test_what_a_dead_worker_was_calling_is_free_with_its_rescue",
    ),
    "breakerFailures, breakerOpenSeconds": (
        "services/test_outbound.py::test_failures_in_a_row_open_the_breaker_for_all_workers_and_one_call_tries",
    ),
    "trip, reset": ("services/test_outbound.py::test_people_trip_and_reset_and_it_is_written_down",),
    "maxAttempts": ("services/test_running.py::test_attempts_are_counted_up_to_the_budget",),
    "backoff": ("unit/test_execution.py::test_backoff",),
    "backoff: exponential": ("unit/test_execution.py::test_backoff",),
    "backoff: linear": ("unit/test_execution.py::test_backoff",),
    "backoff: fixed": ("unit/test_execution.py::test_backoff",),
    "backoff: list": ("unit/test_retry.py::test_the_last_delay_of_a_list_repeats",),
    "retryOn": (
        "unit/test_retry.py::test_what_is_tried_again",
        "services/test_failing.py::test_a_job_retries_on_what_it_names",
    ),
    "timeoutSeconds": (
        "services/test_deadlines.py::test_an_attempt_that_ignores_its_time_is_ended_by_the_worker",
        "executors/test_api_call.py::test_the_deadline_cuts_whatever_drips",
    ),
    "deadlineSeconds": (
        "services/test_deadlines.py::test_no_attempt_begins_after_the_deadline",
        "services/test_deadlines.py::test_schedulers_that_race_end_what_waited_too_long_once",
    ),
    "pauseAfterFailures": (
        "services/test_failing.py::test_workers_that_finish_at_once_count_every_failure_and_pause_once",
    ),
    "retention": (
        "services/test_pruning.py::test_the_newest_so_many_stay",
        "services/test_pruning.py::test_upkeeps_and_clean_ups_that_race_count_each_row_once",
    ),
    "jitterSeconds": (
        "services/test_scheduling.py::test_jitter_holds_the_ticket_back",
        "unit/test_schedule_spread.py::test_the_same_in_another_process",
    ),
    "maxRuns, startAt, endAt": (
        "unit/test_plan.py::test_max_runs_ends_the_schedule_with_its_last_run",
        "unit/test_schedule.py::test_start_and_end_are_inclusive",
    ),
    "calendar, calendarRule": (
        "services/test_calendars.py::test_closed_days_leave_rows_that_say_where_they_went",
        "services/test_calendars.py::test_many_schedulers_write_one_row_an_instant",
    ),
    "dependsOn": (
        "services/test_dependencies.py::test_each_end_is_what_is_waited_for_or_a_row_says_why_not",
        "services/test_dependencies.py::test_two_schedulers_that_see_the_last_two_ends_write_one_row",
    ),
    "queue, priority": (
        "queue/test_worker.py::test_the_most_urgent_ticket_runs_first",
        "processes/test_worker_queues.py::test_a_worker_that_was_told_its_queues_serves_no_other",
    ),
    "pause": (
        "services/test_jobs_pause.py::test_resuming_accounts_for_every_instant_of_the_pause",
        "services/test_policy_races.py::test_a_pause_and_a_tick_at_once",
    ),
    "all jobs, or some": ("services/test_bulk_pausing.py::test_two_at_once_share_the_work_and_each_job_changes_once",),
    "a queue": ("services/test_queues.py::test_claims_racing_a_pause_take_nothing_after_it",),
    "limits of a queue": (
        "services/test_admission.py::test_a_queue_has_a_limit_of_its_own",
        "services/test_policy_races.py::test_two_workers_share_the_rate_of_a_queue",
    ),
    "Idempotency-Key": (
        "services/test_triggering.py::test_two_processes_at_once_begin_one_execution",
        "web/test_request_keys.py::test_who_died_after_the_change_is_never_followed",
        "web/test_request_keys.py::test_twenty_at_once_are_one",
        "web/test_many.py::test_a_part_that_was_done_is_told_and_never_done_again",
        "web/test_many.py::test_a_large_answer_is_not_kept_but_that_it_was_given",
        "web/test_many.py::test_keys_of_one_caller_are_bounded",
    ),
    "cancel": ("services/test_cancel_races.py::test_a_cancel_that_waits_for_a_finish_comes_too_late",),
    "retry": ("services/test_retrying.py::test_two_retries_at_once_are_one",),
    "dead letters": ("services/test_dead_letters.py::test_the_list_is_latest_first_pages_and_filters",),
    "redrive": ("services/test_dead_letters.py::test_two_redrives_at_once_are_one",),
    "resolve": ("services/test_dead_letters.py::test_redrive_against_resolve_does_one_of_the_two",),
    "/problems/malformed-request": ("web/test_requests.py::test_bodies_on_the_wire",),
    "/problems/unauthenticated": ("web/test_routes.py::test_bad_credentials_are_refused_alike",),
    "/problems/forbidden": ("web/test_queues_api.py::test_who_may_do_what_with_queues",),
    "/problems/not-found": ("web/test_jobs_api.py::test_an_id_that_does_not_exist_is_404",),
    "/problems/method-not-allowed": ("web/test_routes.py::test_methods_that_a_path_does_not_take",),
    "/problems/request-timeout": ("web/test_requests.py::test_a_body_that_never_arrives_is_given_up",),
    "/problems/content-too-large": ("web/test_requests.py::test_an_endless_body_is_cut_off_where_it_gets_too_large",),
    "/problems/unsupported-media-type": ("web/test_requests.py::test_bodies_on_the_wire",),
    "/problems/conflict": ("web/test_jobs_api.py::test_a_taken_name_is_a_conflict",),
    "/problems/gone": ("web/test_callbacks_api.py::test_from_a_sign_of_life_to_the_end",),
    "/problems/misdirected-request": ("web/test_web_layer.py::test_only_the_names_that_were_given_are_answered",),
    "/problems/too-many-requests": ("web/test_rate_limits.py::test_a_full_minute_answers_429",),
    "/problems/precondition-failed": (
        "web/test_job_edits_api.py::test_a_document_made_from_an_older_revision_is_refused",
    ),
    "/problems/invalid-input": ("web/test_jobs_api.py::test_every_bad_field_is_named_at_once",),
    "/problems/internal-error": (
        "web/test_requests.py::test_an_unforeseen_exception_is_logged_under_its_id_and_never_shown",
    ),
    "/problems/unavailable": ("web/test_service_api.py::test_a_lost_database_is_503_without_the_drivers_words",),
}

# Each kind of problem is brought about by a request, and its page compared with the answer.
PROVOKED = "web/test_problem_kinds.py::test_a_request_brings_it_about_and_its_page_shows_the_answer"

# Settings whose values are policies of their own: each value needs a line above.
BY_VALUE = ("misfirePolicy", "overlapPolicy", "backoff")


@cache
def collected_from(file: Path) -> frozenset[str]:
    """The tests that pytest would collect from a file, read without running it."""
    tree = ast.parse(file.read_text())
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


@cache
def places() -> Mapping[str, str]:
    """Where each test of the suite is, for hints."""
    return {
        name: f"{file.relative_to(TESTS)}::{name}" for file in TESTS.rglob("test_*.py") for name in collected_from(file)
    }


def lines() -> set[str]:
    """What the tables say there is."""
    readme = (ROOT / "README.md").read_text()
    policies = re.search(r"(?ms)^## Policies\n(.*?)^## ", readme)
    problems = re.search(r"(?ms)^Errors are `application/problem\+json`(.*?)^## ", readme)
    assert policies is not None and problems is not None, "the README has no section Policies, or no table of errors"
    found = set()
    for line in re.findall(r"(?m)^\| (.*) \|$", policies[1]):
        first, second, *_ = (cell.strip() for cell in line.split(" | "))
        name = first.replace("`", "")
        if name in ("setting", "what", "act") or set(name) <= set("|-"):
            continue
        found.add(name)
        if name in BY_VALUE:
            found |= {f"{name}: {value}" for value in re.findall(r"`(\w+)`", second)}
    return found | set(re.findall(r"`(/problems/[a-z-]+)`", problems[1]))


def test_every_line_has_a_test_and_every_test_a_line() -> None:
    said = lines()
    assert len(said) > 40, "the tables cannot be read any more"
    missing, gone = said - PROOFS.keys(), PROOFS.keys() - said
    assert not missing, f"the README promises {sorted(missing)}: name a test for each in PROOFS, or write one first"
    assert not gone, f"PROOFS has lines that the README does not: {sorted(gone)}; remove or rename them"


@pytest.mark.parametrize("line", PROOFS)
def test_the_tests_of_a_line_are_there(line: str) -> None:
    for proof in (*PROOFS[line], *((PROVOKED,) if line.startswith("/problems/") else ())):
        path, _, name = proof.partition("::")
        file = TESTS / path
        if not file.exists() or name not in collected_from(file):
            hint = places().get(name, "nowhere: write it, or name another test that fails without this line")
            pytest.fail(f"{line}: {proof} is not collected; a test of that name is {hint}")
