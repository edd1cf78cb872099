"""The sizes that EMR Serverless gives a driver or an executor.

Source: "Understanding application behavior", EMR Serverless User Guide: supported worker configurations.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.errors import BadEnvironment

MEMORY_GB = {1: range(2, 9), 2: range(4, 17), 4: range(8, 31), 8: range(16, 61, 4), 16: range(32, 121, 8)}  # by vCPUs
DISK_GB = range(20, 201)  # of the standard kind; the first 20 GB of a worker are not billed


@dataclass(frozen=True, slots=True)
class Worker:
    """A driver or an executor: vCPUs, and memory and disk in GB. BadEnvironment for a size that is not offered."""

    vcpus: int
    memory_gb: int
    disk_gb: int = DISK_GB.start

    def __post_init__(self) -> None:
        if self.vcpus not in MEMORY_GB:
            raise BadEnvironment(f"vcpus = {self.vcpus}", f"a worker has {_either(list(MEMORY_GB))} vCPUs")
        if self.memory_gb not in (memory := MEMORY_GB[self.vcpus]):
            step = f", in steps of {memory.step}" if memory.step > 1 else ""
            raise BadEnvironment(
                f"memory_gb = {self.memory_gb}", f"a worker of {self.vcpus} vCPUs has {memory.start} to {memory[-1]} GB{step}"
            )
        if self.disk_gb not in DISK_GB:
            raise BadEnvironment(f"disk_gb = {self.disk_gb}", f"a worker has {DISK_GB.start} to {DISK_GB[-1]} GB of disk")

    @property
    def heap_gb(self) -> int:
        """What the JVM gets: an eighth, as it only moves counts. The rest is the overhead, where Python's processes live."""
        return max(1, self.memory_gb // 8)


def _either(values: list[int]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
