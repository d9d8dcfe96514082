"""Searching for the best settings."""
