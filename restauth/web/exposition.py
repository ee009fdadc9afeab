"""The text format of Prometheus, version 0.0.4.

Rule: only the format. Metric and label names, help texts and label values come from the code: they
have no quote, no backslash and no line break, so that nothing is escaped.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterable, Mapping

from restauth.domain.collector import Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def build(families: Iterable[Family]) -> str:
    """The whole text; a family without samples has its two lines of comment."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterable[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for sample in family.samples:
        yield f"{family.name}{sample.suffix}{_labels(sample.labels)} {sample.value}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
