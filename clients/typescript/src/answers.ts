// Made of docs/openapi.json by `make typescript`; its SHA-256: 23da6d0dadd8e2a419fb3b81b444110ed4c73766fb1255a1dec626159001b8b5
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
