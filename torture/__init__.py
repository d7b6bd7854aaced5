"""Attacks on the package that anyone can repeat: ``python -m torture``."""
