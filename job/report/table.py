"""A summary as a person reads it on a terminal."""

from __future__ import annotations

from job.pace import clock
from job.report.summary import Summary

BAR = 32  # characters of the longest bar
SHOWN = 8  # components and reasons listed


def table(summary: Summary) -> str:
    """The summary as text: images, faults, variance explained, time."""
    lines: list[str] = []
    if account := summary["featurize"]:
        lines += _images(account)
    if account := summary["fit"]:
        lines += _variance(account)
    if account := summary["project"]:
        lines.append(row("projected", f"{account['rows']:,} images{'' if account['centered'] else ', uncentered'}"))
    return "\n".join(lines)


def row(name: str, value: str) -> str:
    """One line of the table."""
    return f"{name:<12}{value}"


def _images(account: Summary) -> list[str]:
    model = account["model"]
    lines = [
        row("images", f"{account['images']:,} listed, {account['size_bytes'] / 1e6:,.1f} MB"),
        row(
            "features",
            f"{account['features']:,} rows of {model['feature_length']} by {model['backbone']} {model['sha256'][:12]}",
        ),
        row("faults", f"{account['faults']:,}"),
    ]
    lines += [f"  {count:>8,}  {reason}" for reason, count in list(account["faults_by_reason"].items())[:SHOWN]]
    seconds = account["seconds"]
    lines.append(
        row(
            "speed",
            f"{account['images_per_second']:,.0f} images/s; {', '.join(f'{stage} {clock(spent)}' for stage, spent in seconds.items())}",
        )
    )
    if error := account.get("fast_decode_error"):  # an account of an earlier version has none
        lines.append(row("fast decode", _fast_decode(error)))
    if (error := account.get("rounding_error")) and error["count"]:
        lines.append(row("precision", f"half: error in features at most {error['max']:.3%}"))
    if account["random_weights"]:
        lines.append(row("warning", f"weights are {model['weights']}: never trained, good for demonstrations only"))
    return lines


def _fast_decode(error: Summary) -> str:
    if not error["count"]:
        return "no picture to measure its error on"
    many = f"{error['count']:,} picture{'s' * (error['count'] != 1)}"
    return f"error in features: median {error['median']:.2%}, max {error['max']:.2%} of {many} measured"


def _variance(account: Summary) -> list[str]:
    ratios = account["explained_ratio"]
    lines = [
        row(
            "variance",
            f"{account['explained']:.1%} explained by {account['k']} components of {account['rows']:,} images",
        )
    ]
    cumulated = 0.0
    for place, ratio in enumerate(ratios[:SHOWN], start=1):
        cumulated += ratio
        lines.append(f"  {f'pc{place}':>8}  {ratio:6.1%}  {cumulated:6.1%}  {'█' * max(1, round(BAR * ratio / ratios[0]))}")
    needed = ", ".join(f"{k} for {share}" for share, k in account["components_for"].items())
    merged = account.get("merged", ())  # an account of an earlier version has none
    return [
        *lines,
        row("needed", f"components: {needed}"),
        *(row("merged", f"{each['rows']:,} of these images by their moments in {each['folder']}") for each in merged),
    ]
