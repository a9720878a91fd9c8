// Made of docs/openapi.json by `make typescript`; its SHA-256: c828cd8707b0a644024d349d50dabc12222b011f54697c783177db08b5dd104e
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
