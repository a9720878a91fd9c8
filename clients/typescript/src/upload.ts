import { ReadableStream } from "node:stream/web";
import { createQuerySerializer } from "openapi-fetch";
import { GatewayUnavailable } from "./errors.js";
import type { Link } from "./link.js";
import type { BatchOptions, Line, Uploaded, Waiting } from "./types.js";

type Source = Iterable<Line> | AsyncIterable<Line>;
/** Lines to upload; an array or a function can be gone through again. */
export type Lines = Source | (() => Source);
export type UploadOptions = BatchOptions & Pick<Waiting, "signal"> & { callbackUrl?: string };

/** Characters that are sent at once, and milliseconds after which fewer are. */
const [PART, LATEST_MS] = [64 * 1024, 5_000];
const UNSURE = "the answer was lost: the batch may be accepted; look before you send it again";

/**
 * How far the lines of one try were sent: whether the last byte was passed on, whether every line
 * has a `custom_id`, and what making them has failed with.
 */
type Progress = { isWhole: boolean; isNamed: boolean; failed?: { error: unknown } };

/** Uploads a batch, as `RunqueueClient.uploadBatch` says. */
export async function uploadBatch(
  link: Link,
  lines: Lines,
  { callbackUrl, signal, ...query }: UploadOptions,
): Promise<Uploaded> {
  const url = `${link.url}/v1/batches?${createQuerySerializer()(query)}`;
  const headers = new Headers({ "content-type": "application/x-ndjson" });
  if (callbackUrl !== undefined) {
    if (!URL.canParse(callbackUrl)) throw new TypeError("callbackUrl: expected a URL");
    headers.set("runqueue-callback-url", new URL(callbackUrl).href);
  }
  const isThere = typeof lines === "function" || Array.isArray(lines);
  let sent: Progress = { isWhole: false, isNamed: true };
  let made: AsyncGenerator<Uint8Array> | undefined;
  // Once a try is over nobody closes its body. By an error: one that just ends would be whole.
  const close = () => made?.throw(new Error("the upload is over")).catch(() => undefined);
  const make = (): Request => {
    close();
    sent = { isWhole: false, isNamed: true };
    made = parts(typeof lines === "function" ? lines() : lines, sent);
    const init = { method: "POST", headers, body: ReadableStream.from(made), duplex: "half" };
    return new Request(url, init as RequestInit);
  };
  try {
    const answer = await link.send(make, {
      signal,
      mayRepeat: (isSure) => isThere && !sent.failed && (isSure || !sent.isWhole || sent.isNamed),
      answerMs: Infinity, // all of it is checked before it is answered
    });
    return (await answer.json()) as Uploaded;
  } catch (error) {
    if (sent.failed) throw sent.failed.error;
    const isLost = error instanceof GatewayUnavailable && sent.isWhole && !sent.isNamed;
    throw isLost ? new GatewayUnavailable(UNSURE, { cause: error }) : error;
  } finally {
    close();
  }
}

/** Makes a body of lines, no more than is read. */
async function* parts(lines: Source, sent: Progress): AsyncGenerator<Uint8Array, void, void> {
  const encoder = new TextEncoder();
  let [text, due] = ["", performance.now() + LATEST_MS];
  try {
    for await (const line of lines) {
      sent.isNamed &&= Boolean(line.custom_id);
      text += `${JSON.stringify(line)}\n`;
      if (text.length < PART && performance.now() < due) continue;
      yield encoder.encode(text);
      [text, due] = ["", performance.now() + LATEST_MS];
    }
  } catch (error) {
    sent.failed = { error };
    throw error;
  }
  sent.isWhole = true;
  if (text) yield encoder.encode(text);
}
