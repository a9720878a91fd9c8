// Made of docs/openapi.json by `make typescript`; its SHA-256: 5f86f71f269b9d0d5da1f26dca17de9c8b9723c3bb19e33da46ed1b79cf3c97d
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
