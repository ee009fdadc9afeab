"""CPU of one token request in process, restauth against its peers, in turns.

    python tests/benchmarks/token_request.py

It builds an environment of its own for the peers, and prints medians as ratios: how many times
restauth's CPU each peer takes.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from statistics import median

ROUNDS = 9
NAMES = ("restauth", "restauth_password", "bottle", "falcon", "seed")
PEERS = ("PyJWT", "bottle", "falcon", "Flask", "Flask-SQLAlchemy", "Flask-HTTPAuth")
HERE = Path(__file__).parent


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        root = str(HERE.parent.parent)
        subprocess.run([python, "-m", "pip", "install", "-q", root, *PEERS], check=True)
        runners = {
            name: subprocess.Popen(
                [python, str(HERE / "peers.py"), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in NAMES
        }
        figures: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(ROUNDS):
            for name, runner in runners.items():
                assert runner.stdin is not None
                assert runner.stdout is not None
                print(file=runner.stdin, flush=True)
                figures[name].append(float(runner.stdout.readline()))
        for runner in runners.values():
            runner.communicate()
    base = median(figures["restauth"])
    print(f"Python {sys.version.split()[0]}, medians of {ROUNDS} rounds, restauth = 1")
    for name, values in figures.items():
        print(f"{name:18} {median(values) / base:6.2f}")


if __name__ == "__main__":
    main()
