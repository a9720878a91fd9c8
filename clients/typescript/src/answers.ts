// Made of docs/openapi.json by `make typescript`; its SHA-256: 2b98750fc23e34ece2a3cdc54b21442d79c3ff46fe273430753a0c935f73f763
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
