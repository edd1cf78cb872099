"""EMR Serverless' protocol: which operation a request is, and its answer as JSON. botocore's description says both."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from botocore import xform_name
from werkzeug.datastructures import MultiDict

from bootstrap.rehearsal.emr.properties import model
from bootstrap.rehearsal.emr.refusal import Refused
from bootstrap.rehearsal.emr.service import Service


def answer(service: Service, method: str, path: str, query: MultiDict[str, str], body: bytes) -> tuple[int, Any, str]:
    """Status, JSON and, of an error, its code."""
    for name, verb, pattern in _routes():
        if verb == method and (found := pattern.fullmatch(path)):
            handler = getattr(service, xform_name(name), None)
            if handler is None:
                return 400, {"message": f"the stand-in has no {name}"}, "ValidationException"
            request = json.loads(body or b"{}") | _queried(query) | {key: unquote(value) for key, value in found.groupdict().items()}
            try:
                return 200, handler(request), ""
            except Refused as error:
                return error.status, {"message": str(error)}, error.code
    return 404, {"message": f"no operation {method} {path}"}, "ResourceNotFoundException"


def _queried(query: MultiDict[str, str]) -> Mapping[str, Any]:
    return {name: values if len(values) > 1 else values[0] for name, values in query.lists()}


@functools.cache
def _routes() -> list[tuple[str, str, re.Pattern[str]]]:
    """Operation, method and path of all operations of the service."""
    return [
        (name, http["method"], re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+|arn:.*)", http["requestUri"])))
        for name in model().operation_names
        if (http := model().operation_model(name).http)
    ]
