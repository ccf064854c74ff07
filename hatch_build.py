"""Builds the compiled engine's library with the package, where there is a C compiler."""

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_BUILD = Path("src/widthwise/engines/compiled/build.py")


class CompiledEngine(BuildHookInterface):  # type: ignore[misc]
    """A wheel with the library is of its platform, but serves every Python: ctypes loads it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if version != "editable":  # there they are found where they lie
            build_data["force_include"][str(Path(self.root) / "examples")] = "widthwise/examples"
        build = _load(Path(self.root) / _BUILD)
        try:
            library = build.build()
        except build.BuildError as problem:
            build.LIBRARY.unlink(missing_ok=True)  # one of an earlier source must not go along
            self.app.display_warning(
                f"widthwise without compiled code, which costs speed alone: {problem}"
            )
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"
        if version != "editable":  # git ignores the library, and so does hatchling
            inside = Path(library).relative_to(Path(self.root) / "src").as_posix()
            build_data["force_include"][str(library)] = inside


def _platform() -> str:
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _load(path: Path) -> ModuleType:
    """The module in this file, without the package round it, whose dependencies are not here."""
    spec = importlib.util.spec_from_file_location("widthwise_compiled_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
