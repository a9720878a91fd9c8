import { InvalidRequest, JobNotFound } from "./errors.js";
import type { Link } from "./link.js";
import { isOver, pause } from "./types.js";
import type { Call, Job } from "./types.js";

export interface Completing {
  link: Link;
  signal: AbortSignal;
  GET: Call<"get">;
  POST: Call<"post">;
}

/** Milliseconds of silence after which a connection is lost: the gateway sends every 15 s. */
const SILENCE_MS = 45_000;
const [SHORTEST_MS, LONGEST_MS] = [250, 5_000];
/** Job ids that one call takes, jobs that are read at a time, and jobs of a page. */
const [MOST_IDS, READ, PAGE] = [200, 16, 1000];
/** Heartbeats without an end after which the states are looked at again. */
const QUIET = 4;

/** Yields jobs as they end, as `RunqueueClient.asCompleted` says. */
export async function* asCompleted(
  jobs: Iterable<string> | { batch_id: string | null },
  completing: Completing,
): AsyncGenerator<Job, void, void> {
  const wanted = "batch_id" in jobs ? new OfBatch(jobs, completing) : new OfIds(jobs, completing);
  if (await wanted.isOver()) return;
  let quiet = 0;
  for await (const ids of listen(completing, wanted.batch)) {
    quiet = ids?.length === 0 ? quiet + 1 : 0;
    const sources = ids && quiet < QUIET ? [ids] : wanted.ended();
    for await (const found of sources) {
      const fresh = [...new Set(found)].filter((id) => wanted.has(id));
      for (let start = 0; start < fresh.length; start += READ) {
        const some = fresh.slice(start, start + READ);
        const read = await Promise.all(some.map((id) => readJob(completing, id)));
        for (const [position, job] of read.entries()) {
          if (job && !isOver(job)) continue; // it was replayed meanwhile, and will end again
          wanted.done(some[position] as string);
          if (job) yield job;
        }
      }
    }
    if ((quiet === 0 || quiet >= QUIET) && (await wanted.isOver())) return;
    quiet %= QUIET;
  }
}

/** Reads a job; undefined: there is none any more. */
async function readJob({ GET, signal }: Completing, id: string): Promise<Job | undefined> {
  try {
    return await GET("/v1/jobs/{job_id}", { params: { path: { job_id: id } }, signal });
  } catch (error) {
    if (error instanceof JobNotFound) return undefined;
    throw error;
  }
}

/** Jobs that are named by their ids. */
class OfIds {
  readonly batch = undefined;
  readonly #left: Set<string>;
  readonly #completing: Completing;

  constructor(ids: Iterable<string>, completing: Completing) {
    this.#left = new Set(ids);
    this.#completing = completing;
  }

  has(id: string): boolean {
    return this.#left.has(id);
  }

  done(id: string): void {
    this.#left.delete(id);
  }

  async isOver(): Promise<boolean> {
    return this.#left.size === 0;
  }

  /** Yields the ids of those that have ended, or do not exist. */
  async *ended(): AsyncGenerator<string[], void, void> {
    const { POST, signal } = this.#completing;
    const left = [...this.#left];
    for (let start = 0; start < left.length; start += MOST_IDS) {
      const job_ids = left.slice(start, start + MOST_IDS);
      const { states } = await POST("/v1/jobs:states", { body: { job_ids }, signal });
      yield job_ids.filter((_, position) => {
        const found = states[position];
        return found && (found.state === null || isOver(found));
      });
    }
  }
}

/** The jobs of a batch. */
class OfBatch {
  readonly batch: string;
  readonly #seen = new Set<string>();
  readonly #completing: Completing;
  /** Jobs that the batch had when it was last read. */
  #total = 0;
  /** Whether a list of its jobs was read when it was over: then no other will be seen. */
  #isListed = false;

  constructor({ batch_id }: { batch_id: string | null }, completing: Completing) {
    if (batch_id === null) throw new TypeError("expected a batch: the upload has made none");
    this.batch = batch_id;
    this.#completing = completing;
  }

