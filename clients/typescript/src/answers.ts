// Made of docs/openapi.json by `make typescript`; its SHA-256: ddc213528d2acda2d64c0455e0101bac2e1319b2a6d6807326f02f3777deafdb
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
