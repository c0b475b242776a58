"""What a run comes to, for people: counts, recovery times, lateness, a picture, and the line that runs it again."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from tests.faults.check import INVARIANTS, Violation
from tests.faults.check_service import (
    BOUNDS,
    OUTAGES,
    cpu_share,
    first_calls,
    longest_silence,
    percentile,
    quiet_windows,
    recovery,
    samples_of,
)
from tests.faults.history import History
from tests.faults.record import Row

WIDTH, LEFT, LANE = 1400, 120, 26
COLOURS = {
    "scheduler": "#7b61c4",
    "worker": "#c46161",
    "api": "#c49d61",
    "pg": "#3a7bbf",
    "redis": "#c03a3a",
    "wire": "#5a8f5a",
}


def markdown(history: History, violations: Sequence[Violation], skipped: Sequence[Row]) -> str:
    """The report of a run."""
    meta = history.meta
    fires = sum(row["trigger"] == "schedule" for row in history.executions)
    statuses = Counter(
        f"{row['status']}({row['reason']})" if row["reason"] else row["status"] for row in history.executions
    )
    lines = [
        f"# Faults: {meta['name']} ({meta['variant']}), seed {meta['seed']}",
        "",
        f"    {meta['repro']}",
        "",
        f"{fires} fires in {meta['workload_end'] - meta['workload_start']:.0f} s, {len(history.calls)} calls,"
        f" {len(history.faults)} faults, {len(history.ops)} API operations,"
        f" {len(violations)} violations. {bound(fires, violations)}",
        f"Rows: {', '.join(f'{count} {status}' for status, count in statuses.most_common())}.",
        *([f"Clocks wrong all the time, by seconds: {meta['skews']}."] if meta.get("skews") else []),
        f"Host: load {max((row['load'] for row in history.stalls), default=0):.1f} at most; its sleeps overslept by"
        f" {percentile([row['late'] for row in history.stalls], 0.99) * 1000:.0f} ms (p99).",
        "",
        "| invariant | | violations |",
        "|---|---|---|",
    ]
    counts = Counter(each.invariant for each in violations)
    lines += [f"| {name} | {words} | {counts[name]} |" for name, words in INVARIANTS.items()]
    lines += [
        "",
        "| fault | bit | lasted | recovered after | promised | worst lateness | proof |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_fault_line(history, fault) for fault in history.faults]
    lines += [f"| {row['fault']} | skipped | | | | | {row['reason']} |" for row in skipped]
    lines += _outage_lines(history)
    lines += ["", "| first calls | n | p50 | p99 | worst |", "|---|---|---|---|---|"]
    lines += _lateness_lines(history)
    if violations:
        lines += ["", "## Violations", ""]
        lines += [f"- {each.invariant}: {each.words}" for each in violations[:200]]
    return "\n".join(lines) + "\n"


def bound(fires: int, violations: Sequence[Violation]) -> str:
    """The rule of three, at 95 %: what seeing none of many allows to say. Fires are not independent."""
    if violations or not fires:
        return ""
    return f"0 of {fires}: fewer than {3 / fires:.2g} of all fires ({300 / fires:.2g} %), at 95 %."


def _fault_line(history: History, fault: Row) -> str:
    seconds = recovery(history, fault) if fault["bit"] else None
    late = [
        call.reached - call.scheduled
        for call in first_calls(history, "ACDE")
        if fault["start"] - 0.5 <= call.scheduled <= fault["heal"] + 5.0
    ]
    proof = ", ".join(f"{name} {value}" for name, value in fault["evidence"].items())
    return (
        f"| {fault['fault']} {fault['kind']} | {'yes' if fault['bit'] else 'NO'}"
        f" | {fault['heal'] - fault['start']:.1f} s"
        f" | {'' if seconds is None else f'{seconds:.2f} s'} | {_promise(fault['kind'])}"
        f" | {max(late, default=0):.2f} s | {proof[:160]} |"
    )


def _promise(kind: str) -> str:
    return f"{BOUNDS[kind]:g} s" if kind in BOUNDS else ""


def _outage_lines(history: History) -> list[str]:
    """What the processes cost and said while a server was away."""
    lines = ["", "| while | most CPU of a process | longest silence |", "|---|---|---|"]
    for fault in history.faults:
        if fault["kind"] not in OUTAGES:
            continue
        samples = samples_of(history)
        shares = {proc: cpu_share(rows, fault["start"] + 1.0, fault["heal"]) for proc, rows in samples.items()}
        proc, share = max(((name, value or 0.0) for name, value in shares.items()), key=lambda pair: pair[1])
        silent = [
            longest_silence(rows, fault["start"], fault["heal"])
            for name, rows in samples.items()
            if not name.startswith("api")
        ]
        lines.append(f"| {fault['kind']} | {share:.1%} of a core ({proc}) | {max(silent, default=0):.0f} s |")
    return lines if len(lines) > 3 else []


def _lateness_lines(history: History) -> list[str]:
    windows = quiet_windows(history)
    calls = first_calls(history, "ACDE")
    quiet = [call.reached - call.scheduled for call in calls if any(a <= call.scheduled < b for a, b in windows)]
    groups = {"quiet": quiet, "all": [call.reached - call.scheduled for call in calls]}
    return [
        f"| {name} | {len(late)} | {percentile(late, 0.5) * 1000:.0f} ms | {percentile(late, 0.99) * 1000:.0f} ms"
        f" | {max(late, default=0) * 1000:.0f} ms |"
        for name, late in groups.items()
    ]


def timeline(history: History) -> str:
    """An SVG: fires over time by their lateness, green to red, over the bands of the faults."""
    begin, end = history.meta["workload_start"], history.meta["workload_end"] + 10
    scale = (WIDTH - LEFT - 20) / max(1.0, end - begin)

    def x(instant: float) -> float:
        return float(LEFT + max(0.0, instant - begin) * scale)

    letters = sorted({job["class"] for job in history.jobs} - {"H"})
    height = 40 + LANE * len(letters) + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif"'
        ' font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="14">{escape(history.meta["repro"])}</text>',
    ]
    for number, fault in enumerate(history.faults):
        colour = COLOURS.get(fault["kind"].split("_")[0], "#777777")
        width = max(1.5, (fault["heal"] - fault["start"]) * scale)
        at = x(fault["start"])
        parts.append(
            f'<rect x="{at:.1f}" y="24" width="{width:.1f}" height="{height - 60}" fill="{colour}" opacity="0.18"/>'
        )
        parts.append(
            f'<text x="{at:.1f}" y="{height - 28 + 9 * (number % 3)}" font-size="8">{escape(fault["fault"])}</text>'
        )
    for lane, letter in enumerate(letters):
        y = 34 + LANE * lane
        parts.append(f'<text x="8" y="{y + 12}">class {letter}</text>')
        parts += [_tick(x(call.scheduled), y, call.reached - call.scheduled) for call in first_calls(history, letter)]
    return "\n".join([*parts, "</svg>", ""])


def _tick(at: float, y: float, late: float) -> str:
    colour = "#2e9e4f" if late < 1 else "#e0a020" if late < 5 else "#d03030"
    tall = 4 + min(16.0, late * 2)
    return f'<rect x="{at:.1f}" y="{y:.1f}" width="1" height="{tall:.1f}" fill="{colour}"/>'
