"""What of the wheels stays behind, and why: what the job never loads, and what differs from build to build.

The tests import every module of the job, run a model, decode pictures, write Parquet and ask for clients of S3 and STS
in an environment without these files. A pattern that no longer matches is an error: so the list cannot rot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bootstrap.errors import BootstrapError
from job.releases import Architecture


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that stay behind.

    reason    for the card, and for who wonders where they are
    patterns  of paths below site-packages; "*" matches "/" as well
    but       patterns of those that come along nevertheless
    only      the architecture whose wheels have them, None for all
    """

    reason: str
    patterns: tuple[str, ...]
    but: tuple[str, ...] = ()
    only: Architecture | None = None

    def pattern_of(self, path: str) -> str | None:
        """The first pattern that `path` matches."""
        if any(fnmatchcase(path, pattern) for pattern in self.but):
            return None
        return next((pattern for pattern in self.patterns if fnmatchcase(path, pattern)), None)


RULES = (
    # Of every package
    LeftOut(
        "records of this installation: they name its machine, and files left out",
        ("*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED", ".lock"),
    ),
    LeftOut("commands: executors run none, and their first line names the machine they were made on", ("bin/*",)),
    LeftOut("tests: they ran where the wheels were made", ("*/tests/*", "numpy/_core/_*_tests.*", "pyarrow/*_cpp_tests*")),
    LeftOut("types: for checkers of sources", ("*.pyi", "*/py.typed")),
    LeftOut("sources and headers: nothing is compiled on executors", ("*.h", "*.hpp", "*.c", "*.cc", "*.pxd", "*.pyx", "*.pxi", "*.a")),
    # pyarrow. Substrait, Dataset, Acero, Compute and Parquet stay: its core library links them.
    LeftOut("Arrow Flight: the job moves no tables over a network", ("pyarrow/*flight*",)),
    LeftOut("Arrow's client of S3: the job has obstore and boto3", ("pyarrow/_s3fs*", "pyarrow/libarrow_s3*")),
    LeftOut(
        "second and third copies of libraries that load by their version's name",
        ("pyarrow/libarrow_python*.so", "pyarrow/libarrow_python*.so.*.*"),
    ),
    # LiteRT
    LeftOut("LiteRT's WebGPU: executors have no graphics card", ("ai_edge_litert/libLiteRtWebGpuAccelerator.so",)),
    LeftOut("LiteRT's compilers for telephones: models are compiled elsewhere", ("ai_edge_litert/aot/*", "ai_edge_litert/tools/*")),
    LeftOut("LiteRT's plug-ins for telephones", ("ai_edge_litert/vendors/*",), only="x86_64"),
    LeftOut("LiteRT's reader of flatbuffers in Python: its interpreter has one of its own", ("ai_edge_litert/schema_py_generated.py",)),
    LeftOut(
        "what LiteRT's converter needs, and its interpreter does not",
        (
            "backports/strenum/*",
            "backports_strenum-*",
            "flatbuffers[/-]*",
            "google/_upb/*",
            "google/protobuf/*",
            "protobuf-*",
            "ml_dtypes[/-]*",
            "tqdm[/-]*",
        ),
    ),
    # NumPy
    LeftOut("NumPy's compilers of Fortran and of extensions", ("numpy/f2py/*", "numpy/distutils/*")),
    # Pillow
    LeftOut(
        "fonts: the job draws no text",
        ("PIL/_imagingft.*", "pillow.libs/libfreetype-*", "pillow.libs/libharfbuzz-*", "pillow.libs/libbrotli*"),
    ),
    LeftOut("colour profiles: pixels are taken as they are", ("PIL/_imagingcms.*", "pillow.libs/liblcms2-*")),
    LeftOut("windows: executors have no screen", ("PIL/_imagingtk.*",)),
    # boto3
    LeftOut(
        "other services than S3 and the one that gives credentials",
        ("botocore/data/*/*",),
        but=("botocore/data/s3/*", "botocore/data/sts/*"),
    ),
    LeftOut("boto3's resources and examples: the job uses clients", ("boto3/data/*", "boto3/examples/*")),
)


@dataclass(frozen=True, slots=True)
class Division:
    """Paths that are packed, sorted, and bytes left out by reason."""

    kept: tuple[str, ...]
    left_out: dict[str, int]


def divide(sizes: Mapping[str, int], architecture: Architecture, rules: Iterable[LeftOut] = RULES) -> Division:
    """Which of the files in `sizes` (path below site-packages to bytes) are packed.

    BootstrapError where a pattern leaves nothing out.
    """
    rules = [rule for rule in rules if rule.only in (None, architecture)]
    unused = [(rule, pattern) for rule in rules for pattern in rule.patterns]
    left_out = {rule.reason: 0 for rule in rules}
    kept = []
    for path, size in sorted(sizes.items()):
        found = next(((rule, pattern) for rule in rules if (pattern := rule.pattern_of(path))), None)
        if not found:
            kept.append(path)
            continue
        left_out[found[0].reason] += size
        if found in unused:
            unused.remove(found)
    if unused:
        rule, pattern = unused[0]
        raise BootstrapError(
            f'nothing in these wheels matches "{pattern}", which was to be left out ({rule.reason})',
            "correct or remove it in bootstrap/environment/leftout.py",
        )
    return Division(tuple(kept), left_out)
