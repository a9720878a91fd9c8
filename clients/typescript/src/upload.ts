import { ReadableStream } from "node:stream/web";
import { GatewayUnavailable } from "./errors.js";
import type { Link } from "./link.js";
import type { BatchOptions, Line, Uploaded } from "./types.js";

type Source = Iterable<Line> | AsyncIterable<Line>;
/** Lines to upload; an array or a function can be gone through again. */
export type Lines = Source | (() => Source);
export type UploadOptions = BatchOptions & { callbackUrl?: string; signal?: AbortSignal };

/** Characters that are sent at once, and milliseconds after which fewer are. */
const [PART, LATEST_MS] = [64 * 1024, 5_000];
/** All of an upload is checked before it is answered. */
const ANSWER_MS = 24 * 3600 * 1000;
const UNSURE =
  "the answer was lost when all was sent, and not every line has a custom_id: the batch may be" +
  " accepted; look at the batches before it is sent again";

/** How far the lines of one try were sent. */
interface Progress {
  /** Whether the last byte was passed on, and whether every line has a `custom_id`. */
  isWhole: boolean;
  isNamed: boolean;
  /** What making the lines has failed with. */
  failed?: { error: unknown };
}

/** Uploads a batch, as `RunqueueClient.uploadBatch` says. */
export async function uploadBatch(
  link: Link,
  lines: Lines,
  { callbackUrl, signal, ...query }: UploadOptions,
): Promise<Uploaded> {
  const url = new URL(`${link.url}/v1/batches`);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value ?? []].flat()) url.searchParams.append(name, String(one));
  }
  const headers = new Headers({ "content-type": "application/x-ndjson" });
  if (callbackUrl) headers.set("runqueue-callback-url", callbackUrl);
  let sent: Progress = { isWhole: false, isNamed: true };
  const make = (): Request => {
    sent = { isWhole: false, isNamed: true };
    const body = ReadableStream.from(parts(typeof lines === "function" ? lines() : lines, sent));
    const init = { method: "POST", headers, body, duplex: "half", signal: signal ?? null };
    return new Request(url, init as RequestInit);
  };
  try {
    const answer = await link.send(make, {
      mayRepeat: () => !sent.isWhole || sent.isNamed,
      canRepeat: () => (typeof lines === "function" || Array.isArray(lines)) && !sent.failed,
      answerMs: ANSWER_MS,
    });
    return (await answer.json()) as Uploaded;
  } catch (error) {
    if (sent.failed) throw sent.failed.error;
    const isLost = error instanceof GatewayUnavailable && sent.isWhole && !sent.isNamed;
    throw isLost ? new GatewayUnavailable(UNSURE, { cause: error }) : error;
  }
}

/** Makes a body of lines, no more than is read. */
async function* parts(lines: Source, sent: Progress): AsyncGenerator<Uint8Array, void, void> {
  const encoder = new TextEncoder();
  let [text, due] = ["", Date.now() + LATEST_MS];
  try {
    for await (const line of lines) {
      sent.isNamed &&= Boolean(line.custom_id);
      text += `${JSON.stringify(line)}\n`;
      if (text.length < PART && Date.now() < due) continue;
      yield encoder.encode(text);
      [text, due] = ["", Date.now() + LATEST_MS];
    }
  } catch (error) {
    sent.failed = { error };
    throw error;
  }
  sent.isWhole = true;
  if (text) yield encoder.encode(text);
}
