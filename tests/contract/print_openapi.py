"""Prints a Skyvern's routes and OpenAPI description as JSON; run by the Python that has it.

Nothing here is imported by the project, and nothing of Skyvern by the project's own Python.
"""

import importlib
import json
import logging
import sys
from importlib.metadata import version


def main() -> None:
    """Import the routes, which needs neither a database nor a server, and describe them."""
    logging.disable(logging.CRITICAL)
    # What is imported may print.
    out, sys.stdout = sys.stdout, sys.stderr
    routers = importlib.import_module("skyvern.forge.sdk.routes.routers")
    importlib.import_module("skyvern.forge.sdk.routes")
    utils = importlib.import_module("fastapi.openapi.utils")
    base, legacy = routers.base_router, routers.legacy_base_router
    routes = [
        [method, prefix + route.path]
        for prefix, router in (("/v1", base), ("/api/v1", legacy))
        for route in router.routes
        for method in sorted(getattr(route, "methods", None) or ())
    ]
    document = utils.get_openapi(title="Skyvern", version=version("skyvern"), routes=base.routes)
    document["paths"] = {f"/v1{path}": found for path, found in document["paths"].items()}
    json.dump({"version": version("skyvern"), "routes": routes, "openapi": document}, out)


if __name__ == "__main__":
    main()
