// Made of docs/openapi.json by `make typescript`; its SHA-256: 1bd79d0e09c9ef036e1c93e2a248d98803609206cfe21a455187252f7542947d
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
