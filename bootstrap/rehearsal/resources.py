"""How moto makes the stand-in's own types of resources."""

from __future__ import annotations

from typing import Any

from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.logs.models import LogGroup

from bootstrap.rehearsal.emr.properties import create_request
from bootstrap.rehearsal.emr.service import Service
from bootstrap.rehearsal.kinds import Kind, Made, Properties, service_kinds


def install(service: Service) -> None:
    """Teaches moto the types, in this process."""
    kinds = [*service_kinds(), _application(service)]
    models = {kind.type: _model(kind) for kind in kinds}
    class_of = parsing.resource_class_from_type

    def known_class_of(name: str) -> Any:
        if name in models:
            return models[name]
        if name.startswith("Custom::"):  # moto would run its function in a container
            raise NotImplementedError(f"the stand-in has no {name}")
        return class_of(name)

    parsing.resource_class_from_type = known_class_of
    # "arn:…:log-group:NAME:*" in the reference of AWS::Logs::LogGroup; moto leaves the end out, and then no policy matches a stream
    LogGroup.get_cfn_attribute = lambda self, _name: f"{self.arn.removesuffix(':*')}:*"


def _model(kind: Kind) -> Any:
    """The class through which moto makes resources of a kind."""

    class Model(CloudFormationModel):  # type: ignore[misc]  # moto is not type-checked here
        made: Made

        @property
        def physical_resource_id(self) -> str:
            return self.made.id

        @staticmethod
        def cloudformation_type() -> str:
            return kind.type

        @classmethod
        def has_cfn_attr(cls, attr: str) -> bool:  # noqa: ARG003  moto's signature
            return True

        def get_cfn_attribute(self, attribute_name: str) -> str:
            return self.made.attributes[attribute_name]

        @classmethod
        def create_from_cloudformation_json(cls, resource_name: str, cloudformation_json: Any, *_: Any, **__: Any) -> Model:
            model = cls()
            model.made = kind.create(resource_name, cloudformation_json["Properties"])
            return model

        @classmethod
        def update_from_cloudformation_json(cls, original_resource: Model, cloudformation_json: Any, **_: Any) -> Model:
            kind.update(original_resource.made, cloudformation_json["Properties"])
            return original_resource

        def delete(self, _account_id: str, _region_name: str) -> None:
            kind.delete(self.made)

        def is_created(self) -> bool:
            return True

    return Model


def _application(service: Service) -> Kind:
    def create(name: str, properties: Properties) -> Made:
        answer = service.create_application(create_request({"Name": name, **properties}))
        return Made(answer["applicationId"], {"ApplicationId": answer["applicationId"], "Arn": answer["arn"]})

    def update(made: Made, properties: Properties) -> None:
        service.replace_application(made.id, create_request(properties))

    def delete(made: Made) -> None:
        service.stop_application({"applicationId": made.id})
        service.delete_application({"applicationId": made.id})

    return Kind("AWS::EMRServerless::Application", create, update, delete)
