"""Whether a rotation in two steps refuses a token on any of three machines.

    python -m tests.benchmarks.rotation [REQUESTS]

It prints how many answers had which status.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.rotation import add_users, machines, rotate_under_load


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name, machines(Path(name)) as servers:
        add_users(servers[0])
        started = time.perf_counter()
        statuses = rotate_under_load(Path(name), servers, requests)
        seconds = time.perf_counter() - started
    print(f"{sum(statuses.values())} answers in {seconds:.1f} s: {dict(statuses)}")


if __name__ == "__main__":
    main()
