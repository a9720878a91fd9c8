// Made of docs/openapi.json by `make typescript`; its SHA-256: c464ab8f40ed3b05a646be61607d0d3231c17bd1f56d26deb924044f0595c680
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
