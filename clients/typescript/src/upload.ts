import { GatewayUnavailable } from "./errors.js";
import type { Link } from "./link.js";
import type { BatchOptions, Line, Uploaded } from "./types.js";

type Source<T> = Iterable<T> | AsyncIterable<T>;
/** Lines to upload; an array or a function can be gone through again. */
export type Lines<T> = Source<T> | (() => Source<T>);

/** Characters that are sent at once, and milliseconds after which fewer are. */
const [PART, LATEST_MS] = [64 * 1024, 5_000];
/** All of an upload is checked before it is answered. */
const ANSWER_MS = 24 * 3600 * 1000;
const UNSURE =
  "the answer was lost when all was sent, and not every line has a custom_id: the batch may be" +
  " accepted; look at the batches before it is sent again";

/** Uploads a batch, as `RunqueueClient.uploadBatch` says. */
export async function uploadBatch(
  link: Link,
  lines: Lines<Line>,
  { callbackUrl, signal, ...query }: BatchOptions & { callbackUrl?: string; signal?: AbortSignal },
): Promise<Uploaded> {
  const url = new URL(`${link.url}/v1/batches`);
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value ?? []].flat()) url.searchParams.append(name, String(one));
  }
  const headers = new Headers({ "content-type": "application/x-ndjson" });
  if (callbackUrl) headers.set("runqueue-callback-url", callbackUrl);
  const canRepeat = typeof lines === "function" || Array.isArray(lines);
  let sent = new SentLines([]);
  const make = (): Request => {
    sent = new SentLines(typeof lines === "function" ? lines() : lines);
    const body = sent.body();
    const init = { method: "POST", headers, body, duplex: "half", signal: signal ?? null };
    return new Request(url, init as RequestInit);
  };
  try {
    const answer = await link.send(make, {
      mayRepeat: () => !sent.failed && (!sent.isWhole || sent.isNamed),
      canRepeat: () => canRepeat && !sent.failed,
      answerMs: ANSWER_MS,
    });
    return (await answer.json()) as Uploaded;
  } catch (error) {
    if (sent.failed) throw sent.failed.error;
    const isLost = error instanceof GatewayUnavailable && sent.isWhole && !sent.isNamed;
    throw isLost ? new GatewayUnavailable(UNSURE, { cause: error }) : error;
  }
}

/** Makes the body of one try, and knows how far it was sent. */
class SentLines {
  /** Whether the last byte was passed on, and whether every line has a `custom_id`. */
  isWhole = false;
  isNamed = true;
  /** What making the lines has failed with. */
  failed: { error: unknown } | undefined;
  readonly #lines: Source<Line>;

  constructor(lines: Source<Line>) {
    this.#lines = lines;
  }

  /** A stream that makes no more than is read. */
  body(): ReadableStream<Uint8Array> {
    const parts = this.#parts();
    return new ReadableStream(
      {
        pull: async (controller) => {
          const { value, done } = await parts.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: async () => void (await parts.return()),
      },
      { highWaterMark: 0 },
    );
  }

  async *#parts(): AsyncGenerator<Uint8Array, void, void> {
    const encoder = new TextEncoder();
    let [text, due] = ["", Date.now() + LATEST_MS];
    try {
      for await (const line of this.#lines) {
        this.isNamed &&= Boolean(line.custom_id);
        text += `${JSON.stringify(line)}\n`;
        if (text.length < PART && Date.now() < due) continue;
        yield encoder.encode(text);
        [text, due] = ["", Date.now() + LATEST_MS];
      }
    } catch (error) {
      this.failed = { error };
      throw error;
    }
    this.isWhole = true;
    if (text) yield encoder.encode(text);
  }
}
