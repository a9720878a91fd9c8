// Made of docs/openapi.json by `make typescript`; its SHA-256: e3d1c25c5d18543ee94d3f4704164713e205abe37d4e014e0282082431a86da2
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
