"""Workers "elsewhere" that work in this process, each time they are asked for answers."""


class CrewHere:
    """What was started, and what became of it."""

    name = "Here"

    def __init__(self, work, workers, options, folder):
        self.work, self.size, self.options, self.folder = work, workers, options, folder
        self.stopped, self._answers = False, []

    def answers(self):
        if len(self._answers) < self.size:
            self._answers.append(self.work())
        return list(self._answers)

    def stop(self):
        self.stopped = True


# The latest last.
started = []


def start(work, workers, options, folder):
    started.append(CrewHere(work, workers, options, folder))
    return started[-1]
