"""Architectures that others published, narrow and shallow: one module a package that has them.

Each has ``ARCHITECTURES``, by name. :mod:`validation.published.comparison` trains one packed and
alone; ``validation/architectures.py`` does so with all of them.
"""
