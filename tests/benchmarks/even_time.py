"""Whether the time of a refused login tells its cause: unknown, wrong, locked, cheap, old.

    python -m tests.benchmarks.even_time [LOGINS]

Logins of all kinds in turns, in process and at real cost; it prints the median of each kind, the
unknown name's being 1.
"""

import logging
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from restauth import settings
from restauth.core import passwords
from restauth.errors import BadCredentials
from restauth.records import Client, ImportedUser
from restauth.services import build_services

CLIENT = Client("127.0.0.1")
WERKZEUG = (  # Werkzeug 1.0.1's default, of the password "python"
    "pbkdf2:sha256:150000$RcxmkZWu$b67ef9e96960a353fb2fbd3bab2a1e1e6eb7284bdd95d84e84003bdf2d086fe5"
)


def main() -> None:
    logging.disable()
    logins = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    folder = Path(tempfile.mkdtemp())
    files = {"database": folder / "a.db", "key_file": folder / "a.keys"}
    no_throttle = {"free_failures": 0, "max_failures": 0}
    services = build_services(settings.load({}, {**files, **no_throttle}), create=True)
    for name in ("wrong", "locked"):
        services.accounts.register(name, "python")
    services.accounts.lock(services.accounts.find_by_name("locked"))
    services._resources.store.add_user("cheap", "cheap", passwords.hash("python", 10), 0)
    old = ImportedUser(9, "old", "old", WERKZEUG, is_locked=False)
    services._resources.store.import_users(lambda importing: importing.add(old, 0))
    seconds: dict[str, list[float]] = {
        name: [] for name in ("unknown", "wrong", "locked", "cheap", "old")
    }
    for _ in range(logins):
        for name, times in seconds.items():
            started = time.perf_counter()
            with suppress(BadCredentials):
                services.authentication.authenticate(name, "a wrong password", CLIENT)
            times.append(time.perf_counter() - started)
    services.close()
    base = median(seconds["unknown"])
    print(f"medians of {logins} refused logins in turns, unknown = 1")
    for name, times in seconds.items():
        print(f"{name:8} {median(times) / base:6.3f}")


if __name__ == "__main__":
    main()
