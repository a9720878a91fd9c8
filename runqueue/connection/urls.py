"""URLs as they may be shown."""

import re

#: What may be secret in a URL: who logs in, and what follows the path.
_SECRETS = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)


def shown_url(url: str) -> str:
    """Return a URL without what may be secret in it."""
    return _SECRETS.sub("", url)
