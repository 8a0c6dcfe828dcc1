"""Searching an atlas."""
