"""Studies of format 2 (Widthwise 0.1): read, never gone on with, never mixed with others."""

import hashlib
import io
from pathlib import Path

import polars as pl

from widthwise.runs.blobs import Damage
from widthwise.runs.folder import Folder
from widthwise.runs.schema import RESULTS_SCHEMA, SETTING

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
            problem = None
            if hashlib.sha256(content).hexdigest()[:_DIGITS] != digest:
                problem = "its bytes do not match its name"
            elif pack not in by_pack:
                try:
                    by_pack[pack] = _table(content)
                except (OSError, pl.exceptions.PolarsError) as error:
                    problem = f"it holds no results ({str(error).splitlines()[0]})"
            if problem is not None:
                damage.append(Damage(self._folder.path / name, problem, is_aside=False))
        if not by_pack:
            return pl.DataFrame(schema=RESULTS_SCHEMA), damage
        table = pl.concat(by_pack.values())
        order = ["widening_factor", "normalized_noise_scale", "batch_size", "learning_rate"]
        return table.sort(*order, "momentum", "seed"), damage


def _table(content: bytes) -> pl.DataFrame:
    known = pl.read_parquet(io.BytesIO(content))
    needed = [name for name in (*SETTING, "seed", "status") if name not in known.columns]
    if needed:
        raise pl.exceptions.ColumnNotFoundError(needed[0])
    return known.select(
        (pl.col(name) if name in known.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in RESULTS_SCHEMA.items()
    )
