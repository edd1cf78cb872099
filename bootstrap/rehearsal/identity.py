"""Who a run is: the role that EMR Serverless assumes for it, and the credentials that its processes fetch, as in a container."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from bootstrap.rehearsal.local import ACCOUNT, REGION
from bootstrap.rehearsal.policies import Policy, Question, decide, policies_of_role

PRINCIPAL = "emr-serverless.amazonaws.com"
LIFETIME_S = 3600
GRANTED = "/verger-rehearsal/granted"  # where the door says what runs were allowed


class NotAssumed(Exception):
    """The role is not there, or does not trust the service on behalf of this application."""


@dataclass(slots=True)
class Session:
    """A run's role. token: what its processes show to get credentials."""

    role_name: str
    name: str
    limits: tuple[Policy, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class Identity:
    """The sessions of all runs, which access key belongs to which, and what each run asked for and was allowed."""

    def __init__(self) -> None:
        self.lifetime_s = LIFETIME_S
        self._by_token: dict[str, Session] = {}
        self._by_key: dict[str, tuple[Session, datetime]] = {}
        self._granted: dict[str, list[Question]] = {}

    def assume(self, role_arn: str, *, application_arn: str, run_id: str, limits: tuple[Policy, ...]) -> Session:
        """A session of the role for a run. NotAssumed where IAM would refuse."""
        name = role_arn.rsplit("/", 1)[-1]
        role = next((role for role in iam_backends[ACCOUNT]["aws"].roles.values() if role.arn == role_arn), None)
        if role is None:
            raise NotAssumed(f"The execution role {role_arn} does not exist")
        trust = Policy.parse(_document(role.assume_role_policy_document))
        context = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": application_arn}
        if not decide(Question("sts:AssumeRole", None, context, principal=PRINCIPAL), [trust]):
            raise NotAssumed(f"{PRINCIPAL} is not allowed to assume {role_arn} for {application_arn}")
        session = Session(name, run_id, limits)
        self._by_token[session.token] = session
        return session

    def credentials(self, token: str) -> dict[str, Any] | None:
        """Fresh credentials for whoever shows a session's token, as a container's endpoint gives them; None for others."""
        if not (session := self._by_token.get(token)):
            return None
        made = sts_backends[ACCOUNT]["aws"].assume_role(
            region_name=REGION,
            role_session_name=session.name,
            role_arn=f"arn:aws:iam::{ACCOUNT}:role/{session.role_name}",
            policy="",
            duration=self.lifetime_s,
            external_id="",
        )
        expires = made.expiration.replace(tzinfo=UTC)
        self._by_key[made.access_key_id] = (session, expires)
        return {
            "AccessKeyId": made.access_key_id,
            "SecretAccessKey": made.secret_access_key,
            "Token": made.session_token,
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def session_of(self, access_key: str) -> Session | None:
        """Whose key it is; None where it is no run's."""
        found = self._by_key.get(access_key)
        return found[0] if found else None

    def has_expired(self, access_key: str) -> bool:
        return datetime.now(UTC) > self._by_key[access_key][1]

    def may(self, session: Session, question: Question, resource_policies: list[Policy]) -> bool:
        """Whether the session's role, narrowed by the run's own policies, allows it, and nothing denies it."""
        identity, boundary = policies_of_role(session.role_name)
        denied = any(policy.denies(question) for policy in [*identity, *boundary, *session.limits, *resource_policies])
        layers = [identity, *([boundary] if boundary else []), *([list(session.limits)] if session.limits else [])]
        allowed = not denied and all(any(policy.allows(question) for policy in layer) for layer in layers)
        if allowed:
            self._granted.setdefault(session.name, []).append(question)
        return allowed

    def granted(self) -> dict[str, list[dict[str, Any]]]:
        """What was allowed, by the run's id; each time that it was asked for."""
        return {run_id: [asdict(question) for question in asked] for run_id, asked in list(self._granted.items())}


def _document(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text
