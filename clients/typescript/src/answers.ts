// Made of docs/openapi.json by `make typescript`; its SHA-256: 97b72c70f2206c87ff31131f6aace35639ac22ead40990a3fe0478d2065aecfb
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
