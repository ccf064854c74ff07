"""The errors a user can meet. Each message gives the rule, the value and the remedy."""


class InputError(ValueError):
    """Something the user gave is wrong; the command line ends with exit code 2."""


class DataNotFoundError(InputError):
    """A data set is not on this machine; the message says where it was sought and how to get it."""


class FitError(RuntimeError):
    """The measurements do not determine the quantity that was asked for."""


class StudyError(RuntimeError):
    """A study could not go on (a worker died, the disk is full); what has landed is safe."""
