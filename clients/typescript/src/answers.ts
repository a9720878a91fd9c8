// Made of docs/openapi.json by `make typescript`; its SHA-256: fe1afd3e2c33f7a6b6a01aa21a9e6ed4e49553164d7848fc0b7684edebb6a84d
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
