"""Build hooks: take the metadata of `runqueue-server` and its packages from the checkout.

An sdist has the packages beside this file, and the metadata in its PKG-INFO.
"""

import tomllib
from pathlib import Path
from runpy import run_path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class SameVersion(MetadataHookInterface):
    """Gives `runqueue-server` the version of `runqueue`, and has it depend on that version."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in the fields that pyproject.toml calls dynamic; hatchling skips it in an sdist.

        Args:
            metadata: the table `project`, which is changed.
        """
        checkout = Path(self.root).parent
        project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
        metadata["version"] = version = run_path(str(checkout / "hatch_version.py"))["version"]()
        needed = f"runqueue[{','.join(self.config['needs'])}]=={version}"
        metadata.update({field: project[field] for field in self.config["shared"]})
        metadata["dependencies"] = [needed, *self.config["dependencies"]]
        metadata["optional-dependencies"] = {
            extra: [f"runqueue[{extra}]=={version}"] for extra in self.config["extras"]
        }


class Packages(BuildHookInterface[Any]):
    """Puts the packages into wheel and sdist."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the folders that go in.

        Args:
            version: of the target: `editable`, where `runqueue` has the checkout on the path.
            build_data: what hatchling is to do, which is changed.
        """
        if version == "editable":
            return
        here = Path(self.root)
        source = here if (here / "PKG-INFO").exists() else here.parent
        for package in self.config["packages"]:
            build_data["force_include"][str(source / package)] = package
