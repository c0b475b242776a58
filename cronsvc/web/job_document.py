"""Changing a job through its document: what may be written, what is read-only, and which revision was meant.

A client may read a job, change something and send the whole document back. So read-only members are welcome as long
as they say what is true. The members that firing moves by itself (`nextFireTime`, …) are ignored in a whole document,
because they may have moved since; in a patch, which names only what shall change, they are refused. `revision` counts
as If-Match.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from cronsvc.domain.job import Job, JobDefinition
from cronsvc.errors import FieldError, InvalidInput, PreconditionFailed
from cronsvc.web.job_models import READ_ONLY, JobIn
from cronsvc.web.mapping import definition_answer, job_answer
from cronsvc.web.scalars import read_instant
from cronsvc.web.validation import read_model

_SCHEDULE_KINDS = ("cronExpression", "every", "runAt")
_MOVING = frozenset({"nextFireTime", "lastFireTime", "fireCount", "updatedAt"})
_FIXED: Mapping[str, str] = {
    "id": "is given by cronsvc and cannot be changed",
    "createdAt": "is set by cronsvc and cannot be changed",
    "pause": "is changed by POST …/pause and POST …/resume, not by an edit",
    "templateId": "is set when a job is made from a template",
    "templateRevision": "is changed by POST /templates/{templateId}/apply, not by an edit",
    "quarantineReason": "is set by cronsvc; correct the definition and it goes away",
}
_TRUNCATED = timedelta(milliseconds=1)
_ETAG = re.compile(r'"(\d{1,18})"', re.ASCII)
# Opaque tags may hold commas; ours never do, so splitting there cannot turn a foreign tag into one of ours.
_ETAG_LIST = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*', re.ASCII)


def etag_of(job: Job) -> str:
    """The strong ETag of a job's definition: its revision, quoted."""
    return f'"{job.revision}"'


def replacement(job: Job, document: Any) -> tuple[JobIn, int | None]:
    """Read a whole document for PUT; returns the definition, and the revision the document was made from if it says."""
    errors, revision = _read_only_faults(job, document, refused=frozenset(_FIXED))
    if isinstance(document, dict):
        document = {name: value for name, value in document.items() if name not in READ_ONLY}
    return _read(document, errors), revision


def check_patch(job: Job, patch: Any) -> int | None:
    """Refuse a merge patch that would change what is read-only; returns the revision it was made from, if it says."""
    if not isinstance(patch, dict):
        raise InvalidInput.of("", "a merge patch must be a JSON object with the members to change")
    errors, revision = _read_only_faults(job, patch, refused=_MOVING | frozenset(_FIXED))
    apply_patch(job.definition, patch, errors)
    return revision


def apply_patch(definition: JobDefinition, patch: dict[str, Any], errors: Sequence[FieldError] = ()) -> JobIn:
    """Lay a merge patch (RFC 7396) over a definition's document; `errors` are told together with what else is wrong."""
    writable = {name: value for name, value in patch.items() if name not in READ_ONLY}
    document = merge_patch(definition_answer(definition).model_dump(mode="json", by_alias=True), writable)
    kinds = [name for name in _SCHEDULE_KINDS if document.get(name) is not None]
    added = [name for name in kinds if name in patch]
    if added and len(added) < len(kinds):
        present = next(name for name in kinds if name not in patch)
        errors = [*errors, FieldError(added[0], f"the job has {present}; set that to null in the same patch")]
    return _read(document, errors)


def _read_only_faults(job: Job, sent: Any, *, refused: frozenset[str]) -> tuple[list[FieldError], int | None]:
    """What was sent of the read-only members and is not true, and the revision that was sent."""
    if not isinstance(sent, dict):
        return [], None
    current = job_answer(job).model_dump(mode="json", by_alias=True)
    errors = [
        FieldError(name, _FIXED.get(name, "follows from the schedule and cannot be set"))
        for name in sent
        if name in refused and not _same(sent[name], current[name])
    ]
    revision = sent.get("revision")
    if revision is not None and (isinstance(revision, bool) or not isinstance(revision, int)):
        errors.append(FieldError("revision", "must be the whole number that GET answered"))
        revision = None
    return errors, revision


def _read(document: Any, errors: Sequence[FieldError]) -> JobIn:
    try:
        body = read_model(JobIn, document)
    except InvalidInput as error:
        raise InvalidInput([*errors, *error.errors]) from None
    if errors:
        raise InvalidInput(errors)
    return body


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: objects merge member by member, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _same(sent: Any, current: Any) -> bool:
    """Equal, or the same instant in another spelling (many clients keep milliseconds only)."""
    if sent == current:
        return True
    try:
        return abs(read_instant(sent) - read_instant(current)) < _TRUNCATED
    except ValueError:
        return False


def expected_revision(if_match: str | None, in_document: int | None, job: Job) -> int | None:
    """Return the revision a change must meet, None for any; PreconditionFailed when it is already another one.

    The header wins over the document; when both speak they must agree.
    """
    revision = _revision_in(if_match, job)
    if revision is not None and in_document is not None and revision != in_document:
        raise InvalidInput.of("revision", f"is {in_document}, but If-Match says {revision}; leave one of them out")
    expected = revision if revision is not None else in_document
    if expected is not None and expected != job.revision:
        raise PreconditionFailed(
            f"The job is at revision {job.revision}, your change was made from {expected}. Read it again."
        )
    return expected


def _revision_in(if_match: str | None, job: Job) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    if not _ETAG_LIST.fullmatch(if_match):
        raise InvalidInput.of("If-Match", 'must be an ETag as GET answered it, in quotes, such as "7"')
    named = [match.group(1) for tag in if_match.split(",") if (match := _ETAG.fullmatch(tag.strip()))]
    revisions = [int(text) for text in named]
    if job.revision in revisions:
        return job.revision
    # Weak and foreign tags never match; some number is needed to say which revision was meant.
    if not revisions:
        raise PreconditionFailed(
            f'The job is at revision {job.revision}; none of the tags in If-Match is "{job.revision}".'
        )
    return revisions[0]
