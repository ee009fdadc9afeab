"""Tests of restauth.web, module by module."""
