"""The command line: what each flag means, and what is said where it means nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.cli import main
from job.config import Command, FeaturizeConfig, FitConfig, MaxFaults, ProjectConfig, Session
from job.decode.options import Decoding
from job.errors import Interrupted, JobError, ResultsExist, SparkFailed, TooManyFaults, UsageError
from job.sources.listing import ImageSource
from job.storage import S3Path

RUN = ("run", "--images", "/photos", "--results", "/out", "--model", "/m.tflite")
FEATURIZE = ("featurize", *RUN[1:])
FIT = ("fit", "--results", "/out")
PROJECT = ("project", "--results", "/out")


def parsed(*argv: str) -> Command:
    """The command that the worker gets."""
    commands: list[Command] = []
    assert main(argv, run=commands.append) == 0
    (command,) = commands
    return command


def featurizing(*flags: str) -> FeaturizeConfig:
    config = parsed(*FEATURIZE, *flags).featurize
    assert config is not None
    return config


def fitting(*flags: str) -> FitConfig:
    config = parsed(*FIT, *flags).fit
    assert config is not None
    return config


def projecting(*flags: str) -> ProjectConfig:
    config = parsed(*PROJECT, *flags).project
    assert config is not None
    return config


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one error line of a command line that cannot be used, checked for manner."""
    commands: list[Command] = []
    assert main(argv, run=commands.append) == 2
    assert commands == []
    said = capsys.readouterr()
    assert said.out == ""
    error, hint = said.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return error


# --- verbs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "stages"),
    [(RUN, (True, True, True)), (FEATURIZE, (True, False, False)), (FIT, (False, True, False)), (PROJECT, (False, False, True))],
)
def test_a_verb_chooses_stages(argv: tuple[str, ...], stages: tuple[bool, ...]) -> None:
    command = parsed(*argv)
    assert tuple(stage is not None for stage in (command.featurize, command.fit, command.project)) == stages


def test_defaults_are_four_centred_components_of_all_images() -> None:
    source = ImageSource(("/photos",), (), "parent", None, None)
    featurize = FeaturizeConfig(source, Path("/m.tflite"), "litert", Decoding(), "single", MaxFaults(share=1.0))
    fit = FitConfig(4, standardize=False, centered=True, only_labels=None)
    expected = Command(Path("/out"), featurize, fit, ProjectConfig(None, None), False, False, Session(None, False, False))
    assert parsed(*RUN) == expected


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (RUN, ("features", "faults", "pca", "projections", "projections.csv")),
        (FEATURIZE, ("features", "faults", "pca", "projections", "projections.csv")),
        (FIT, ("pca", "projections", "projections.csv")),
        (PROJECT, ("projections", "projections.csv")),
    ],
)
def test_a_command_replaces_what_it_makes_and_what_is_made_from_that(argv: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert parsed(*argv).names == names


# --- flags ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [RUN, FEATURIZE, FIT, PROJECT], ids=lambda argv: argv[0])
@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ((), (False, False, Session())),
        (("--overwrite",), (True, False, Session())),
        (("--dry-run",), (False, True, Session())),
        (("--cores", "3"), (False, False, Session(cores=3))),
        (("--quiet",), (False, False, Session(quiet=True))),
        (("--verbose",), (False, False, Session(verbose=True))),
    ],
)
def test_every_verb_knows_the_flags_of_a_run(argv: tuple[str, ...], flags: tuple[str, ...], found: tuple[object, ...]) -> None:
    command = parsed(*argv, *flags)
    assert (command.overwrite, command.dry_run, command.session) == found


@pytest.mark.parametrize(
    ("flags", "attribute", "value"),
    [
        (("--include", "*.jpg"), "include", ("*.jpg",)),
        (("--include", "*.jpg", "--include", "*.png"), "include", ("*.jpg", "*.png")),
        (("--labels-from", "none"), "labels_from", "none"),
        (("--labels-from", "parent"), "labels_from", "parent"),
        (("--classes", "15"), "classes", 15),
        (("--limit", "1000"), "limit", 1000),
        (("--images", "/more"), "roots", ("/photos", "/more")),
    ],
)
def test_flags_about_images_reach_the_source(flags: tuple[str, ...], attribute: str, value: object) -> None:
    assert getattr(featurizing(*flags).source, attribute) == value