  has(id: string): boolean {
    return !this.#seen.has(id);
  }

  done(id: string): void {
    this.#seen.add(id);
  }

  /** Whether the batch is over, and all of its jobs were seen. */
  async isOver(): Promise<boolean> {
    if (this.#total > this.#seen.size && !this.#isListed) return false;
    const isOver = await this.#read();
    return isOver && (this.#total <= this.#seen.size || this.#isListed);
  }

  /** Yields the ids of those that have ended. */
  async *ended(): AsyncGenerator<string[], void, void> {
    const isAll = await this.#read();
    const { GET, signal } = this.#completing;
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query = { batch: this.batch, cursor, limit: PAGE };
      const page: Page = await GET("/v1/jobs", { params: { query }, signal });
      yield page.jobs.filter(isOver).map((job) => job.job_id);
      cursor = page.cursor;
    }
    this.#isListed = isAll;
  }

  async #read(): Promise<boolean> {
    const { GET, signal } = this.#completing;
    const params = { path: { batch_id: this.batch } };
    const { total, is_over } = await GET("/v1/batches/{batch_id}", { params, signal });
    this.#total = total;
    return is_over;
  }
}

/**
 * Yields the ids of jobs that end, `[]` for each heartbeat, and null where some may have ended that
 * are not told of. A connection that breaks is made again, and goes on behind the last event.
 */
async function* listen(
  { link, signal }: Completing,
  batch: string | undefined,
): AsyncGenerator<string[] | null, void, void> {
  const url = new URL(`${link.url}/v1/events`);
  if (batch !== undefined) url.searchParams.set("batch", batch);
  let cursor: string | undefined;
  for (let backoff = SHORTEST_MS; ; backoff = Math.min(2 * backoff, LONGEST_MS)) {
    const connection = new AbortController();
    const init = {
      headers: cursor === undefined ? {} : { "last-event-id": cursor },
      signal: AbortSignal.any([signal, connection.signal]),
    };
    try {
      const answer = await link.send(() => new Request(url, init), { mayRepeat: () => true });
      if (cursor === undefined) yield null;
      for await (const events of blocks(answer, connection)) {
        backoff = SHORTEST_MS;
        const ids = events.filter((one) => one.name === "ended").map((one) => one.data);
        yield ids.map((data) => (JSON.parse(data) as Job).job_id);
        cursor = events.findLast((one) => one.id !== undefined)?.id ?? cursor;
      }
    } catch (error) {
      signal.throwIfAborted();
      const isRefused = error instanceof InvalidRequest && cursor !== undefined;
      if (isRefused) cursor = undefined;
      else if (!(error instanceof TypeError) && !connection.signal.aborted) throw error;
    } finally {
      connection.abort();
    }
    await pause(backoff * (0.5 + Math.random() / 2), signal);
  }
}

type Page = { jobs: Job[]; cursor: string | null };

interface ServerEvent {
  name: string;
  data: string;
  id: string | undefined;
}

/** Yields the events of each part of an answer as it arrives. */
async function* blocks(
  answer: Response,
  connection: AbortController,
): AsyncGenerator<ServerEvent[], void, void> {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const silence = setTimeout(() => connection.abort(), SILENCE_MS);
    const part = await reader?.read().finally(() => clearTimeout(silence));
    if (part?.value === undefined) return;
    const texts = (rest + part.value).split("\n\n");
    rest = texts.pop() ?? "";
    if (texts.length > 0) yield texts.map(eventOf);
  }
}

function eventOf(text: string): ServerEvent {
  const event: ServerEvent = { name: "", data: "", id: undefined };
  for (const line of text.split("\n")) {
    const [, field = "", value = ""] = /^(event|data|id): ?(.*)$/.exec(line) ?? [];
    if (field === "event") event.name = value;
    else if (field === "data") event.data += value;
    else if (field === "id") event.id = value;
  }
  return event;
}
