"""Whether the installed `runqueue-server` is of our own version, as it has to be."""

from importlib.metadata import PackageNotFoundError, version

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
