"""A plan as the keyword arguments of other software."""

from typing import TYPE_CHECKING, Any

from widthwise.errors import InputError

if TYPE_CHECKING:
    from widthwise.adviser.plan import Plan

# Schedules that Hugging Face's Trainer knows under the same name.
_HUGGING_FACE_SCHEDULES = {"constant": "constant", "cosine": "cosine", "linear": "linear"}


def optimizer_kwargs(plan: "Plan") -> dict[str, Any]:
    """Keyword arguments of ``torch.optim.SGD``; weight decay is the base's, as given."""
    return {
        "lr": plan.learning_rate,
        "momentum": plan.momentum,
        "dampening": 0.0,
        "weight_decay": plan.weight_decay,
    }


def parameter_groups(plan: "Plan", module: Any) -> list[dict[str, Any]]:
    """Trained parameters of the module in groups, each with its learning rate.

    Where rates differ, weight decay goes against them, so that their product is the same in every
    layer, as in MuSGD of the mup package.
    """
    named = dict(module.named_parameters())
    if not plan.layer_rates:
        return [
            {"params": [p for p in named.values() if p.requires_grad], "lr": plan.learning_rate}
        ]
    missing = [name for names, _ in plan.layer_rates for name in names if name not in named]
    planned = {name for names, _ in plan.layer_rates for name in names}
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
            "weight_decay": plan.weight_decay * (plan.learning_rate / rate),
        }
        for names, rate in plan.layer_rates
    ]


def training_arguments(
    plan: "Plan", num_devices: int, gradient_accumulation_steps: int
) -> dict[str, Any]:
    """Keyword arguments of Hugging Face's ``TrainingArguments``.

    ``optim_args`` carries the momentum as that class wants it, "momentum=0.9". Releases before
    pull request huggingface/transformers#44203 (February 2026) drop it silently for "sgd"; with
    those, give ``Trainer(optimizer_cls_and_kwargs=(torch.optim.SGD, plan.optimizer_kwargs()))``.
    The class would also decay the learning rate linearly and clip gradients unless told not to.
    """
    if plan.layer_rates:
        raise InputError(
            "TrainingArguments has one learning rate, and the plan has one a layer: build the "
            "optimizer from plan.parameter_groups(module) and give it to "
            "Trainer(optimizers=(optimizer, None))"
        )
    shares = num_devices * gradient_accumulation_steps
    if num_devices < 1 or gradient_accumulation_steps < 1 or plan.batch_size % shares:
        raise InputError(
            f"the batch size {plan.batch_size} must be a multiple of num_devices × "
            f"gradient_accumulation_steps, both at least 1, got {num_devices} × "
            f"{gradient_accumulation_steps}; choose others, or another point of plan.choices"
        )
    arguments: dict[str, Any] = {
        "optim": "sgd",
        "learning_rate": plan.learning_rate,
        "per_device_train_batch_size": plan.batch_size // shares,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "weight_decay": plan.weight_decay,
        "warmup_steps": 0,
        "max_grad_norm": 0.0,
    }
    if plan.momentum > 0.0:
        arguments["optim_args"] = f"momentum={plan.momentum!r}"
    if plan.schedule in _HUGGING_FACE_SCHEDULES:
        arguments["lr_scheduler_type"] = _HUGGING_FACE_SCHEDULES[plan.schedule]
    if plan.epochs is not None:
        arguments["num_train_epochs"] = plan.epochs
    return arguments


def lightning_kwargs(plan: "Plan") -> dict[str, dict[str, Any]]:
    """Keyword arguments for Lightning, which names no place for a batch size or an optimizer.

    "optimizer": of ``torch.optim.SGD`` in ``configure_optimizers``; "dataloader": of the training
    ``DataLoader``; "trainer": of ``lightning.Trainer``.
    """
    trainer: dict[str, Any] = {"gradient_clip_val": None, "accumulate_grad_batches": 1}
    if plan.epochs is not None and float(plan.epochs).is_integer():
        trainer["max_epochs"] = int(plan.epochs)
    return {
        "optimizer": optimizer_kwargs(plan),
        "dataloader": {"batch_size": plan.batch_size, "shuffle": True},
        "trainer": trainer,
    }
