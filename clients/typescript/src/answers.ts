// Made of docs/openapi.json by `make typescript`; its SHA-256: bf09dfd48236b940813cc97029e9b89ed35a42f92195d3d1c18a949c721c8659
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
