"""One thread at a time runs the service's Python code; those that wait are no hindrance to it.

Rule: a request has the gate until it first waits, and never comes back: so the gate is never held
while a thread waits for a hash, a writer's turn, a busy database, a log or a client. What may wait
says so before, with `before_waiting`. Until then a request has changed nothing, so it can also be
given up and begun again by a thread that may wait. What must happen once has `once`.

Why: threads that want to run Python code at the same time take the interpreter lock from each other
at every call of `sqlite3`, and each change of threads costs more than the request. A server that
answers on the thread of its event loop saves the change of threads altogether.
"""

import os
from collections.abc import Callable
from threading import Lock, get_ident

# A key of the environ. True: the app raises WouldWait where it had to wait.
MUST_NOT_WAIT = "restauth.must_not_wait"


class WouldWait(BaseException):
    """The request cannot be answered without waiting. Nothing was changed and nothing was read of
    its body. Not an Exception: no handler of errors may take it for one."""


class Gate:
    """The gate of this process: the interpreter lock is one for all services, too."""

    def __init__(self) -> None:
        self._turns = _Turn(self, may_wait=False), _Turn(self, may_wait=True)
        self.reset()

    def reset(self) -> None:
        """Open it. In the child of a fork, the thread that held it does not exist."""
        self._lock = Lock()
        self._holder = 0
        self._may_wait = True
        self._put_off: list[Callable[[], None]] = []

    def turn(self, *, must_not_wait: bool = False) -> "_Turn":
        """Hold the gate in a `with`, until its end or `before_waiting`. With `must_not_wait`, that
        raises WouldWait."""
        return self._turns[not must_not_wait]

    def enter(self, *, may_wait: bool) -> None:
        """Wait for the gate, and hold it."""
        self._lock.acquire()
        self._holder, self._may_wait = get_ident(), may_wait

    def before_waiting(self) -> None:
        """Let others pass, if this thread holds the gate. Raises WouldWait."""
        if self._holder == get_ident():
            if not self._may_wait:
                self._put_off.clear()
                raise WouldWait
            self.leave()

    def once(self, act: Callable[[], None]) -> None:
        """Do it now. While the request can still be given up and begun again: at the end of its
        turn, and not at all if it is given up."""
        if self._holder == get_ident() and not self._may_wait:
            self._put_off.append(act)
        else:
            act()

    def leave(self) -> None:
        """Open it, if this thread holds it."""
        if self._holder == get_ident():  # else it was left before
            while self._put_off:
                self._put_off.pop(0)()
            self._holder = 0
            self._lock.release()


class _Turn:
    """A class, because a generator would cost three times as much at each request."""

    def __init__(self, gate: Gate, *, may_wait: bool) -> None:
        self._gate = gate
        self._may_wait = may_wait

    def __enter__(self) -> None:
        self._gate.enter(may_wait=self._may_wait)

    def __exit__(self, *error: object) -> None:
        self._gate.leave()


gate = Gate()
os.register_at_fork(after_in_child=gate.reset)
