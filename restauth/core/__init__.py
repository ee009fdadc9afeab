"""The security rules: pure, no I/O, no clock; every function takes what it needs as arguments."""
