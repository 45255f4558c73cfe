"""Verification: is this runs table a replicate of a frozen reference?"""
