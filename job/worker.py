"""What a Python worker of Spark is spared: work that PySpark and pyarrow do between and before tasks, and that we do not need.

Found with a profiler on Spark 4.1.1; docs/decisions/0001 has the list.
"""

from __future__ import annotations

import gc
import sys
import zipimport


def spare_worker() -> None:
    """To be called at the start of each task; changes this process only."""
    # PySpark calls importlib.invalidate_caches() before each task, and since Python 3.10 that has every importer of
    # pyspark.zip read the whole archive's directory again. These archives do not change while a worker lives.
    setattr(zipimport.zipimporter, "invalidate_caches", _do_nothing)  # noqa: B010  mypy refuses the assignment
    if _NoPandas not in sys.meta_path:
        sys.meta_path.insert(0, _NoPandas)
    # PySpark collects garbage after each task, which walks over every module ever imported. What is alive now, just
    # after such a collection, is modules and caches, and stays.
    gc.freeze()


class _NoPandas:
    """A finder of modules that has no pandas: where there is one, pyarrow imports it to ask whether a list is one of its."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of Verger's workers", name=name)


def _do_nothing(importer: zipimport.zipimporter) -> None:
    pass
