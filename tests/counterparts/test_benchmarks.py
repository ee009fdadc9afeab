"""The benchmark, in its short form: it still runs, and each peer still gives the right answers.

Rule: no time is judged here. The peers are those that the extra `counterparts` has.
"""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import table
from tests.counterparts.conftest import library
from tests.documents import ROOT, rows


def test_the_short_form_prints_the_table_and_draws_the_picture(tmp_path: Path) -> None:
    for name in ("bottle", "falcon"):
        library(name)
    picture = tmp_path / "bars.svg"
    command = (sys.executable, "-m", "tests.benchmarks", "--short", "--picture", str(picture))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    measured = [tuple(row[:1] + row[-1:]) for row in rows(done.stdout)]
    # These are installed by the long form alone.
    missing = ("seed token", "seed refused", "fastify token")
    expected = [row for row in table.COMPARISONS if row.other not in missing]
    assert measured == [(row.measure, row.goal) for row in expected]
    bars = ET.parse(picture).findall("{http://www.w3.org/2000/svg}rect")  # noqa: S314 - ours
    assert len(bars) == 4 * 5 - 1  # Granian is not in process


@pytest.mark.parametrize("words", ["large 2000 500 1", "flood 1 4", "parts"])
def test_the_other_measurements_still_run(words: str) -> None:
    module, *sizes = words.split()
    command = (sys.executable, "-m", f"tests.benchmarks.{module}", *sizes)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
