export { RunqueueClient } from "./client.js";
export * from "./errors.js";
export type { ClientOptions } from "./link.js";
export * from "./problems.js";
export type { components, operations, paths } from "./schema.js";
export * from "./types.js";
export type { Lines, UploadOptions } from "./upload.js";
export { verifyWebhook, type HeaderValues, type WebhookOptions } from "./webhooks.js";
