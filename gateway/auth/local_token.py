"""The token of the user who runs the gateway, in a file that only he can read.

It is made if no other tokens are set up. A request from this machine needs it, too: it may come
from a tunnel, a proxy or another user of the machine.
"""

import hashlib
from typing import Final, get_args

import structlog

from config.gateway import ApiToken, Scope
from runqueue.embedded.secret_files import TOKEN_FILE, BadSecretFile, make_folder, secret_in

log = structlog.get_logger()

#: What audits call its bearer.
LOCAL_NAME: Final = "this machine"


def local_token() -> ApiToken | None:
    """Return the token in `.runqueue/token`, which is made if it is not there.

    It may do everything, in every account. None = the file cannot be used, which is logged: nobody
    has a token then.
    """
    try:
        make_folder(TOKEN_FILE.parent)
        secret = secret_in(TOKEN_FILE)
    except (OSError, BadSecretFile) as error:
        why = getattr(error, "strerror", None)
        log.warning(
            "no_token",
            error=f"cannot use {TOKEN_FILE.absolute()} ({why})" if why else str(error),
            warning="webhooks and probes alone are answered: set RUNQUEUE_API_TOKENS",
        )
        return None
    log.info("local_token", file=str(TOKEN_FILE.absolute()))
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return ApiToken(LOCAL_NAME, frozenset(get_args(Scope)), digest)
