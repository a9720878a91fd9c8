// Made of docs/openapi.json by `make typescript`; its SHA-256: 9eb656f0185e1a56a9f9f19a3eb93a9742f723e7be9cc5cc589241b2d26d7231
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
