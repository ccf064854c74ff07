"""What the paper's text fixes for a preset, what was chosen here, and what was not found.

Source: Park, Sohl-Dickstein, Le & Smith (2019), "The Effect of Network Width on Stochastic Gradient
Descent and Generalization: an Empirical Study", arXiv:1905.03776. Its abstract and the opening of
its introduction could be read when these presets were written, and its rules as the rest of this
package states them; its sections on experiments could not. Nothing is ascribed to the paper that
was not seen in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from widthwise.reproduce.presets import PresetName
from widthwise.reproduce.sizes import NETWORKS

PAPER = "Park et al. (2019), arXiv:1905.03776"

_FIXED = (
    "families are made by multiplying the number of units or channels of a base network",
    "a large search over learning rate, batch size and width",
    "SGD with a constant learning rate, on classification",
    "performance is test accuracy at late times, averaged over several runs",
    "σ_init² of the two parameterizations (section 2)",
)
_FIXED_KIND = {
    "mlp": ("multilayer perceptrons are among the families",),
    "cnn": ("ConvNets are among the families, with and without batch norm",),
    "wide_resnet": ("ResNets are among the families, with and without batch norm",),
}
_NOT_FOUND = (
    "base widths, widening factors and the ConvNet's layers",
    "learning rates, batch sizes and the number of epochs",
    "the number of runs a setting",
    "how batch norm takes its statistics at small batches",
)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Of one preset.

    Attributes:
        fixed: what the paper's text fixes.
        chosen: what was chosen here, with its value.
        not_found: what its text surely says but could not be read; chosen here as well.
    """

    fixed: tuple[str, ...]
    chosen: tuple[str, ...]
    not_found: tuple[str, ...]

    def comment(self) -> str:
        """Lines of a TOML comment."""
        parts = (
            (f"Fixed by the text of {PAPER}:", self.fixed),
            ("Chosen by us:", self.chosen),
            ("Not found in what could be read of the paper, hence ours:", self.not_found),
        )
        lines = [line for head, items in parts for line in (head, *(f"  - {x}" for x in items))]
        return "".join(f"# {line}\n" for line in lines)


def provenance(name: PresetName, fields: Mapping[str, Any]) -> Provenance:
    """What in these fields of a preset is whose."""
    kind = NETWORKS[name.network].kind
    family, data, training = fields["family"], fields["data"], fields["training"]
    examples = data.get("num_train")
    widths = fields["grid"] if isinstance(fields["grid"], dict) else fields["grid"][0]
    factors = ", ".join(f"{w:g}" for w in widths["widening_factor"])
    chosen = [
        f"width {family['base_width']}·w, depth {family['depth']}, w = {factors}",
        f"{data['name']}, {examples or 'all'} training examples",
        f"equal physical time ε·steps/(1 − m) = {training['physical_time']:g} at every setting",
    ]
    if kind == "wide_resnet":
        chosen.append("a stem that widens; without batch norm, residual branches that start at 0")
    if "ghost_batch_size" in training:
        chosen.append(
            f"batch norm over parts of {training['ghost_batch_size']} examples at every batch size"
        )
    if "search" in fields:
        chosen.append(
            "adaptive search over a fine grid of ḡ instead of all its runs, at most "
            f"{fields['search']['max_runs']} runs"
        )
    return Provenance(
        fixed=(*_FIXED, *_FIXED_KIND[kind]), chosen=tuple(chosen), not_found=_NOT_FOUND
    )
