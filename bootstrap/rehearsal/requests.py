"""What IAM is asked for a request of a run: actions, resources and the keys of conditions.

Source: "Actions, resources, and condition keys" for Amazon S3 and CloudWatch Logs, Service Authorization Reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from bootstrap.rehearsal.local import ACCOUNT, HOSTS, REGION
from bootstrap.rehearsal.policies import Question

# Of every request of a run in AWS. Here it is plain HTTP to this machine, which the bucket's policy would refuse
SECURE = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the door sees it; its path has no percent signs any more."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def bucket_and_key(self) -> tuple[str, str]:
        """Of a request to S3, path style or with the bucket in the host's name."""
        name = self.host.partition(":")[0]
        path = self.path.lstrip("/")
        if name not in HOSTS and name.endswith(".localhost"):
            return name.removesuffix(".localhost"), path
        bucket, _, key = path.partition("/")
        return bucket, key

    @property
    def copy_source(self) -> tuple[str, str] | None:
        """Bucket and key that are copied from, of a copy."""
        if not (source := self.headers.get("x-amz-copy-source")):
            return None
        bucket, _, key = unquote(source.partition("?")[0]).lstrip("/").partition("/")
        return bucket, key


class NotModelled(Exception):
    """A request that the stand-in cannot name the permission of: it is refused, and says so."""


def questions_of(service: str, request: Request) -> list[Question]:
    """What has to be allowed. NotModelled where that is not known here."""
    if service == "s3":
        return _of_s3(request)
    if service == "logs":
        return [_of_logs(request)]
    if service == "sts":
        return []  # GetCallerIdentity needs no permission
    raise NotModelled(f"a run asks {service} for {request.method} {request.path}")


def _of_s3(request: Request) -> list[Question]:
    bucket, key = request.bucket_and_key
    if not key:
        return [_of_bucket(request, bucket)]
    if "uploadId" in request.query and request.method in ("DELETE", "GET"):
        action = {"DELETE": "s3:AbortMultipartUpload", "GET": "s3:ListMultipartUploadParts"}[request.method]
        return [of_object(action, bucket, key)]
    if known := request.query.keys() & {"acl", "tagging", "retention", "legal-hold", "torrent", "attributes"}:
        raise NotModelled(f"a run asks s3 for {request.method} {request.path}?{known.pop()}")
    version = "Version" if request.query.get("versionId") else ""
    actions = {"GET": f"s3:GetObject{version}", "HEAD": f"s3:GetObject{version}", "PUT": "s3:PutObject", "POST": "s3:PutObject"}
    action = actions.get(request.method, f"s3:DeleteObject{version}")
    asked = [of_object(action, bucket, key)]
    return [*asked, of_object("s3:GetObject", *request.copy_source)] if request.copy_source else asked


def _of_bucket(request: Request, bucket: str) -> Question:
    arn, query = f"arn:aws:s3:::{bucket}", request.query
    if request.method == "GET" and "location" in query:
        return Question("s3:GetBucketLocation", arn, SECURE)
    if request.method == "GET" and "uploads" in query:
        return Question("s3:ListBucketMultipartUploads", arn, SECURE)
    if request.method == "GET" and ("list-type" in query or not query.keys() - {"prefix", "delimiter", "max-keys", "marker"}):
        return list_question(bucket, query.get("prefix"))
    if request.method == "HEAD":
        return list_question(bucket, None)
    raise NotModelled(f"a run asks s3 for {request.method} {request.path}?{'&'.join(query)}")


def deletions(request: Request) -> list[Question]:
    """Of a DeleteObjects request: each key is allowed or denied for itself."""
    bucket, _ = request.bucket_and_key
    keys = re.findall(r"<Key>(.*?)</Key>", request.body.decode(), re.DOTALL)
    return [of_object("s3:DeleteObject", bucket, unescape(key)) for key in keys]


def unescape(text: str) -> str:
    for name, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(name, sign)
    return text


def list_question(bucket: str, prefix: str | None) -> Question:
    """Whether the bucket may be listed below a prefix; a request without one has no such key."""
    return Question("s3:ListBucket", f"arn:aws:s3:::{bucket}", SECURE | ({} if prefix is None else {"s3:prefix": prefix}))


def of_object(action: str, bucket: str, key: str) -> Question:
    return Question(action, f"arn:aws:s3:::{bucket}/{key}", SECURE)


def _of_logs(request: Request) -> Question:
    operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
    asked = json.loads(request.body or b"{}")
    groups = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:"
    if operation == "DescribeLogGroups":
        return Question(f"logs:{operation}", f"{groups}:log-stream:")
    return Question(f"logs:{operation}", f"{groups}{asked.get('logGroupName', '')}:log-stream:{asked.get('logStreamName', '')}")
