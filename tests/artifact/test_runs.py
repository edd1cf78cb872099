"""This machine's environment at work: unpacked as Spark does it, with the job from its zip, away from the repository."""

from __future__ import annotations

import json
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import job
from job.decode.options import Decoding
from job.decode.pixels import Decoded, decode
from tests.conftest import REPOSITORY, lacking
from tests.spark.conftest import MODEL, SIDE, grid_means, picture

FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif", "AVIF": "avif", "JPEG2000": "jp2", "BMP": "bmp"}
REFERENCE = "job.features.keras"  # needs TensorFlow, which executors do not have
MODULES = sorted({module.name for module in pkgutil.walk_packages(job.__path__, "job.")} - {REFERENCE, "job.__main__"})


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same picture in every format that the job is likely to meet."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, suffix in FORMATS.items():
        picture(1).save(folder / f"{name}.{suffix}", name)
    return folder


def test_it_is_a_virtual_environment_of_its_own(run: Callable[..., str], unpacked: Path, package: Path, spark_alone: Path) -> None:
    prefix, path = json.loads(run("-c", "import json, sys; print(json.dumps([sys.prefix, sys.path]))"))
    assert Path(prefix) == unpacked
    assert {str(unpacked / "lib/python3.11/site-packages"), str(package), str(spark_alone)} <= set(path)
    assert not [place for place in path if str(REPOSITORY) in place]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_of_the_job_loads(run: Callable[..., str], package: Path, module: str) -> None:
    loaded_from = run("-c", f"import {module}; print({module}.__file__)").strip()
    assert loaded_from.startswith(str(package))


def test_what_the_job_imports_late_loads_too(run: Callable[..., str]) -> None:
    """Clients are made, which reads the descriptions of services; nothing is asked of them."""
    run(
        "-c",
        "import boto3, obstore, obstore.auth.boto3, pyarrow.dataset, pyarrow.parquet\n"
        "session = boto3.Session('AKIAEXAMPLE', 'secret', region_name='eu-west-1')\n"
        "for service in ('s3', 'sts'):\n"
        "    session.client(service, endpoint_url='http://localhost:9')\n"
        "obstore.store.S3Store('bucket', endpoint='http://localhost:9', client_options={'allow_http': True},\n"
        "    credential_provider=obstore.auth.boto3.Boto3CredentialProvider(session))\n",
    )


def test_versions_of_its_packages_are_known(run: Callable[..., str]) -> None:
    """The job's summary tells them."""
    assert run("-c", "from importlib.metadata import version; print(version('numpy'), version('ai-edge-litert'))").split()


def test_it_decodes_what_this_python_decodes(run: Callable[..., str], pictures: Path, tmp_path: Path) -> None:
    run(
        "-c",
        "import pathlib, sys\n"
        "import numpy\n"
        "from job.decode.options import Decoding\n"
        "from job.decode.pixels import decode\n"
        "files = sorted(pathlib.Path(sys.argv[1]).iterdir())\n"
        "numpy.savez('pixels.npz', **{file.name: decode(file.read_bytes(), side=32, how=Decoding()).pixels for file in files})\n",
        str(pictures),
    )
    with np.load(tmp_path / "pixels.npz") as pixels:
        assert len(pixels) == len(FORMATS)
        for name in pixels:
            here = decode((pictures / name).read_bytes(), side=32, how=Decoding())
            assert isinstance(here, Decoded)
            np.testing.assert_array_equal(pixels[name], here.pixels)


def test_it_runs_a_model_and_writes_parquet(run: Callable[..., str], pictures: Path, tmp_path: Path) -> None:
    run(
        "-c",
        "import pathlib, sys\n"
        "import pyarrow, pyarrow.parquet\n"
        "from job.decode.options import Decoding\n"
        "from job.decode.pixels import decode\n"
        "from job.features.litert import load_litert\n"
        f"pixels = decode(pathlib.Path(sys.argv[1]).read_bytes(), side={SIDE}, how=Decoding()).pixels\n"
        "features = load_litert(pathlib.Path(sys.argv[2]))(pixels[None])\n"
        "pyarrow.parquet.write_table(pyarrow.table({'features': features.tolist()}), 'features.parquet', compression='zstd')\n"
        "assert pyarrow.parquet.read_table('features.parquet').num_rows == 1\n",
        str(pictures / "PNG.png"),
        str(MODEL),
    )
    features = pq.read_table(tmp_path / "features.parquet")["features"].to_pylist()
    np.testing.assert_allclose(features[0], grid_means(str(pictures / "PNG.png")), rtol=1e-5, atol=1e-6)


def test_the_whole_job_runs_in_it(run: Callable[..., str], pictures: Path, tmp_path: Path) -> None:
    """Driver and workers, on a Spark that is not of the environment: as in the release."""
    if not shutil.which("java"):
        lacking("no Java here: Spark needs version 17")
    words = ("--images", str(pictures), "--results", "results", "--model", str(MODEL), "--components", "2", "--cores", "2", "--quiet")
    run("-m", "job", "run", *words)
    assert pq.read_table(tmp_path / "results" / "projections").num_rows == len(FORMATS)
