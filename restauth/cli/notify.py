"""The word to a service manager, such as systemd, that the server is ready.

Rule: it is sent only where the manager asks for it, and the server goes on in any case. The
protocol is that of sd_notify(3): one datagram to the Unix socket that NOTIFY_SOCKET names.
"""

import os
import socket

from restauth.cli.output import remark


def notify_ready() -> None:
    """Say that the server is ready, if NOTIFY_SOCKET is set. A remark when it cannot be said: the
    manager will then wait in vain."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return
    # A name with @ at its beginning is not in the file system (unix(7), "abstract").
    address = f"\0{name[1:]}" if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(1)  # it may read nothing any more
            manager.sendto(b"READY=1", address)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        remark(f"the service manager was not told that the server is ready: {name}: {reason}")
