"""What the stand-in answers of roles and quotas before a run: IAM's simulator and Service Quotas, of which moto has no part of either.

Source: "SimulatePrincipalPolicy", IAM API Reference; the quota is that of a new account.
"""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.iam.responses import IamResponse
from moto.servicequotas.models import ServiceQuotasBackend

from bootstrap.rehearsal.policies import Policy, Question, policies_of_role

QUOTA = {"ServiceCode": "emr-serverless", "QuotaCode": "L-D05C8A75", "QuotaName": "Max concurrent vCPUs per account", "Value": 16.0}


def install() -> None:
    """Has moto answer both, in this process."""
    get_service_quota = ServiceQuotasBackend.get_service_quota

    def quota(self: Any, service_code: str, quota_code: str) -> Any:
        if (service_code, quota_code) == (QUOTA["ServiceCode"], QUOTA["QuotaCode"]):
            return QUOTA
        return get_service_quota(self, service_code, quota_code)

    ServiceQuotasBackend.get_service_quota = quota
    IamResponse.simulate_principal_policy = _simulate


def _simulate(self: Any) -> Any:
    """Of a role's policies and boundary: without a bucket's or a key's own, as the real one."""
    given = {each["ContextKeyName"]: each["ContextKeyValues"][0] for each in self._get_param("ContextEntries", [])}
    identity, boundary = policies_of_role(self._get_param("PolicySourceArn").rsplit("/", 1)[-1])
    results = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": _decision(Question(action, resource, given), identity, boundary),
        }
        for action in self._get_param("ActionNames")
        for resource in self._get_param("ResourceArns")
    ]
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def _decision(question: Question, identity: list[Policy], boundary: list[Policy]) -> str:
    if any(policy.denies(question) for policy in [*identity, *boundary]):
        return "explicitDeny"
    layers = [identity, boundary] if boundary else [identity]
    return "allowed" if all(any(policy.allows(question) for policy in layer) for layer in layers) else "implicitDeny"
