"""Prometheus itself: it scrapes a server, and evaluates the guide's rules and dashboard.

Rule: the configuration, the rules and the dashboard are the guide's own, but for the addresses and
the interval.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.conftest import basic, bearer
from tests.counterparts.conftest import program
from tests.documents import example
from tests.processes import PATIENCE, Server, receive, send, until_deadline

PAGE = "metrics"
PROMETHEUS, PROMTOOL = program("prometheus"), program("promtool")
SECRET = "a-secret-of-more-than-32-characters"
DASHBOARD = json.loads(example(PAGE, "json"))
RULES = example(PAGE, "yaml", "alert:")
EXPRESSIONS = [
    target["expr"].replace("$__rate_interval", "1m")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
] + [
    " ".join(text.split())
    for text in re.findall(r"expr: (?:>\n)?(.*?)(?=\n +for:|\n +- alert|\Z)", RULES, re.DOTALL)
]


def promtool(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PROMTOOL, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Prometheus:
    """A server of Prometheus that scrapes one address."""

    def __init__(self, server: Server) -> None:
        self._server = server
        (self._address,) = server.hear(re.compile(r'msg="Listening on" address=(\S+)'))
        server.hear(re.compile("Server is ready to receive web requests"))

    @classmethod
    @contextmanager
    def start(cls, directory: Path, target: str, *, secret: str) -> Iterator["Prometheus"]:
        directory.mkdir()
        config = example(PAGE, "yaml", "scrape_configs:").replace("127.0.0.1:5000", target)
        key = directory / "secret"
        key.write_text(f"{secret}\n")  # as `>` writes it
        config = config.replace("/etc/prometheus/restauth.secret", str(key))
        if not secret:
            config = re.sub(r" +authorization:\n.*\n", "", config)
        (directory / "prometheus.yml").write_text(f"global: {{scrape_interval: 1s}}\n{config}")
        assert promtool("check", "config", str(directory / "prometheus.yml")).returncode == 0
        options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data")
        with Server.start(
            directory, PROMETHEUS, *options, "--web.listen-address=127.0.0.1:0"
        ) as server:
            yield cls(server)

    def _ask(self, path: str) -> Any:
        with closing(self._server.connect(f"http://{self._address}")) as connection:
            send(connection, "GET", path)
            return receive(connection).json

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self._ask(f"/api/v1/query?{urlencode({'query': expression})}")
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def value(self, expression: str) -> float | None:
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def wait_for(self, expression: str, value: float) -> None:
        for _ in until_deadline():
            if self.value(expression) == value:
                return

    def scrape_error(self) -> str:
        """Why the last scrape has failed."""
        for _ in until_deadline():
            targets = self._ask("/api/v1/targets")["data"]["activeTargets"]
            if targets and targets[0]["health"] == "down":
                return str(targets[0]["lastError"])
        raise AssertionError


def test_prometheus_scrapes_with_the_secret_and_evaluates_what_the_guide_shows(
    tmp_path: Path,
) -> None:
    with Server.start(tmp_path, metrics=SECRET) as server:
        server.register("miguel")
        token = server.log_in("miguel")
        server.get("/api/resource", bearer(token))
        server.get("/api/token", basic("miguel", "wrong"))
        server.get("/api/nothing")
        target = server.address.removeprefix("http://")
        with Prometheus.start(tmp_path / "p", target, secret=SECRET) as prometheus:
            prometheus.wait_for('up{job="restauth"}', 1)
            assert prometheus.value("restauth_sessions") == 1
            assert prometheus.value('restauth_requests_total{route="none",status="404"}') == 1
            refused = 'credential="password",outcome="bad_credentials"'
            assert prometheus.value(f"restauth_authentications_total{{{refused}}}") == 1
            age = prometheus.value("time() - restauth_signing_key_created_timestamp_seconds")
            assert age is not None
            assert 0 <= age < 300
            prometheus.wait_for('count(rate(restauth_requests_total{route="/metrics"}[1m])) > 0', 1)
            for expression in EXPRESSIONS:
                prometheus.query(expression)
        with Prometheus.start(tmp_path / "q", target, secret="x" * 32) as prometheus:
            assert "401" in prometheus.scrape_error()


def test_prometheus_scrapes_the_address_that_is_for_it_alone(tmp_path: Path) -> None:
    with Server.start(tmp_path, metrics="127.0.0.1:0") as server:
        public, own = (address.removeprefix("http://") for address in server.addresses)
        with Prometheus.start(tmp_path / "p", own, secret="") as prometheus:
            prometheus.wait_for("up", 1)
            assert prometheus.value("count(restauth_build_info)") == 1
        with Prometheus.start(tmp_path / "q", public, secret="") as prometheus:
            assert "404" in prometheus.scrape_error()


def test_promtool_accepts_the_format_and_the_rules(tmp_path: Path) -> None:
    with Server.start(tmp_path, metrics=SECRET) as server:
        server.register("miguel")
        server.get("/api/token", basic("miguel", "wrong"))
        text = server.get("/metrics", bearer(SECRET)).body.decode()
    checked = promtool("check", "metrics", stdin=text)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    (tmp_path / "rules.yml").write_text(RULES)
    checked = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert checked.returncode == 0, checked.stderr
    assert f"{RULES.count('alert:')} rules found" in checked.stdout
