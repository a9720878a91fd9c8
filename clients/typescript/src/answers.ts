// Made of docs/openapi.json by `make typescript`; its SHA-256: 9a909ac7ff9966e25cf3a2a59b2e226fdef3ef4e6e44411692bbf54ab21a0f51
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
