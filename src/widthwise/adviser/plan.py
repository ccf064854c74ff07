"""The answer: a frozen plan for the wider network, and its exports into other software."""

from dataclasses import dataclass
from typing import Any

from widthwise.adviser.answer import answer, number_text, title
from widthwise.adviser.content import PlanContent
from widthwise.adviser.explanation import explanation
from widthwise.errors import InputError
from widthwise.text import html_table, plain

# Schedules that Hugging Face's Trainer knows under the same name.
_HUGGING_FACE_SCHEDULES = {"constant": "constant", "cosine": "cosine", "linear": "linear"}


@dataclass(frozen=True, kw_only=True)
class Plan(PlanContent):
    """What to set for the wider network, why, and when not to trust it.

    ``print(plan)`` is the answer in at most 15 lines, :meth:`explain` says why; the fields are
    those of :class:`widthwise.adviser.content.PlanContent`.
    """

    def __str__(self) -> str:
        return answer(self, "Reasons, limits, other choices: plan.explain(); all: plan.to_dict().")

    def _repr_html_(self) -> str:
        """In a notebook."""
        base, numbers = self.base, ("learning_rate", "batch_size", "momentum")
        rows: list[tuple[str, str]] = [("evidence", self.evidence)]
        rows += [
            (
                name.replace("_", " "),
                f"{number_text(getattr(base, name))} → {number_text(getattr(self, name))}",
            )
            for name in numbers
        ]
        rows += [("warning", doubt) for doubt in self.doubts[:1]]
        return html_table(title(self), rows)

    def explain(self) -> str:
        """Why these numbers, how far to trust them, ceilings, equivalent choices and rivals."""
        return explanation(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain JSON values; open ends and unknown numbers are None."""
        return {**plain(self), "warnings": list(self.warnings)}

    def optimizer_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of ``torch.optim.SGD``; weight decay is the base's, as given."""
        return {
            "lr": self.learning_rate,
            "momentum": self.momentum,
            "dampening": 0.0,
            "weight_decay": self.weight_decay,
        }

    def parameter_groups(self, module: Any) -> list[dict[str, Any]]:
        """Trained parameters of the wider module in groups for ``torch.optim.SGD``, each with its
        learning rate.

        Where rates differ, weight decay goes against them, so that their product is the same in
        every layer, as in MuSGD of the mup package.

        Raises:
            InputError: if the module lacks a parameter that has a rate, or has one without.
        """
        named = dict(module.named_parameters())
        if not self.layer_rates:
            trained = [p for p in named.values() if p.requires_grad]
            return [{"params": trained, "lr": self.learning_rate}]
        missing = [name for names, _ in self.layer_rates for name in names if name not in named]
        planned = {name for names, _ in self.layer_rates for name in names}
        extra = [name for name in named if name not in planned]
        if missing or extra:
            raise InputError(
                "parameter_groups needs the module that the plan was made for: "
                + "; ".join(
                    f"{what} {', '.join(names[:3])}"
                    for what, names in (("it lacks", missing), ("the plan has no rate for", extra))
                    if names
                )
            )
        return [
            {
                "params": [named[name] for name in names if named[name].requires_grad],
                "lr": rate,
                "weight_decay": self.weight_decay * (self.learning_rate / rate),
            }
            for names, rate in self.layer_rates
        ]

    def training_arguments(
        self, *, num_devices: int = 1, gradient_accumulation_steps: int = 1
    ) -> dict[str, Any]:
        """Keyword arguments of Hugging Face's ``TrainingArguments``.

        ``optim_args`` carries the momentum as that class wants it, "momentum=0.9". Releases before
        pull request huggingface/transformers#44203 (February 2026) drop it silently for "sgd";
        with those, give ``Trainer(optimizer_cls_and_kwargs=(torch.optim.SGD,
        plan.optimizer_kwargs()))``. The class would also decay the learning rate linearly and clip
        gradients unless told not to.

        Raises:
            InputError: if the batch size is not a multiple of devices × accumulation steps, or
                the rates differ by layer.
        """
        if self.layer_rates:
            raise InputError(
                "TrainingArguments has one learning rate, and the plan has one a layer: build the "
                "optimizer from plan.parameter_groups(module) and give it to "
                "Trainer(optimizers=(optimizer, None))"
            )
        shares = num_devices * gradient_accumulation_steps
        if num_devices < 1 or gradient_accumulation_steps < 1 or self.batch_size % shares:
            raise InputError(
                f"the batch size {self.batch_size} must be a multiple of num_devices × "
                f"gradient_accumulation_steps, both at least 1, got {num_devices} × "
                f"{gradient_accumulation_steps}; choose others, or another point of plan.choices"
            )
        arguments: dict[str, Any] = {
            "optim": "sgd",
            "learning_rate": self.learning_rate,
            "per_device_train_batch_size": self.batch_size // shares,
            "gradient_accumulation_steps": gradient_accumulation_steps,
            "weight_decay": self.weight_decay,
            "warmup_steps": 0,
            "max_grad_norm": 0.0,
        }
        if self.momentum > 0.0:
            arguments["optim_args"] = f"momentum={self.momentum!r}"
        if self.schedule in _HUGGING_FACE_SCHEDULES:
            arguments["lr_scheduler_type"] = _HUGGING_FACE_SCHEDULES[self.schedule]
        if self.epochs is not None:
            arguments["num_train_epochs"] = self.epochs
        return arguments

    def lightning_kwargs(self) -> dict[str, dict[str, Any]]:
        """Keyword arguments for Lightning, which names no place for a batch size or an optimizer.

        "optimizer": of ``torch.optim.SGD`` in ``configure_optimizers``; "dataloader": of the
        training ``DataLoader``; "trainer": of ``lightning.Trainer``.
        """
        trainer: dict[str, Any] = {"gradient_clip_val": None, "accumulate_grad_batches": 1}
        if self.epochs is not None and float(self.epochs).is_integer():
            trainer["max_epochs"] = int(self.epochs)
        return {
            "optimizer": self.optimizer_kwargs(),
            "dataloader": {"batch_size": self.batch_size, "shuffle": True},
            "trainer": trainer,
        }
