// Made of docs/openapi.json by `make typescript`; its SHA-256: e4bbc9e13602b8bf8d5fb6c290613d21d45da2628844082d7f0d97e2bf3eb7d8
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
