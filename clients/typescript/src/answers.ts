// Made of docs/openapi.json by `make typescript`; its SHA-256: be26e2362ae7bd1ce35afb5addff516ef1c9d7c555358fae8e0a0cb3bed64a74
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
