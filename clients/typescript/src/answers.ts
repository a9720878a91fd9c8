// Made of docs/openapi.json by `make typescript`; its SHA-256: d7c8e9fbefb8b40189e9596c4c666fa3020926fd5c89af4b7da90b75330c9caf
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
