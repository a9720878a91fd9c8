// Made of docs/openapi.json by `make typescript`; its SHA-256: 83b1cd952c63630b30601093d69136801bf366e49d398e47db13a29fb1cb341f
/** Paths that answer a GET by text. */
export const TEXTS: ReadonlySet<string> = new Set([
  "/metrics",
  "/metrics/queue",
  "/v1/results",
  "/v1/batches/{batch_id}/results",
  "/v1/batches/{batch_id}/errors",
  "/v1/events",
]);