@pytest.mark.parametrize(
    ("flags", "how"),
    [
        (("--max-bytes", "1000"), Decoding(max_bytes=1000)),
        (("--max-pixels", "1000"), Decoding(max_pixels=1000)),
        (("--apply-orientation",), Decoding(apply_orientation=True)),
        (("--fast-decode",), Decoding(fast=True)),
    ],
)
def test_flags_about_pixels_reach_decoding(flags: tuple[str, ...], how: Decoding) -> None:
    assert featurizing(*flags).how == how


@pytest.mark.parametrize("engine", ["litert", "keras"])
def test_the_engine_is_chosen_by_name(engine: str) -> None:
    assert featurizing("--engine", engine).engine == engine


@pytest.mark.parametrize("precision", ["single", "half"])
def test_the_precision_is_chosen_by_name(precision: str) -> None:
    assert featurizing("--precision", precision).precision == precision
    assert featurizing().precision == "single"


@pytest.mark.parametrize(
    ("flags", "config"),
    [
        (("--components", "7"), FitConfig(7)),
        (("--standardize",), FitConfig(standardize=True)),
        (("--uncentered-projection",), FitConfig(centered=False)),
        (("--only-labels", "a,b"), FitConfig(only_labels=frozenset("ab"))),
        (("--only-labels", "Apple Red 1,"), FitConfig(only_labels=frozenset({"Apple Red 1"}))),
        (("--label-cap", "0"), FitConfig(label_cap=0)),
        (("--with", "/old"), FitConfig(others=(Path("/old"),))),
        (("--with", "/old", "--with", "/older/pca/moments"), FitConfig(others=(Path("/old"), Path("/older/pca/moments")))),
    ],
)
def test_flags_about_components_reach_the_fit(flags: tuple[str, ...], config: FitConfig) -> None:
    assert fitting(*flags) == config


@pytest.mark.parametrize(
    ("flags", "config"),
    [
        ((), ProjectConfig()),
        (("--features", "/other"), ProjectConfig(features=Path("/other"))),
        (("--uncentered-projection",), ProjectConfig(centered=False)),
    ],
)
def test_flags_about_projections_reach_the_projection(flags: tuple[str, ...], config: ProjectConfig) -> None:
    assert projecting(*flags) == config


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (("/out",), "--results itself"),
        (("/elsewhere/../out/",), "--results itself"),
        (("/out/pca/moments",), "--results itself"),
        (("/old", "/old"), "given twice"),
        (("/old", "/older", "/old/pca/moments"), "given twice"),
    ],
)
def test_no_image_counts_twice_in_a_fit(capsys: pytest.CaptureFixture[str], folders: tuple[str, ...], said: str) -> None:
    error = refused(capsys, *FIT, *(word for folder in folders for word in ("--with", folder)))
    assert said in error


def test_a_run_can_be_told_all_of_it_at_once() -> None:
    command = parsed(*RUN, "--components", "0.9", "--standardize", "--uncentered-projection", "--limit", "9")
    assert command.fit == FitConfig(0.9, standardize=True, centered=False)
    assert command.project == ProjectConfig(None, False)
    assert command.featurize is not None
    assert command.featurize.source.limit == 9


def test_locations_are_made_absolute_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    command = parsed("run", "--images", "my photos/", "--results", "file:///my%20out", "--model", "m.tflite")
    assert command.results == Path("/my out")
    assert command.featurize is not None
    assert command.featurize.source.roots == (str(tmp_path / "my photos"),)
    assert command.featurize.model == tmp_path / "m.tflite"


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [("4", 4), ("1", 1), ("1e3", 1000), ("0.95", 0.95), (".5", 0.5), ("1e-1", 0.1)])
def test_components_are_a_count_or_a_share(text: str, value: int | float) -> None:
    components = fitting("--components", text).components
    assert components == value
    assert type(components) is type(value)


