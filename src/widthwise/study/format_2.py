"""Studies of format 2 (Widthwise 0.1): read, never gone on with, never mixed with others."""

import hashlib
import io
from pathlib import Path

import polars as pl

from widthwise.runs.folder import Folder
from widthwise.runs.schema import RESULTS_SCHEMA
from widthwise.runs.store import Damage

_SUFFIX = ".parquet"
_DIGITS = 32


class OldShards:
    """The results of such a study: Parquet files of a pack each, whose names end with the hash of
    their bytes."""

    def __init__(self, directory: Path) -> None:
        self._folder = Folder(directory / "shards")

    def table(self) -> tuple[pl.DataFrame, list[Damage]]:
        """Rows of :data:`RESULTS_SCHEMA`, null where format 2 did not say; and damaged files."""
        by_pack: dict[str, pl.DataFrame] = {}
        damage = []
        for name in self._folder.names():
            if not name.endswith(_SUFFIX):
                continue
            pack, _, digest = name.removesuffix(_SUFFIX).partition("-")
            content = self._folder.read(name) or b""
            if hashlib.sha256(content).hexdigest()[:_DIGITS] != digest:
                problem = "its bytes do not match its name"
                damage.append(Damage(self._folder.path / name, problem, is_aside=False))
            elif pack not in by_pack:
                by_pack[pack] = pl.read_parquet(io.BytesIO(content))
        if not by_pack:
            return pl.DataFrame(schema=RESULTS_SCHEMA), damage
        known = pl.concat(by_pack.values())
        table = known.select(
            (pl.col(name) if name in known.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in RESULTS_SCHEMA.items()
        )
        order = ["widening_factor", "normalized_noise_scale", "batch_size", "learning_rate"]
        return table.sort(*order, "momentum", "seed"), damage
