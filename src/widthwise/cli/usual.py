"""Options by the names that other tools give them: what is meant, to be suggested."""

from collections.abc import Collection

# What is meant, the first that the command has → its names elsewhere, without dashes. What stands
# behind --set is a key of the specification.
MEANT: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("--learning-rate", "--set grid.learning_rate=…"),
        "lr eta eps epsilon alpha rate step-size learningrate base-lr",
    ),
    (("--batch-size", "--set grid.batch_size=…"), "bs b batch batchsize mini-batch minibatch"),
    (("--momentum", "--set grid.momentum=…"), "mom m beta"),
    (
        ("--factor", "--widths", "--width", "--set grid.widening_factor=…"),
        "width widths w k multiplier mult width-mult width-factor width-multiplier times scale "
        "widen wide factors widening-factor widening-factors",
    ),
    (
        ("--parameterization", "--set family.parameterization=…"),
        "param parametrization parameterisation parametrisation init initialization "
        "initialisation scheme mup ntk standard",
    ),
    (("--weight-decay", "--set training.weight_decay=…"), "wd decay l2"),
    (("--optimizer",), "opt optim optimiser adam adamw sgd"),
    (
        ("--schedule", "--set training.schedule=…"),
        "scheduler sched lr-schedule lr-scheduler decay-schedule",
    ),
    (("--epochs", "--set training.epochs=…"), "epoch num-epochs n-epochs max-epochs"),
    (("--steps", "--set training.steps=…"), "step num-steps max-steps iterations iters updates"),
    (("--num-train", "--set data.num_train=…"), "n n-train train-size num-examples dataset-size"),
    (("--normalization", "--set family.normalization=…"), "norm bn batch-norm batchnorm"),
    (("--max-stable-learning-rate",), "max-lr lr-max max-learning-rate max-stable-lr"),
    (("--seeds", "--seed", "--set grid.seeds=…"), "seed seeds num-seeds n-seeds repeats trials"),
    (("--score",), "metric y objective value target accuracy acc"),
    (("--x",), "hyperparameter hyper-parameter column param-column lr learning-rate"),
    (("--minimize",), "minimise min lower-is-better loss smaller-is-better direction"),
    (("--maximize",), "maximise max higher-is-better"),
    (("--where",), "filter query select"),
    (("--workers",), "j jobs n-jobs num-workers n-workers processes procs threads cpus"),
    (("--output",), "out out-dir outdir output-dir dir save directory folder"),
    (("--data", "--set data.name=…"), "dataset data-set ds"),
    (("--spec",), "config cfg specification"),
    (("--engine", "--set packing.engine=…"), "backend"),
    (("--set hardware.device=…",), "device gpu cuda"),
    (("--on",), "executor launcher slurm ray cluster"),
    (("--yes",), "force f overwrite confirm no-confirm"),
    (("--quiet",), "silent no-progress q quiet"),
    (("--explain",), "verbose v why details long"),
    (("--json",), "as-json output-json format"),
)


def meant(name: str, known: Collection[str], *, without: str = "") -> str | None:
    """The option of a command that an unknown one stands for; None if nothing tells.

    Args:
        name: as it was typed, with its dashes.
        known: options of the command.
        without: the table of a specification whose keys it makes no use of.

    >>> meant("--lr", ["--learning-rate"]), meant("--bs", ["--set"]), meant("--lr", ["--json"])
    ('--learning-rate', '--set grid.batch_size=…', None)
    """
    bare = name.lstrip("-").lower().replace("_", "-")
    if f"--{bare}" in known:
        return f"--{bare}"
    options = (
        option
        for options, names in MEANT
        if bare in names.split() or f"--{bare}" in options
        for option in options
        if not without or not option.startswith(f"--set {without}.")
    )
    return next((option for option in options if option.split()[0] in known), None)