@pytest.mark.parametrize("text", ["0", "0.0", "1.0", "4.0", "1.5", "-1", "-0.5", "abc", "", "nan", "inf", "1e999"])
def test_components_that_are_neither_are_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    error = refused(capsys, *FIT, "--components", text)
    assert "--components" in error
    assert repr(text) in error


@pytest.mark.parametrize("text", ["nan", "abc", "1.5"])
def test_an_error_speaks_of_flags_and_not_of_our_functions(capsys: pytest.CaptureFixture[str], text: str) -> None:
    for flags in ((*FIT, "--components", text), (*RUN, "--limit", text), (*RUN, "--max-faults", text)):
        assert " _" not in refused(capsys, *flags)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1%", MaxFaults(share=0.01)),
        ("100%", MaxFaults(share=1.0)),
        ("0%", MaxFaults(share=0.0)),
        ("3", MaxFaults(count=3)),
        ("0", MaxFaults(0)),
    ],
)
def test_max_faults_are_a_share_or_a_count(text: str, value: MaxFaults) -> None:
    assert featurizing("--max-faults", text).max_faults == value


@pytest.mark.parametrize("text", ["101%", "-1", "1.5", "x", "", "nan", "nan%", "inf", "inf%", "0.5"])
def test_max_faults_that_are_neither_are_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    error = refused(capsys, *RUN, "--max-faults", text)
    assert "--max-faults" in error
    assert repr(text.removesuffix("%"))[1:-1] in error


@pytest.mark.parametrize("text", ["x%", "%"])
def test_a_share_that_is_no_number_is_quoted_as_it_was_typed(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert repr(text) in refused(capsys, *RUN, "--max-faults", text)


@given(count=st.integers(0, 10**9))
def test_a_count_of_faults_reads_back_as_it_is_shown(count: int) -> None:
    assert featurizing("--max-faults", str(MaxFaults(count=count))).max_faults == MaxFaults(count=count)


@given(hundredths=st.integers(0, 10_000))
def test_a_share_of_faults_reads_back_as_it_is_shown(hundredths: int) -> None:
    asked = featurizing("--max-faults", f"{hundredths / 100}%").max_faults
    assert featurizing("--max-faults", str(asked)).max_faults == asked


@pytest.mark.parametrize("flag", ["--classes", "--limit", "--max-bytes", "--max-pixels", "--cores"])
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "abc", "", "nan", "inf"])
def test_counts_of_at_least_one_are_whole_numbers(capsys: pytest.CaptureFixture[str], flag: str, text: str) -> None:
    error = refused(capsys, *RUN, flag, text)
    assert flag in error
    assert repr(text) in error


@pytest.mark.parametrize("text", ["-1", "0.5", "many"])
def test_a_label_cap_is_a_whole_number(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert repr(text) in refused(capsys, *FIT, "--label-cap", text)


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "offender"),
    [
        ((), "VERB"),
        (("paint",), "paint"),
        (("run",), "--results"),
        (("run", "--results", "/out"), "--images"),
        (("run", "--results", "/out", "--images", "/a"), "--model"),
        (("fit",), "--results"),
        ((*FIT, "--images", "/photos"), "--images"),
        ((*PROJECT, "--components", "4"), "--components"),
        ((*FEATURIZE, "--components", "4"), "--components"),
        ((*RUN, "--only-labels", "a"), "--only-labels"),
        ((*RUN, "--features", "/f"), "--features"),
        ((*FIT, "--components"), "--components"),
        ((*FIT, "extra"), "extra"),
        ((*RUN, "--engine", "torch"), "torch"),
        ((*RUN, "--labels-from", "name"), "name"),
        ((*FIT, "--only-labels", ","), "','"),
        ((*FIT, "--only-labels", ""), "''"),
    ],
)
def test_what_a_verb_does_not_know_or_lacks_is_named(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], offender: str) -> None:
    assert offender in refused(capsys, *argv)


