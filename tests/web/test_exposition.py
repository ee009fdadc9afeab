"""The text format, read back by the parser of Prometheus's own client."""

import json
import re

import hypothesis
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from restauth.domain.collector import Family, Sample
from restauth.domain.metered import EXPECTED
from restauth.services import Services
from restauth.web.exposition import build
from restauth.web.problems import CODES
from restauth.web.router import METHODS
from restauth.web.routes import routes
from tests.documents import chapter, example, rows
from tests.web.conftest import total

NAME = re.compile(r"restauth_[a-z0-9_]+")  # Prometheus permits more
names = st.from_regex(re.compile(r"restauth_[a-z]{1,20}", re.ASCII), fullmatch=True)
words = st.sampled_from([*CODES, *METHODS, "/api/users/{id}", "/.well-known/jwks.json", "+Inf"])
values = st.integers(0, 2**53) | st.floats(0, allow_infinity=False)
samples = st.builds(
    Sample, values, st.dictionaries(names.map(lambda name: name[9:]), words, max_size=3)
)


def read(text: str) -> dict[str, tuple[str, str, list[tuple[str, dict[str, str], float]]]]:
    """By name: type, help, and samples."""
    return {
        family.name: (
            family.type,
            family.documentation,
            [(sample.name, sample.labels, sample.value) for sample in family.samples],
        )
        for family in text_string_to_metric_families(text)
    }


@total
@hypothesis.given(name=names, kind=st.sampled_from(["counter", "gauge"]), given=st.lists(samples))
def test_what_is_written_is_read_back(name: str, kind: str, given: list[Sample]) -> None:
    full = f"{name}_total" if kind == "counter" else name
    text = build([Family(full, kind, "Some help.", tuple(given))])  # type: ignore[arg-type]
    assert text.endswith("\n")
    expected = [(full, dict(sample.labels), sample.value) for sample in given]
    assert read(text)[name] == (kind, "Some help.", expected)


def test_each_figure_has_a_valid_name_a_help_and_no_label_of_a_client(services: Services) -> None:
    for route in (*(route.path for route in routes(services.settings)), ""):
        for code in CODES:
            services.metrics.count_request(route, "GET", 200, code, 0.3)
    services.metrics.count_authentication("password", "succeeded")
    families = list(services.collector.collect())
    found = read(build(families))
    assert len(found) == len(families)
    for family in families:
        assert NAME.fullmatch(family.name)
        kind, help, samples = found[family.name.removesuffix("_total")]
        assert (kind, help) == (family.kind, family.help)
        assert help.endswith(".")
        assert len(samples) == len(family.samples)
        assert family.name.endswith("_total") == (family.kind == "counter")
        for sample in family.samples:
            assert not re.search(r'["\\\n]', "".join(sample.labels.values()))


def test_the_guide_has_every_figure_and_its_rules_and_dashboard_no_other(
    services: Services,
) -> None:
    for code in (*CODES, ""):
        services.metrics.count_request("/api/verify", "GET", 200, code, 0.3)
    services.metrics.expect((), EXPECTED)
    families = list(services.collector.collect())
    shown = {
        row[0].strip("`"): (row[1], set(re.findall("[a-z]+", row[2])))
        for row in rows(chapter("metrics", "What they mean"))
    }
    assert shown == {
        family.name: (
            family.kind,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in families
    }
    series = [
        (family.name + sample.suffix, sample.labels)
        for family in families
        for sample in family.samples
    ]
    dashboard = json.loads(example("metrics", "json"))
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    texts.append(example("metrics", "yaml", "alert:"))
    selectors = [
        found for text in texts for found in re.findall(r"(restauth_\w+)(?:{(.*?)})?", text)
    ]
    assert len(selectors) > 15
    for name, text in selectors:
        wanted = re.findall(r'(\w+)=~?"([^"]+)"', text)
        for label, value in wanted:
            for word in value.split("|"):
                assert any(name == each and labels[label] == word for each, labels in series), word
        assert name in {each for each, _ in series}
