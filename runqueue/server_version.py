"""What the installed `runqueue-server` offers, and whether it is of our version, as it must be."""

from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

SERVER = "runqueue-server"
#: What mends it. An index is not named: what it has under these names need not be ours.
INSTALL = "install both from one checkout: pip install CHECKOUT CHECKOUT/runqueue-server"


def version_mismatch() -> str | None:
    """Return what is wrong, and what to do; None: nothing, or one of the two is not installed."""
    try:
        ours, theirs = version("runqueue"), version(SERVER)
    except PackageNotFoundError:  # a source tree that is only on the path
        return None
    if ours == theirs:
        return None
    return (
        f"{SERVER} {theirs} works with runqueue {theirs} only, and runqueue {ours} is installed:"
        f" {INSTALL}"
    )


def server_part(group: str, name: str) -> Any:
    """Import what `runqueue-server` offers.

    Args:
        group, name: of the entry point.

    Raises:
        RuntimeError: it is not installed, of another version, or cannot be imported.
    """
    if mismatch := version_mismatch():
        raise RuntimeError(mismatch)
    for entry in entry_points(group=group, name=name):
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise RuntimeError(
                f"`{name}` of {SERVER} cannot be imported ({error}): does another module here have"
                " the name of one of its own, such as config or worker? For commands install"
                f" {SERVER} in an environment of its own"
            ) from error
    raise RuntimeError(f"`{name}` needs {SERVER}, which is not installed here: {INSTALL}")
