"""A mapping of limited size: the entry that was put least recently goes first.

Rule: threads may share it. What is read may be gone a moment later.
"""

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """It holds `max_entries` at most."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, default: Value) -> Value:
        """The value of the key, else the default."""
        return self._entries.get(key, default)

    def put(self, key: Key, value: Value) -> None:
        """Set the value of the key, which is the most recent one now."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
