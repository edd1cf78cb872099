"""The CDK app with all environments against one with nothing in it, each as the CLI starts it, warm.

cdk.json's command leaves CDK's validation of templates to `make synth` and to the tests; the empty app validates, as CDK
does unless it is told not to. So the line also has the ratio of like with like: neither side validates. With
CDK_VALIDATION=true in the environment all of them do.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

from tests.bench.harness import ROOT, Figures, Setting, alternate, fresh, line, middle, ratio, require, run

EMPTY = "python tests/bench/empty_app.py"
LIMIT = 1.6  # people run it all day
STACKS = 8


def synth(setting: Setting) -> str:
    """cdk.json's command for dev, prod and delivery over an empty app, in seconds of the whole process."""
    ours = json.loads((ROOT / "cdk.json").read_text())["app"]
    sides = {
        "all stacks": partial(_synthesise, setting, ours, stacks=STACKS),
        "empty app": partial(_synthesise, setting, EMPTY, stacks=0),
        "neither validates": partial(_synthesise, setting, f'CDK_VALIDATION="${{CDK_VALIDATION:-false}}" {EMPTY}', stacks=0),
    }
    for once in sides.values():  # warm: bytecode, and jsii's cache of unpacked packages
        once()
    runs = alternate(sides, repeats=2 * setting.repeats)
    found = ratio(runs["all stacks"], runs["empty app"], "seconds")
    return line(
        "synth",
        f"all stacks {middle(runs['all stacks'], 'seconds'):.2f} s",
        f"empty app {middle(runs['empty app'], 'seconds'):.2f} s",
        f"{found:.2f} x, {'within' if found <= LIMIT else 'ABOVE'} {LIMIT} x",
        f"where neither validates {ratio(runs['all stacks'], runs['neither validates'], 'seconds'):.2f} x",
    )


def _synthesise(setting: Setting, command: str, *, stacks: int) -> Figures:
    out = fresh(setting.work / "cdk.out")
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    wanted = {"environment": "all", "repository": "example/verger", "placeholders": "true", "build": str(setting.work / "artifacts")}
    surroundings = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CDK_CONTEXT_JSON": json.dumps({**context, **wanted}),
        "CDK_OUTDIR": str(out),
    }
    done = run(setting, ["sh", "-c", command], surroundings)
    require(len(list(out.glob("*.template.json"))) == stacks, f"not {stacks} templates in {out}")
    return {"seconds": done.seconds}
