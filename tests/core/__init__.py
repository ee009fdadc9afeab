"""Tests of restauth.core, module by module."""
