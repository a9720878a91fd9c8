// Made of docs/openapi.json by `make typescript`; its SHA-256: ad58b6eea531987ff2ddc8f39d25451abbd318ab956272cf3209b630efd88c1a
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
