"""The addresses of a simulated world, of which none is ever resolved, and its API keys."""

#: The queue's Redis, where the product takes a URL.
QUEUE_URL = "redis://simulated.invalid"
#: The gateways, as Skyvern reaches them.
PUBLIC_URL = "https://queue.test"
#: The users' receivers of webhooks.
USER_URL = "https://user.test"
#: Skyvern.
SKYVERN_URL = "http://skyvern.test"
#: What Skyvern takes calls with, and signs its webhooks with.
API_KEY = "simulated-key"
#: What other people's programs call it with, for the same organization.
OTHERS_KEY = "others-key"
#: The second account, and its key.
SECOND_ACCOUNT, SECOND_KEY = "beside", "beside-key"
#: The account that has schedules, and its key.
TIMED_ACCOUNT, TIMED_KEY = "timed", "timed-key"


def callback_url(number: int) -> str:
    """Return where the callbacks of a batch go, by its number in the plan."""
    return f"{USER_URL}/batch/{number}"
