"""The addresses of a simulated world; none of them is ever resolved."""

#: The queue's Redis, where the product takes a URL.
QUEUE_URL = "redis://simulated.invalid"
#: The gateways, as Skyvern reaches them.
PUBLIC_URL = "https://queue.test"
#: The users' receivers of webhooks.
USER_URL = "https://user.test"
#: Skyvern.
SKYVERN_URL = "http://skyvern.test"
