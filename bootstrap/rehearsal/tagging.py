"""Tags of objects as `cdk gc` puts them and takes them away, which S3 takes and moto does not."""

from __future__ import annotations

from typing import Any

from moto.s3.models import S3Backend
from moto.s3.responses import S3Response

RESERVED = "aws:"


def install() -> None:
    """Has moto take keys that begin with `aws` and not with `aws:`, and a set without a tag."""
    put, read = S3Backend.put_object_tagging, S3Response._tagging_from_xml

    def tagged(self: Any, key: Any, tags: dict[str, str] | None) -> Any:
        given = tags or {}
        taken = {name: value for name, value in given.items() if name.startswith("aws") and not name.startswith(RESERVED)}
        done = put(self, key, {name: value for name, value in given.items() if name not in taken})
        self.tagger.tag_resource(key.arn, self.tagger.convert_dict_to_tags_input(taken))
        return done

    S3Backend.put_object_tagging = tagged
    S3Response._tagging_from_xml = lambda self: read(self) if "<Tag>" in str(self.body) else {}
