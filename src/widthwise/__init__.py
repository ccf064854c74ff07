"""Widthwise."""
