// Made of docs/openapi.json by `make typescript`; its SHA-256: 1b46b85ce20752068811431aceb2ee383c26a9d38b7a854d43f0e7d9015178cc
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
