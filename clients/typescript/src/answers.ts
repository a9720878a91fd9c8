// Made of docs/openapi.json by `make typescript`; its SHA-256: e1db7251b2a31ce5071c0ad810b17aab12fb076541e50723dd852036f3793392
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
