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
    """A server of Prometheus."""

    def __init__(self, server: Server) -> None:
        self._server = server
        (self._address,) = server.hear(re.compile(r'msg="Listening on" address=(\S+)'))
        server.hear(re.compile("Server is ready to receive web requests"))

    @classmethod
    @contextmanager
    def start(cls, directory: Path, jobs: dict[str, tuple[str, str]]) -> Iterator["Prometheus"]:
        """It scrapes, by the name of the job, an address with a secret; without one if empty."""
        head, job = example(PAGE, "yaml", "scrape_configs:").split("\n", 1)
        config = f"global: {{scrape_interval: 1s}}\n{head}\n"
        for name, (address, secret) in jobs.items():
            one = job.replace("job_name: restauth", f"job_name: {name}")
            one = one.replace("127.0.0.1:5000", address.removeprefix("http://"))
            key = directory / f"{name}.secret"
            key.write_text(f"{secret}\n")  # as `>` writes it
            one = one.replace("/etc/prometheus/restauth.secret", str(key))
            config += one if secret else re.sub(r" +authorization:\n.*\n", "", one)
        (directory / "prometheus.yml").write_text(config)
        assert promtool("check", "config", str(directory / "prometheus.yml")).returncode == 0
        options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data")
        command = (PROMETHEUS, *options, "--web.listen-address=127.0.0.1:0")
        with Server.start(directory, *command) as server:
            yield cls(server)

    def _ask(self, path: str) -> Any:
        with closing(self._server.connect(f"http://{self._address}")) as connection:
            send(connection, "GET", path)
            return receive(connection).json["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is now; a KeyError if it is not valid."""
        found: list[dict[str, Any]] = self._ask(
            f"/api/v1/query?{urlencode({'query': expression})}"
        )["result"]
        return found

    def values(self, expression: str) -> dict[str, float]:
        """By job."""
        return {each["metric"]["job"]: float(each["value"][1]) for each in self.query(expression)}

    def errors(self) -> dict[str, str]:
        """Why the last scrapes have failed, by job; of each that has not."""
        targets = self._ask("/api/v1/targets")["activeTargets"]
        return {target["scrapePool"]: target["lastError"] for target in targets}


def test_prometheus_scrapes_and_evaluates_what_the_guide_shows(tmp_path: Path) -> None:
    """With the secret, and at an address of its own; and nothing without the secret."""
    for name in ("a", "b", "p"):
        (tmp_path / name).mkdir()
    with (
        Server.start(tmp_path / "a", metrics=SECRET) as server,
        Server.start(tmp_path / "b", metrics="127.0.0.1:0") as other,
    ):
        server.register("miguel")
        token = server.log_in("miguel")
        server.get("/api/resource", bearer(token))
        server.get("/api/token", basic("miguel", "wrong"))
        server.get("/api/nothing")
        public, own = other.addresses
        jobs = {
            "restauth": (server.address, SECRET),
            "wrong": (server.address, "x" * 32),
            "none": (server.address, ""),
            "own": (own, ""),
            "public": (public, ""),
        }
        with Prometheus.start(tmp_path / "p", jobs) as prometheus:
            for _ in until_deadline():
                if prometheus.values("restauth_requests_total offset 1s > 0").keys() >= {
                    "restauth"
                }:
                    break
            assert prometheus.values("up") == {
                **dict.fromkeys(jobs, 0.0),
                "restauth": 1.0,
                "own": 1.0,
            }
            status = {name: error[-16:] for name, error in prometheus.errors().items() if error}
            unauthorized = "401 Unauthorized"
            assert status == {
                "wrong": unauthorized,
                "none": unauthorized,
                "public": "us 404 Not Found",
            }
            assert prometheus.values("restauth_sessions") == {"restauth": 1, "own": 0}
            unknown = 'restauth_requests_total{route="none",method="GET",status="404"}'
            assert prometheus.values(unknown)["restauth"] == 1
            refused = '{credential="password",outcome="bad_credentials"}'
            assert prometheus.values(f"restauth_authentications_total{refused}")["restauth"] == 1
            age = "time() - restauth_signing_key_created_timestamp_seconds"
            assert 0 <= prometheus.values(age)["restauth"] < 300
            for expression in EXPRESSIONS:
                prometheus.query(expression)


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
