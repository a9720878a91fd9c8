"""`python -m worker`: one worker until SIGTERM, from any directory.

`celery -A worker.app worker` is the same, but looks for `worker` in the working directory first,
where a service may have one of its own.
"""

import argparse


def main() -> None:
    """Read the arguments, then the settings, and work."""
    parser = argparse.ArgumentParser(
        "python -m worker",
        description="Submit and follow jobs. Settings come from the environment and from .env:"
        " RUNQUEUE_REDIS_URL, SKYVERN_API_KEY, …",
    )
    parser.add_argument("--hostname", help="the worker's name in Celery; %%h is this machine's")
    given = parser.parse_args()
    # Loading it reads the settings, which `--help` needs none of. It is loaded before Celery looks
    # for it, so that Celery finds this very one.
    from celery.bin.celery import celery  # noqa: PLC0415

    import worker.app  # noqa: F401, PLC0415

    options = ["--hostname", given.hostname] if given.hostname else []
    celery.main(
        ["--quiet", "-A", "worker.app", "worker", *options],
        prog_name="celery",
        auto_envvar_prefix="CELERY",
    )


if __name__ == "__main__":
    main()
