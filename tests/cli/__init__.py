"""Mirrors restauth/cli."""
