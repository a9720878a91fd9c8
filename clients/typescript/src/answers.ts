// Made of docs/openapi.json by `make typescript`; its SHA-256: a0772d34e6b028f8b5af24f25c40cc8f8612accd511048b7133b754cfcc25f6f
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
