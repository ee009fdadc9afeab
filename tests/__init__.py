"""Mirrors the package: the tests of `restauth/x/y.py` are in `tests/x/test_y.py`."""
