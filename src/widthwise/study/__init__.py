"""Studies: what to run, where its results lie, and what they say."""

from widthwise.study.spec import StudySpec
from widthwise.study.stable_rates import ProbeOptions
from widthwise.study.study import Study, StudyStatus

__all__ = ["ProbeOptions", "Study", "StudySpec", "StudyStatus"]
