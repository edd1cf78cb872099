"""An application of a template as a CreateApplication request, and back to what botocore says such a request may be."""

from __future__ import annotations

import functools
import uuid
from typing import Any

from botocore.model import ServiceModel
from botocore.session import Session
from botocore.validate import ParamValidator

from bootstrap.rehearsal.emr.refusal import Refused

# Free keys below these names, which CloudFormation passes on as they are
FREE = ("Properties",)


@functools.cache
def model() -> ServiceModel:
    """botocore's description of the service."""
    return Session().get_service_model("emr-serverless")


def create_request(properties: dict[str, Any]) -> dict[str, Any]:
    """The CreateApplication request that CloudFormation makes of a resource's properties. Refused where it cannot be one."""
    request: dict[str, Any] = _lowered(properties) | {"clientToken": uuid.uuid4().hex}
    request["tags"] = {tag["key"]: tag["value"] for tag in request.get("tags", [])}
    if initial := request.get("initialCapacity"):
        request["initialCapacity"] = {each["key"]: each["value"] for each in initial}
    logs = request.get("monitoringConfiguration", {}).get("cloudWatchLoggingConfiguration", {})
    if "logTypeMap" in logs:
        logs["logTypes"] = {each["key"]: each["value"] for each in logs.pop("logTypeMap")}
    check(request, "CreateApplication")
    return request


def check(request: dict[str, Any], operation: str) -> None:
    """Refused where botocore knows a parameter by another name or type."""
    report = ParamValidator().validate(request, model().operation_model(operation).input_shape)
    if report.has_errors():
        raise Refused("ValidationException", report.generate_report())


def _lowered(value: Any) -> Any:
    """CloudFormation's names begin with a capital, the API's do not."""
    if isinstance(value, dict):
        return {name[0].lower() + name[1:]: each if name in FREE else _lowered(each) for name, each in value.items()}
    return [_lowered(each) for each in value] if isinstance(value, list) else value
