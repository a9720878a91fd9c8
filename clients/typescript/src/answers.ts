// Made of docs/openapi.json by `make typescript`; its SHA-256: 023b7f7d9bdd819b1811175148eacac171a7083bed6cbc6f23a1bcb3fa748178
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