@pytest.mark.parametrize("flag", ["--component", "--comp", "--over", "--q", "--dry", "--standard"])
def test_abbreviated_flags_are_refused(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert flag in refused(capsys, *FIT, flag)


def test_abbreviated_verbs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'proj'" in refused(capsys, "proj", "--results", "/out")


@pytest.mark.parametrize(
    "argv",
    [
        ("run", "--images", "hdfs://bucket/x", "--results", "/out", "--model", "/m"),
        ("run", "--images", "/photos", "--results", "hdfs://bucket/x", "--model", "/m"),
        ("run", "--images", "/photos", "--results", "/out", "--model", "hdfs://bucket/x"),
        (*PROJECT, "--features", "hdfs://bucket/x"),
    ],
)
def test_a_place_that_cannot_be_reached_is_named(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    assert "hdfs://bucket/x" in refused(capsys, *argv)


@pytest.mark.parametrize("scheme", ["s3", "s3a", "s3n", "S3"])
def test_every_place_may_be_in_s3_under_any_of_its_names(scheme: str) -> None:
    command = parsed(
        "run", "--images", f"{scheme}://photos/a//b/", "--results", f"{scheme}://out/r/", "--model", f"{scheme}://models/x.tflite"
    )
    assert command.featurize is not None
    assert command.featurize.source.roots == ("s3://photos/a//b",)
    assert command.results == S3Path("out", "r")
    assert command.featurize.model == S3Path("models", "x.tflite")
    assert projecting("--features", f"{scheme}://other/features").features == S3Path("other", "features")


@pytest.mark.parametrize("location", ["s3://", "s3:///x", "s3://a/x", "s3://no bucket/x", "s3://-a-/x", "s3://user:secret@bucket/x"])
def test_what_names_no_bucket_is_refused(capsys: pytest.CaptureFixture[str], location: str) -> None:
    assert location in refused(capsys, "fit", "--results", location)


@pytest.mark.parametrize("flag", ["--results", "--features", "--model"])
def test_a_whole_bucket_is_for_images_only(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    argv = {"--results": FIT[:1], "--features": PROJECT, "--model": ("featurize", "--images", "/i", "--results", "/out")}[flag]
    assert "s3://bucket is a whole bucket" in refused(capsys, *argv, flag, "s3://bucket/")
    command = parsed("featurize", "--images", "s3://bucket/", "--results", "/out", "--model", "/m")
    assert command.featurize is not None
    assert command.featurize.source.roots == ("s3://bucket",)


@pytest.mark.parametrize("folder", ["features", "features/a", "projections.csv", ".verger/run-1"])
@pytest.mark.parametrize("root", ["/out", "s3://out/r"])
def test_images_where_a_run_replaces_things_are_refused(capsys: pytest.CaptureFixture[str], root: str, folder: str) -> None:
    error = refused(capsys, "featurize", "--results", root, "--model", "/m", "--images", f"{root}/{folder}")
    assert f"--images {root}/{folder} lies inside" in error


@pytest.mark.parametrize("results", ["s3://photos", "s3://photos/out"])
def test_results_among_the_images_in_s3_are_refused(capsys: pytest.CaptureFixture[str], results: str) -> None:
    assert results in refused(capsys, "featurize", "--results", results + "/r", "--model", "/m", "--images", "s3://photos")


def test_keys_that_begin_alike_do_not_overlap() -> None:
    roots = ("s3://bucket/photos", "s3://bucket/photos-old")
    command = parsed("featurize", "--images", roots[0], "--images", roots[1], "--results", "s3://bucket/photos-out", "--model", "/m")
    assert command.featurize is not None
    assert command.featurize.source.roots == roots


def test_images_of_two_kinds_of_places_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "featurize", "--results", "/out", "--model", "/m", "--images", "/photos", "--images", "s3://bucket/photos")
    assert "/photos" in error
    assert "s3://bucket/photos" in error


def test_an_empty_location_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "''" in refused(capsys, "fit", "--results", "")


@pytest.mark.parametrize(
    ("one", "other"),
    [("/photos", "/photos"), ("/photos", "/photos/"), ("/photos", "/photos/apples"), ("/photos/apples/red", "/photos"), ("/", "/photos")],
)
def test_folders_that_overlap_are_refused_by_name(capsys: pytest.CaptureFixture[str], one: str, other: str) -> None:
    error = refused(capsys, "featurize", "--results", "/out", "--model", "/m", "--images", one, "--images", other)
    assert max(one, other, key=len).rstrip("/") in error


def test_folders_that_overlap_are_refused_whatever_else_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    # In order of name "/photos-old" comes between the two, since "-" comes before "/".
    roots = ("--images", "/photos", "--images", "/photos-old", "--images", "/photos/apples")
    assert "/photos/apples" in refused(capsys, "featurize", "--results", "/out", "--model", "/m", *roots)


def test_folders_that_begin_alike_do_not_overlap() -> None:
    assert featurizing("--images", "/photos2", "--images", "/photos-old").source.roots == ("/photos", "/photos2", "/photos-old")


@pytest.mark.parametrize("results", ["/photos", "/photos/out", "/photos/a/b"])
def test_results_among_the_images_are_refused_as_the_next_run_would_list_them(capsys: pytest.CaptureFixture[str], results: str) -> None:
    assert results in refused(capsys, "featurize", "--results", results, "--model", "/m", "--images", "/photos")


def test_images_below_the_results_folder_are_not() -> None:
    assert parsed("featurize", "--results", "/photos", "--model", "/m", "--images", "/photos/images").results == Path("/photos")


def test_classes_without_labels_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, *RUN, "--classes", "3", "--labels-from", "none")
    assert "--classes" in error
    assert "--labels-from none" in error


def test_an_error_is_one_line_whatever_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "lines" in refused(capsys, *FIT, "two\nlines")


# --- how it ends ----------------------------------------------------------------------------------------------------


def ending(error: BaseException) -> int:
    def fail(_: Command) -> None:
        raise error

    return main(FIT, run=fail)


@pytest.mark.parametrize("error", [ResultsExist, TooManyFaults, SparkFailed, JobError])
def test_a_foreseen_failure_is_one_and_says_what_and_what_next(capsys: pytest.CaptureFixture[str], error: type[JobError]) -> None:
    assert ending(error("3 of 4 broke", "mend them")) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: 3 of 4 broke\nhint: mend them\n")


def test_a_failure_without_advice_gives_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(JobError("broke")) == 1
    assert capsys.readouterr().err == "error: broke\n"


def test_a_usage_error_found_late_is_a_usage_error_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(UsageError("no", "yes")) == 2
    assert capsys.readouterr().err == "error: no\nhint: yes\n"


def test_a_disk_that_refuses_is_one_line_with_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(PermissionError(13, "Permission denied", "/out/features")) == 1
    assert capsys.readouterr().err == "error: Permission denied: /out/features\n"


def test_a_connection_that_breaks_is_not_taken_for_output_that_nobody_reads(capfd: pytest.CaptureFixture[str]) -> None:
    assert ending(BrokenPipeError(32, "Broken pipe")) == 1
    assert capfd.readouterr().err == "error: Broken pipe\n"


@pytest.mark.parametrize(("error", "code"), [(Interrupted(2), 130), (Interrupted(15), 143), (KeyboardInterrupt(), 130)])
def test_an_interrupted_run_ends_with_the_code_of_its_signal(capsys: pytest.CaptureFixture[str], error: BaseException, code: int) -> None:
    assert ending(error) == code
    assert capsys.readouterr().err.startswith("error: interrupted")


def test_an_unforeseen_failure_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError())


@pytest.mark.parametrize("verb", [(), ("run",), ("featurize",), ("fit",), ("project",)])
def test_help_is_no_failure_and_goes_to_stdout(capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as done:
        main([*verb, "--help"], run=pytest.fail)
    assert done.value.code == 0
    said = capsys.readouterr()
    assert said.out.startswith("usage: python -m job")
    assert said.err == ""


def test_a_mistyped_flag_is_said_before_anything_heavy_is_loaded() -> None:
    script = "import sys; from job.cli import main; main(['fit']); print(sorted({'pyspark', 'numpy', 'PIL', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
