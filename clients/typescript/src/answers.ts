// Made of docs/openapi.json by `make typescript`; its SHA-256: 1b6b8f11ebf14b91c65a2fdf2019b6832558795e4e1ab858482de55bd6fed4ec
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
