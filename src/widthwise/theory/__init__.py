"""Noise scales, parameterizations and power laws: formulas that know no framework."""
