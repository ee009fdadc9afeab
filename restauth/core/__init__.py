"""The security rules: pure functions and values, without I/O and without a clock."""
