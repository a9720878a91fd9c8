// Made of docs/openapi.json by `make typescript`; its SHA-256: 0c1e6e1743bed35b0b3836985ade94ba81784cc7693b0f68206b5c7192f2e6f8
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
