"""IAM's answers, and the order of deletion: what the stand-in decides itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.rehearsal.dependencies import dependants_first
from bootstrap.rehearsal.policies import Policy, Question, decide
from bootstrap.rehearsal.requests import NotModelled, Request, questions_of

READ = Question("s3:GetObject", "arn:aws:s3:::b/images/a/1.jpg", {"s3:prefix": "images/a", "aws:SecureTransport": "true"})


def _policy(**more: Any) -> Policy:
    return Policy.parse({"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"} | more]})


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({}, True),
        ({"Action": "s3:getobject"}, True),
        ({"Action": ["s3:Put*", "s3:Get*"]}, True),
        ({"Action": "s3:PutObject"}, False),
        ({"Resource": "arn:aws:s3:::b/images/*"}, True),
        ({"Resource": "arn:aws:s3:::b/images/*.png"}, False),
        ({"Resource": "arn:aws:s3:::b/images/?/1.jpg"}, True),
        ({"Resource": "arn:aws:s3:::b/image."}, False),
        ({"Condition": {"StringLike": {"s3:prefix": ["results/*", "images/*"]}}}, True),
        ({"Condition": {"StringEquals": {"s3:prefix": "images/*"}}}, False),
        ({"Condition": {"StringLike": {"S3:Prefix": "images*"}}}, True),
        ({"Condition": {"StringLike": {"aws:SourceArn": "*"}}}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": False}}}, False),
        ({"Condition": {"StringLike": {"s3:prefix": "images*"}, "Bool": {"aws:SecureTransport": "false"}}}, False),
    ],
)
def test_a_statement_applies_where_all_of_it_does(statement: dict[str, Any], expected: bool) -> None:
    assert decide(READ, [_policy(**statement)]) is expected


def test_what_is_denied_somewhere_is_denied() -> None:
    assert not decide(READ, [_policy(), _policy(Effect="Deny", Action="s3:*")])
    assert decide(READ, [_policy(), _policy(Effect="Deny", Action="s3:*", Condition={"Bool": {"aws:SecureTransport": "false"}})])


@pytest.mark.parametrize("unknown", [{"NotAction": "s3:*"}, {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}])
def test_what_is_not_known_is_an_error_and_no_answer(unknown: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError):
        decide(READ, [_policy(**unknown)])


def _asked(method: str, path: str, query: dict[str, str] | None = None, **headers: str) -> list[tuple[str, str]]:
    request = Request(method, "localhost:1", path, query or {}, {name.replace("_", "-"): value for name, value in headers.items()})
    return [(question.action, str(question.resource)) for question in questions_of("s3", request)]


def test_a_copy_reads_its_source_and_writes_its_target() -> None:
    assert _asked("PUT", "/b/to", x_amz_copy_source="/a/from%20here") == [
        ("s3:PutObject", "arn:aws:s3:::b/to"),
        ("s3:GetObject", "arn:aws:s3:::a/from here"),
    ]


def test_parts_of_an_upload_are_written_and_an_upload_is_aborted() -> None:
    assert _asked("PUT", "/b/k", {"uploadId": "1", "partNumber": "1"}) == [("s3:PutObject", "arn:aws:s3:::b/k")]
    assert _asked("POST", "/b/k", {"uploads": ""}) == [("s3:PutObject", "arn:aws:s3:::b/k")]
    assert _asked("DELETE", "/b/k", {"uploadId": "1"}) == [("s3:AbortMultipartUpload", "arn:aws:s3:::b/k")]


@pytest.mark.parametrize(("method", "path", "query"), [("GET", "/b/k", {"tagging": ""}), ("PUT", "/b", {}), ("GET", "/b", {"policy": ""})])
def test_a_request_whose_permission_is_not_known_is_refused(method: str, path: str, query: dict[str, str]) -> None:
    with pytest.raises(NotModelled):
        _asked(method, path, query)


@given(st.permutations(range(6)), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda pair: pair[0] < pair[1])))
def test_what_depends_on_a_resource_goes_before_it(order: list[int], edges: set[tuple[int, int]]) -> None:
    ways = [lambda on: {"Ref": on}, lambda on: {"Fn::GetAtt": [on, "Arn"]}, lambda on: {"Fn::Sub": f"x-${{{on}}}-${{AWS::Region}}"}]
    resources: dict[str, dict[str, Any]] = {f"R{number}": {"Properties": {}} for number in order}
    for start, (low, high) in enumerate(sorted(edges)):
        resources[f"R{high}"]["Properties"][f"p{start}"] = ["", ways[start % 3](f"R{low}")]
    deleted = dependants_first(resources)
    assert sorted(deleted) == sorted(resources)
    assert all(deleted.index(f"R{high}") < deleted.index(f"R{low}") for low, high in edges)
