"""What moto's CloudFormation lacks for `cdk deploy` and `cdk destroy`, put into its classes.

- A change set is executed with outputs, exports and imports, and rolled back where it fails; moto updates resources alone.
- Change sets are found by stack and name; moto takes the last one of that name of any stack.
- Fn::GetStackOutput, the weak reference between stacks that newer CDK apps use.
- Termination protection, and DELETE_FAILED for a stack that cannot be deleted.
- What depends on a resource is deleted before it; moto deletes in any order and tries again.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from moto.cloudformation import models, parsing
from moto.cloudformation.exceptions import UnformattedGetAttTemplateException, ValidationError
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from werkzeug.exceptions import HTTPException

from bootstrap.rehearsal.dependencies import dependants_first
from bootstrap.rehearsal.emr.refusal import Refused


class ChangeSetNotFound(ServiceException):  # type: ignore[misc]  # moto is not type-checked here
    """What the CLI waits for when it has deleted a change set."""

    code = "ChangeSetNotFound"


# How a resource is refused, which CloudFormation then reports: by a service through its API, by moto's own (two families), by EMR
# Serverless, for an attribute that it lacks, or as a thing that the stand-in lacks. Anything else is a bug here, and ends the request.
REFUSALS = (BotoCoreError, ClientError, ServiceException, HTTPException, Refused, UnformattedGetAttTemplateException, NotImplementedError)

Backend = models.CloudFormationBackend

_clean_json, _update_resource = parsing.clean_json, parsing.parse_and_update_resource


def install() -> None:
    """Puts all of it into moto, in this process."""
    parsing.clean_json = _resolve
    parsing.parse_and_update_resource = _update_or_refuse
    Backend.describe_change_set = _describe_change_set
    Backend.execute_change_set = _execute_change_set
    Backend.delete_change_set = lambda self, change_set_name: self.change_sets.pop(change_set_name, None)  # one that is gone is fine
    Backend.delete_stack = _delete_stack
    parsing.ResourceMap.delete = _delete_resources
    CloudFormationResponse._get_param = _get_param
    CloudFormationResponse.update_termination_protection = _update_termination_protection


def _resolve(resource_json: Any, resources_map: Any) -> Any:
    """moto's resolver of intrinsic functions, and Fn::GetStackOutput."""
    if isinstance(resource_json, dict) and (asked := resource_json.get("Fn::GetStackOutput")):
        wanted = _clean_json(asked, resources_map)
        return _output(wanted["StackName"], wanted["OutputName"], resources_map._account_id, resources_map._region_name)
    return _clean_json(resource_json, resources_map)


def _output(stack_name: str, name: str, account: str, region: str) -> str:
    stack = models.cloudformation_backends[account][region].get_stack(stack_name)
    for output in stack.outputs or ():
        if output["OutputKey"] == name:
            return str(output["OutputValue"])
    raise ValidationError(message=f"Fn::GetStackOutput: stack {stack_name} has no output {name}")


def _update_or_refuse(logical_id: str, resource_json: dict[str, Any], resources_map: Any, account_id: str, region_name: str) -> Any:
    """moto forgets a resource of a type that it cannot update; here that is an error."""
    updated = _update_resource(logical_id, resource_json, resources_map, account_id, region_name)
    if updated is None:
        raise ValidationError(message=f"the stand-in cannot update {logical_id}: moto has no update of {resource_json['Type']}")
    return updated


def _get_param(self: Any, name: str, if_none: Any = None) -> Any:
    """A parameter of a request, as moto's operations can use it."""
    value = super(CloudFormationResponse, self)._get_param(name, if_none)
    if name == "Parameters" and value and self._get_action() == "CreateChangeSet":
        return [known for given in value if (known := _with_value(self, given))]
    if name == "ChangeSetName" and value and not value.startswith("arn:") and self._get_action() != "CreateChangeSet":
        return _arn_of_change_set(self, value)
    return value


def _with_value(self: Any, given: dict[str, Any]) -> dict[str, Any] | None:
    """A template's parameter with the value that it was given before; moto takes what that came to, such as an SSM parameter's value."""
    if not given.get("UsePreviousValue"):
        return given
    before = self.cloudformation_backend.get_stack(self._get_param("StackName")).parameters
    key = given["ParameterKey"]
    return {"ParameterKey": key, "ParameterValue": before[key]} if key in before else None


def _arn_of_change_set(self: Any, name: str) -> str:
    """A name is unique in a stack only."""
    stack = self._get_param("StackName")
    found = [
        arn
        for arn, change_set in self.cloudformation_backend.change_sets.items()
        if change_set.change_set_name == name and stack in (change_set.stack_name, change_set.stack_id)
    ]
    return found[-1] if found else name


def _describe_change_set(self: Any, change_set_name: str) -> Any:
    if found := self.change_sets.get(change_set_name):
        return found
    raise ChangeSetNotFound(f"ChangeSet [{change_set_name}] does not exist")


def _execute_change_set(self: Any, change_set_name: str, stack_name: str | None = None) -> None:  # noqa: ARG001  moto's signature
    change_set = _describe_change_set(self, change_set_name)
    stack, kind = change_set.stack, change_set.change_set_type
    stack._add_stack_event(f"{kind}_IN_PROGRESS", resource_status_reason="User Initiated")
    before = stack.template_dict
    stack.resource_map.cross_stack_resources = self.exports
    try:
        change_set.apply()
    except REFUSALS as error:
        _roll_back(stack, kind, before, str(error) or repr(error))
        return
    stack.template, stack.tags = change_set.template, change_set.tags or stack.tags
    stack.parameters = change_set.parameters
    stack._parse_template()
    stack.description = stack.template_dict.get("Description")
    stack.output_map = stack._create_output_map()
    self.exports.update({export.name: export for export in stack.exports})
    change_set.execution_status = "EXECUTE_COMPLETE"
    _finish(stack, f"{kind}_COMPLETE")


def _roll_back(stack: Any, kind: str, before: dict[str, Any], reason: str) -> None:
    stack._add_stack_event(f"{kind}_FAILED", resource_status_reason=reason)
    if kind == "CREATE":
        stack.resource_map.delete()
        _finish(stack, "ROLLBACK_COMPLETE", reason)
    else:
        stack.resource_map.update(before)
        _finish(stack, "UPDATE_ROLLBACK_COMPLETE", reason)


def _delete_stack(self: Any, name_or_stack_id: str) -> None:
    found = [stack for stack in self.stacks.values() if name_or_stack_id in (stack.name, stack.stack_id)]
    for stack in found:
        if stack.enable_termination_protection:
            raise ValidationError(message=f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
        try:
            stack.delete()
        except REFUSALS as error:
            _finish(stack, "DELETE_FAILED", str(error) or repr(error))
            return
        for export in stack.exports:
            self.exports.pop(export.name, None)
        self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)


def _delete_resources(self: Any) -> None:
    for name in dependants_first(self._resource_json_map):
        made, described = self._parsed_resources.get(name), self._resource_json_map[name]
        if made is not None and described.get("DeletionPolicy") != "Retain":
            self._delete_resource(made, described)
            del self._parsed_resources[name]


def _finish(stack: Any, status: str, reason: str | None = None) -> None:
    stack.status = status
    stack._add_stack_event(status, resource_status_reason=reason)


def _update_termination_protection(self: Any) -> ActionResult:
    stack = self.cloudformation_backend.get_stack(self._get_param("StackName"))
    stack.enable_termination_protection = self._get_bool_param("EnableTerminationProtection")
    return ActionResult({"StackId": stack.stack_id})
