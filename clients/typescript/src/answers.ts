// Made of docs/openapi.json by `make typescript`; its SHA-256: b0def9b290e782d7fd80d2c00562dd5ad1e166a5de0aaea56d2f089fcd3e977b
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
