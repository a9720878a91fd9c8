// Made of docs/openapi.json by `make typescript`; its SHA-256: 38860b1143b59db1f45b9808fe79d6982c8059eb47d4c0de8fc50de7e0bf6722
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
