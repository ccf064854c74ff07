"""Benchmarks; run them from the repository root, each as ``python -m benchmarks.<name>``."""
