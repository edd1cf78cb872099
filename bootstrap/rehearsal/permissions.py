"""Whether a run may do what it asks for: its role, its own policy, the bucket's policy and the key's use, in one answer.

moto's enforcement is not used: it evaluates no condition, and asks nothing of a copy's source, of keys or of what is not there.
"""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, s3_backends

from bootstrap.rehearsal.identity import Identity, Session
from bootstrap.rehearsal.local import ACCOUNT, REGION
from bootstrap.rehearsal.policies import Policy, Question
from bootstrap.rehearsal.requests import SECURE, NotModelled, Request, deletions, list_question, questions_of

BY_S3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}


def install() -> None:
    """Has moto evaluate a bucket's policy with its conditions: without them, the one that refuses plain HTTP refuses all."""
    FakeBucket.get_permission = _permission


def _permission(self: Any, action: str, resource: str) -> Any:
    denied = self.policy is not None and Policy.parse(self.policy).denies(Question(action, resource, SECURE))
    return PermissionResult.DENIED if denied else PermissionResult.NEUTRAL


def denial(identity: Identity, session: Session, service: str, request: Request) -> str:
    """Why a run's request is refused, "" where it is not."""
    try:
        questions = questions_of(service, request)
    except NotModelled as error:
        return f"the stand-in knows no permission for it: {error}"
    for question in [*questions, *_of_key(questions)]:
        if not _may(identity, session, question):
            return _words(session, question)
    hidden = _hidden(identity, session, request) if service == "s3" else None
    return _words(session, hidden) if hidden else ""


def denied_deletions(identity: Identity, session: Session, request: Request) -> dict[str, str]:
    """The keys of a DeleteObjects request that may not be deleted, and why."""
    refused = [question for question in deletions(request) if not _may(identity, session, question)]
    return {str(each.resource).partition(":::")[2].partition("/")[2]: _words(session, each) for each in refused}


def _may(identity: Identity, session: Session, question: Question) -> bool:
    policy = bucket.policy if (bucket := _bucket(question)) else None
    return identity.may(session, question, [Policy.parse(policy)] if policy else [])


def _hidden(identity: Identity, session: Session, request: Request) -> Question | None:
    """The question whose denial hides that an object is not there.

    S3 says 404 only to who may list: "GetObject", Amazon S3 API Reference. The key counts as the prefix that is listed, as Ceph
    (pull request 68577) and Kopia (3072) found out.
    """
    wanted = [request.copy_source] if request.copy_source else [request.bucket_and_key] if request.method in ("GET", "HEAD") else []
    for bucket, key in wanted:
        found = s3_backends[ACCOUNT]["aws"].buckets.get(bucket)
        if key and "uploadId" not in request.query and found and found.keys.get(key) is None:
            question = list_question(bucket, key)
            return None if _may(identity, session, question) else question
    return None


def _of_key(questions: list[Question]) -> list[Question]:
    """What a bucket that encrypts with a key of KMS asks besides."""
    uses = {"s3:GetObject": "kms:Decrypt", "s3:GetObjectVersion": "kms:Decrypt", "s3:PutObject": "kms:GenerateDataKey"}
    return [
        Question(uses[question.action], key, BY_S3)
        for question in questions
        if question.action in uses and (bucket := _bucket(question)) and (key := _key_of(bucket))
    ]


def _key_of(bucket: Any) -> str:
    """The ARN of the key that a bucket encrypts with, "" where it has none of its own."""
    rule = (bucket.encryption or {}).get("Rule", {})
    return str(rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID", ""))


def _bucket(question: Question) -> Any:
    """The bucket that a question is about, None where there is none."""
    if not question.resource or not question.resource.startswith("arn:aws:s3:::"):
        return None
    return s3_backends[ACCOUNT]["aws"].buckets.get(question.resource.removeprefix("arn:aws:s3:::").partition("/")[0])


def _words(session: Session, question: Question) -> str:
    """As AWS says it."""
    who = f"arn:aws:sts::{ACCOUNT}:assumed-role/{session.role_name}/{session.name}"
    return f"User: {who} is not authorized to perform: {question.action} on resource: {question.resource}"
