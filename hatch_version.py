"""The version of both distributions, which their builds ask for: `RELEASE` alone says it.

The commit that has the release's tag builds the release; any other builds a development version
that names the commit. An sdist has its version in its PKG-INFO, and needs no git.
"""

import os
import shutil
import subprocess
from pathlib import Path

#: The next release, until its tag is set.
RELEASE = "1.0.0"


def version(checkout: Path = Path(__file__).parent) -> str:
    """Return the version that a build of the checkout has.

    `HATCH_BUILD_VERSION` goes first: for a copy without git, such as the image's.

    Args:
        checkout: its folder.
    """
    return os.environ.get("HATCH_BUILD_VERSION") or _of_commit(checkout)


def _of_commit(checkout: Path) -> str:
    git = shutil.which("git")
    # A repository that begins in a folder above is another one.
    if git is None or not (checkout / ".git").exists():
        return f"{RELEASE}.dev0"
    options = ("--always", "--long", "--dirty", "--abbrev=12", "--tags", "--match", f"v{RELEASE}")
    found = subprocess.run(  # noqa: S603 - our own command
        (git, "describe", *options), cwd=checkout, capture_output=True, text=True, check=False
    )
    described = found.stdout.strip()  # v1.0.0-2-g0123456789ab-dirty, or 0123456789ab
    if found.returncode:  # such as another user's checkout, which git does not trust
        return f"{RELEASE}.dev0"
    if described.startswith(f"v{RELEASE}-0-g") and not described.endswith("-dirty"):
        return RELEASE
    commit = described.removeprefix(f"v{RELEASE}-").rpartition("-g")[2].replace("-", ".")
    return f"{RELEASE}.dev0+g{commit}"
