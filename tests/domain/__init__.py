"""Mirrors restauth/domain."""
