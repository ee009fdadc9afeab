"""The table of ratios and the picture, from samples.

Rule: it measures nothing. A ratio is taken within one round, in which both sides ran one after the
other; so load of other programs on the machine touches both.
"""

from collections import defaultdict
from html import escape
from statistics import median
from typing import NamedTuple

# By what was measured, and of whom: a value for each round.
Samples = defaultdict[str, defaultdict[str, list[float]]]

RATE, CPU, P99 = "requests/s, {} clients", "CPU µs a request, {} clients", "p99 ms, {} clients"
IN_PROCESS = "CPU µs a request, in process"
MEMORY, IMPORT = "idle memory, MiB", "import, CPU ms"
FEW, MANY = 8, 64

NAMES = {
    "hello": "hello world", "falcon": "Falcon", "bottle": "Bottle", "seed": "REST-auth's stack",
    "restauth": "restauth", "fastify": "Fastify on Node",
    "granian": "restauth, Granian",
}  # fmt: skip
_KINDS = {"token": "", "refused": ", refused token", "password": ", password verified before"}


class Comparison(NamedTuple):
    """A row: the ratio is `subject` divided by `other`, both of them a peer and a kind."""

    measure: str
    subject: str
    other: str
    goal: str


_TOKEN = "restauth token"
COMPARISONS = (
    *(
        Comparison(RATE.format(clients), _TOKEN, other, goal)
        for clients in (FEW, MANY)
        for other, goal in (
            ("falcon token", "≥ 1.4"),
            ("bottle token", "≥ 1.4"),
            ("seed token", "≥ 4.5"),
            ("hello token", ""),
            ("fastify token", ""),
        )
    ),
    *(
        Comparison(RATE.format(clients), "granian token", "fastify token", "≥ 1.3")
        for clients in (FEW, MANY)
    ),
    *(
        Comparison(CPU.format(clients), _TOKEN, "hello token", "≤ 1.6") for clients in (FEW, MANY)
    ),
    Comparison(P99.format(MANY), _TOKEN, "hello token", "≤ 2"),
    Comparison(P99.format(MANY), _TOKEN, "falcon token", ""),
    Comparison(CPU.format(FEW), "restauth password", _TOKEN, "≤ 1.2"),
    Comparison(CPU.format(FEW), "restauth refused", _TOKEN, ""),
    Comparison(IN_PROCESS, _TOKEN, "falcon token", "≤ 0.33"),
    Comparison(IN_PROCESS, _TOKEN, "bottle token", ""),
    Comparison(IN_PROCESS, _TOKEN, "seed token", "≤ 0.05"),
    Comparison(IN_PROCESS, "restauth password", _TOKEN, "≤ 1.2"),
    Comparison(IN_PROCESS, "restauth refused", "seed refused", "≤ 0.1"),
    Comparison(MEMORY, _TOKEN, "bottle token", "≤ Bottle + 4 MiB"),
    Comparison(IMPORT, _TOKEN, "seed token", "≤ 0.33"),
)  # fmt: skip


def markdown(samples: Samples) -> str:
    """A row for each comparison of which both sides were measured."""
    lines = [
        "| measured | of | against | medians | ratio (lowest to highest) | goal |",
        "|---|---|---|---:|---:|---:|",
    ]
    for measure, subject, other, goal in COMPARISONS:
        left, right = samples[measure][subject], samples[measure][other]
        if not left or not right:
            continue
        ratios = [a / b for a, b in zip(left, right, strict=True)]
        spread = f"{_short(min(ratios))} to {_short(max(ratios))}"
        lines.append(
            f"| {measure} | {_title(subject)} | {_title(other)} "
            f"| {_short(median(left))} : {_short(median(right))} "
            f"| **{_short(median(ratios))}** ({spread}) | {goal} |"
        )
    return "\n".join(lines) + "\n"


def _title(subject: str) -> str:
    name, kind = subject.split()
    return NAMES[name] + _KINDS[kind]


def _short(value: float) -> str:
    """Three digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


_WIDTH, _LEFT, _BAR, _STEP = 720, 150, 18, 26
_STYLE = """
text { font: 14px sans-serif; fill: #222 }
.title { font-weight: bold }
.bar { fill: #8a97a8 }
.ours { fill: #2f7ed8 }
.spread { stroke: #222; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #eee }
  .bar { fill: #6f7d8f }
  .ours { fill: #4da3ff }
  .spread { stroke: #eee }
}
"""


def picture(samples: Samples) -> str:
    """Bars of the token request as SVG: the median, and a line from the lowest to the highest."""
    parts: list[str] = []
    y = 20
    for measure in (RATE.format(FEW), RATE.format(MANY), P99.format(MANY), IN_PROCESS):
        parts.append(f'<text class="title" x="8" y="{y}">Token request: {escape(measure)}</text>')
        y += 12
        bars = {name: samples[measure][f"{name} token"] for name in NAMES}
        longest = max(max(values) for values in bars.values() if values)
        scale = (_WIDTH - _LEFT - 80) / longest
        for name, values in sorted(bars.items(), key=lambda bar: median(bar[1] or [0])):
            if values:
                parts += _bar(name, values, y, scale)
                y += _STEP
        y += 28
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y - 20}" role="img" '
        f'aria-label="restauth and its peers">\n<style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bar(name: str, values: list[float], y: int, scale: float) -> list[str]:
    value, middle, text_y = median(values), y + _BAR / 2, y + 14
    low, high = (_LEFT + end * scale for end in (min(values), max(values)))
    kind = "bar ours" if name == "restauth" else "bar"
    return [
        f'<text x="{_LEFT - 8}" y="{text_y}" text-anchor="end">{escape(NAMES[name])}</text>',
        f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{value * scale:.1f}" height="{_BAR}"/>',
        f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}"/>',
        f'<text x="{high + 8:.1f}" y="{text_y}">{_short(value)}</text>',
    ]
