"""How the service says no."""

from __future__ import annotations


class Refused(Exception):
    """An error of the service's API: its code, and what it says."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        return {"ResourceNotFoundException": 404, "ConflictException": 409, "AccessDeniedException": 403}.get(self.code, 400)
