"""The dashboards, one a file."""

from ops.boards import api, batches, overview, webhooks, workers

BOARDS = (overview.BOARD, api.BOARD, webhooks.BOARD, batches.BOARD, workers.BOARD)
