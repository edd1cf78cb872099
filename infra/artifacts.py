"""What a run needs beside the application: code, model and packages, each under a key that is its digest.

They are file assets, which `cdk deploy` uploads to the bucket of `cdk bootstrap` and never overwrites: a run that has
started keeps the files that it started with. See docs/decisions/0007-artifacts-are-assets.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aws_cdk import CfnOutput, CfnParameter
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from infra.environments import Environment
from infra.errors import InfraError
from infra.zips import whole, zip_files
from job import contract

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"


@dataclass(frozen=True, slots=True)
class Built:
    """The files to upload. missing: what stands in for files that have not been built."""

    entry_point: Path
    job_package: Path
    model: Path
    environment_archive: Path
    missing: tuple[str, ...] = ()


class Artifacts(Construct):
    """The files of a run as assets."""

    def __init__(self, scope: Construct, id_: str, *, built: Built) -> None:
        super().__init__(scope, id_)
        self.entry_point = assets.Asset(self, "EntryPoint", path=str(built.entry_point))
        self.job_package = assets.Asset(self, "JobPackage", path=str(built.job_package))
        self.model = assets.Asset(self, "Model", path=str(built.model))
        self.environment = assets.Asset(self, "Environment", path=str(built.environment_archive))
        if built.missing:
            # A parameter without a default: CloudFormation asks for it, so what has placeholders cannot be deployed
            block = CfnParameter(
                self, "BuildTheArtifactsFirst", description=f"Not built: {'; '.join(built.missing)}", allowed_values=["no"]
            )
            CfnOutput(self, "Placeholders", value=block.value_as_string, description="Where a template has this, it cannot be deployed")


def build(environment: Environment, *, folder: Path = BUILD, placeholders: bool = False) -> Built:
    """The artifacts of an environment, zips written to `folder`.

    InfraError where the model or the packages have not been built, or the model is not for this environment, unless
    `placeholders` may stand in for them; and where files cannot be read or written.
    """
    with _foreseen(folder):
        return _build(environment, folder=folder, placeholders=placeholders)


def _build(environment: Environment, *, folder: Path, placeholders: bool) -> Built:
    packed = folder / "package"
    packed.mkdir(parents=True, exist_ok=True)
    job_package = zip_files(sorted((ROOT / "job").rglob("*.py")), base=ROOT, out=packed / "job.zip")
    missing: list[str] = []

    def found_or_placeholder(name: str, problem: InfraError | None, found: Path) -> Path:
        if problem is None:
            return found
        if not placeholders:
            raise problem
        missing.append(problem.hint)
        stand_in = packed / f"placeholder-{name}"
        with whole(stand_in) as half:
            half.write_text(f"{problem.hint}\n")
        return stand_in

    model, card = folder / "model" / contract.FLATBUFFER, folder / "model" / contract.MODEL_CARD
    problem = _check_model(model, card, environment)
    zipped = packed / "model.zip"
    if problem is None:
        zip_files([model, card], base=model.parent, out=zipped)
    archive, problem_of_archive = _environment_archive(environment, folder=folder)
    return Built(
        ROOT / "job" / "__main__.py",
        job_package,
        found_or_placeholder("model.zip", problem, zipped),
        found_or_placeholder(contract.ENVIRONMENT_ARCHIVE, problem_of_archive, archive),
        tuple(missing),
    )


@contextmanager
def _foreseen(folder: Path) -> Iterator[None]:
    """Puts what the disk refuses on one line. A full disk does not say for which file; a replaced file is the second that is named."""
    try:
        yield
    except OSError as error:
        where = Path(error.filename2 or error.filename or folder)
        raise InfraError(f"{_shown(where)}: {error.strerror}", "-c build=DIR names a folder to write to, with room in it") from error


def _check_model(flatbuffer: Path, card: Path, environment: Environment) -> InfraError | None:
    hint = "make model WEIGHTS=FILE.h5"
    if not flatbuffer.is_file() or not card.is_file():
        return InfraError(f"no model in {_shown(flatbuffer.parent)}", hint)
    try:
        described = contract.ModelCard.from_json(card.read_text())
    except ValueError as error:
        return InfraError(f"{_shown(card)}: {error}", hint)
    if _digest(flatbuffer) != described.sha256:
        return InfraError(f"{_shown(flatbuffer)} is not the file that its model card describes", hint)
    if described.is_random and not environment.disposable:
        return InfraError(f"{_shown(flatbuffer)} has weights {described.weights}, and {environment.name} is not disposable", hint)
    return None


def _environment_archive(environment: Environment, *, folder: Path) -> tuple[Path, InfraError | None]:
    """Where the packages' archive for the environment's release and architecture is, and what is wrong with it, if anything."""
    release, architecture = environment.release.label, environment.architecture
    hint = f"make environment ENV={environment.name}"
    archive = folder / "environment" / f"{release}-{architecture}" / contract.ENVIRONMENT_ARCHIVE
    card = archive.with_name(contract.ENVIRONMENT_CARD)
    if not archive.is_file() or not card.is_file():
        return archive, InfraError(f"no packages for {release} on {architecture} in {_shown(archive.parent)}", hint)
    try:
        described = contract.EnvironmentCard.from_json(card.read_text())
    except ValueError as error:
        return archive, InfraError(f"{_shown(card)}: {error}", hint)
    if (described.release, described.architecture, described.sha256) != (release, architecture, _digest(archive)):
        return archive, InfraError(f"{_shown(archive)} is not the file that its card describes", hint)
    return archive, None


def _digest(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
