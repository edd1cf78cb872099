"""`cdk synth` of all stacks against `cdk synth` of an app with next to nothing in it, warm; and the apps alone, without the CLI.

cdk.json's command leaves CDK's validation of templates to `make synth` and to the tests, so the ratio that has the limit is of
two that do not validate. The line has the one of two that do as well.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from tests.bench.harness import ROOT, Figures, Measure, Runs, Setting, alternate, fresh, line, middle, ratio, require, run

EMPTY = "python tests/bench/empty_app.py"
CDK = ROOT / "node_modules" / ".bin" / "cdk"
LIMIT = 1.6  # people run it all day
STACKS = 8


def synth(setting: Setting) -> str:
    """dev, prod and delivery over an empty app, in seconds of the whole process."""
    require(CDK.exists(), "the CDK's command line is not installed here: make setup-cdk")
    ours = json.loads((ROOT / "cdk.json").read_text())["app"]
    sides: dict[str, Measure] = {
        f"{what}, {app}": partial(synthesise, setting, command, stacks=stacks)
        for what, synthesise in (("cdk synth", _cdk_synth), ("app alone", _app_alone), ("validated", _validated))
        for app, command, stacks in (("all stacks", ours, STACKS), ("empty", EMPTY, 1))
    }
    for once in sides.values():  # warm: bytecode, and jsii's cache of unpacked packages
        once()
    runs = alternate(sides, repeats=2 * setting.repeats)
    return line("synth", _compared(runs, "cdk synth", limit=LIMIT), _compared(runs, "app alone"), _compared(runs, "validated"))


def _compared(runs: Mapping[str, Runs], what: str, *, limit: float = 0.0) -> str:
    whole, empty = runs[f"{what}, all stacks"], runs[f"{what}, empty"]
    found = ratio(whole, empty, "seconds")
    verdict = f", {'within' if found <= limit else 'ABOVE'} {limit} x" if limit else ""
    processor = f"of processor time {ratio(whole, empty, 'processor_s'):.2f} x"
    return f"{what} {middle(whole, 'seconds'):.2f} s, empty {middle(empty, 'seconds'):.2f} s, {found:.2f} x{verdict}, {processor}"


def _cdk_synth(setting: Setting, command: str, *, stacks: int, **surroundings: str) -> Figures:
    out = setting.work / "cdk.out"
    flags = [word for name, value in _context(setting).items() for word in ("-c", f"{name}={value}")]
    return _measure(setting, [str(CDK), "synth", "--quiet", "--app", command, "--output", str(out), *flags], surroundings, stacks=stacks)


def _validated(setting: Setting, command: str, *, stacks: int) -> Figures:
    return _cdk_synth(setting, command, stacks=stacks, CDK_VALIDATION="true")


def _app_alone(setting: Setting, command: str, *, stacks: int) -> Figures:
    """As the CLI starts it."""
    context = {**json.loads((ROOT / "cdk.json").read_text())["context"], **_context(setting)}
    surroundings = {"CDK_CONTEXT_JSON": json.dumps(context), "CDK_OUTDIR": str(setting.work / "cdk.out")}
    return _measure(setting, ["sh", "-c", command], surroundings, stacks=stacks)


def _context(setting: Setting) -> dict[str, str]:
    return {"environment": "all", "repository": "example/verger", "placeholders": "true", "build": str(setting.work / "artifacts")}


def _measure(setting: Setting, command: list[str], surroundings: dict[str, str], *, stacks: int) -> Figures:
    out = fresh(setting.work / "cdk.out")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    before = _processor_s()
    # Warm is with bytecode, and nobody validates, whatever the shell that starts the bench says
    done = run(setting, command, {"PATH": path, "PYTHONDONTWRITEBYTECODE": "", "CDK_VALIDATION": "false", **surroundings})
    require(len(list(out.glob("*.template.json"))) == stacks, f"not {stacks} templates in {out}")
    return {"seconds": done.seconds, "processor_s": _processor_s() - before}


def _processor_s() -> float:
    """Of processes that were started here and have ended, in seconds: it tells more than the clock where others use the cores."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
