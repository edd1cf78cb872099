"""Pages that say what the code does, and links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def statements(module: str) -> set[str]:
    """Sids of the statements that a module of the stacks writes."""
    found = set(re.findall(r'allow\(\s*"(\w+)"', (REPOSITORY / "infra" / module).read_text()))
    assert found, f"{module} has no statement any more"
    return found


@pytest.mark.parametrize("module", ["security.py", "delivery.py", "policies.py"])
def test_every_permission_of_a_role_is_on_the_page(module: str) -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    assert [sid for sid in sorted(statements(module)) if f"`{sid}`" not in page] == []


def test_the_page_has_no_permission_that_is_not_there() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| ((?:`[A-Z]\w+`(?:, )?)+) \|", page, re.MULTILINE)
    shown = {sid for row in rows for sid in re.findall(r"`(\w+)`", row)}
    assert shown - {"Sid"} | {"AssumeBootstrapRoles"} == statements("security.py") | statements("delivery.py") | statements("policies.py")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_a_link_leads_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []
