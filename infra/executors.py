"""What an environment's executors are, as flags of `python -m bootstrap environment`: python -m infra.executors dev."""

from __future__ import annotations

import sys

from infra.environments import load_environments
from infra.errors import BadEnvironment, InfraError


def main(name: str = "") -> int:
    """Prints the flags; returns the exit code."""
    try:
        environments = load_environments()
        if name not in environments:
            raise BadEnvironment(f"environment {name!r} is unknown", f"allowed: {', '.join(environments)}")
        environment = environments[name]
    except InfraError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    print(f"--release {environment.release.label} --architecture {environment.architecture}")
    return 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
