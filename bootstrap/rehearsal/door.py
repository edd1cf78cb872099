"""What every request passes: drills, runs' permissions, EMR Serverless, runs' credentials; the rest is moto's."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from xml.sax.saxutils import escape

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Request as HttpRequest
from werkzeug.wrappers import Response

from bootstrap.rehearsal import drills
from bootstrap.rehearsal.drills import Drill, Drills
from bootstrap.rehearsal.emr.api import answer
from bootstrap.rehearsal.emr.service import Service
from bootstrap.rehearsal.emr.spark import CREDENTIALS
from bootstrap.rehearsal.identity import GRANTED, Session
from bootstrap.rehearsal.permissions import denial, denied_deletions
from bootstrap.rehearsal.requests import Request

Environ = dict[str, Any]
SIGNED = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/")


class Door:
    """A WSGI application."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._service: Service
        self._drills = Drills()

    def open(self, service: Service) -> None:
        self._service = service

    def __call__(self, environ: Environ, respond: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == CREDENTIALS:
            return self._credentials(environ)(environ, respond)
        if environ["PATH_INFO"] == GRANTED:
            return _json(self._service.identity.granted(), 200)(environ, respond)
        if environ["PATH_INFO"] == drills.PATH:
            return self._drill(environ)(environ, respond)
        access_key, service = _signer(environ)
        session = self._service.identity.session_of(access_key)
        wrong = self._drills.refusal(of_run=session is not None, service=service, user_agent=environ.get("HTTP_USER_AGENT", ""))
        if wrong:
            _read(environ)  # a body that is left would be taken for the next request
            return _no(service, wrong, "This is a drill.")(environ, respond)
        if session and (no := self._refusal(session, access_key, service, environ)):
            return no(environ, respond)
        if service == "emr-serverless":
            return self._emr(environ)(environ, respond)
        answered: Iterable[bytes] = self._moto(environ, respond)
        return answered

    def _credentials(self, environ: Environ) -> Response:
        given = self._service.identity.credentials(environ.get("HTTP_AUTHORIZATION", ""))
        return _json(given, 200) if given else _json({"message": "no run has this token"}, 403)

    def _drill(self, environ: Environ) -> Response:
        """Begins the drill that is asked for, or ends it (null); says how many requests the one before refused."""
        refused, asked = self._drills.refused, json.loads(_read(environ).body)
        self._drills.begin(Drill(**asked) if asked else None)
        return _json({"refused": refused}, 200)

    def _emr(self, environ: Environ) -> Response:
        request = HttpRequest(environ)
        status, made, code = answer(self._service, request.method, request.path, request.args, request.get_data())
        response = _json(made, status)
        if code:
            response.headers["x-amzn-ErrorType"] = code
        return response

    def _refusal(self, session: Session, access_key: str, service: str, environ: Environ) -> Response | None:
        """Why a run's request is not let through; None where it is."""
        request = _read(environ)
        identity = self._service.identity
        if identity.has_expired(access_key):
            return _no(service, "ExpiredToken", "The provided token has expired.")
        if service == "s3" and request.method == "POST" and "delete" in request.query:
            return _partly(refused) if (refused := denied_deletions(identity, session, request)) else None
        if reason := denial(identity, session, service, request):
            return _no(service, "AccessDenied", reason)
        return None


def _signer(environ: Environ) -> tuple[str, str]:
    """Access key and service of a signed request; nobody and "" of one that is not signed."""
    found = SIGNED.search(environ.get("HTTP_AUTHORIZATION", ""))
    return (found[1], found[2]) if found else ("", "")


def _read(environ: Environ) -> Request:
    """The request, with its body, which stays there for who comes next."""
    http = HttpRequest(environ)
    body = http.get_data()
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    headers = {name.lower(): value for name, value in http.headers.items()}
    return Request(http.method, http.host, http.path, http.args.to_dict(), headers, body)


def _json(value: Any, status: int) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def _no(service: str, code: str, reason: str) -> Response:
    """A refusal in the protocol of the service."""
    if service != "s3":
        named = "AccessDeniedException" if code == "AccessDenied" else f"{code}Exception"
        return Response(json.dumps({"__type": named, "message": reason}), 400, content_type="application/x-amz-json-1.1")
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{escape(reason)}</Message></Error>'
    return Response(body, drills.STATUS.get(code, 403), content_type="application/xml")


def _partly(refused: dict[str, str]) -> Response:
    """DeleteObjects answers for each key. Here those that may be deleted stay as well, which AWS would remove."""
    errors = "".join(
        f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code><Message>{escape(reason)}</Message></Error>"
        for key, reason in refused.items()
    )
    return Response(f'<?xml version="1.0" encoding="UTF-8"?><DeleteResult>{errors}</DeleteResult>', content_type="application/xml")
