// Made of docs/openapi.json by `make typescript`; its SHA-256: 2c5775c486843b6366845e4f1a48a51b6280c4f61dab9515389c31e4dee59f3b
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
