"""Does work ahead of whoever takes its results, on a few threads, in order and with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    weigh: Callable[[Item], int] = lambda _: 0,
    budget: int = 0,
) -> Iterator[Result]:
    """work(item) of each item, in order, made ahead of the one taken.

    Beyond that one at most `threads` results are being made or waiting, and no more of them than weigh `budget` together,
    but always one. Whoever takes no more waits for those that are under way, and for no others.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        pending: deque[tuple[Future[Result], int]] = deque()
        held = 0
        for item in items:
            weight = weigh(item)
            while pending and (len(pending) > threads or held + weight > budget > 0):
                future, lighter = pending.popleft()
                yield future.result()
                held -= lighter
            pending.append((pool.submit(work, item), weight))
            held += weight
        while pending:
            yield pending.popleft()[0].result()
    finally:
        pool.shutdown(cancel_futures=True)
