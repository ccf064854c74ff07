"""Tables of runs that others trained: where the best of any hyper-parameter lies at each width."""

from widthwise.sweeps.analysis import SweepAnalysis, analyze

__all__ = ["SweepAnalysis", "analyze"]
