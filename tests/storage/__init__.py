"""Tests of restauth.storage, module by module."""
