import { BadRequest, NotFound } from "./errors.js";
import { LONGEST_MS, SHORTEST_MS, type Link } from "./link.js";
import { isOver, pause, type Call, type Job } from "./types.js";

export interface Completing {
  link: Link;
  signal: AbortSignal;
  GET: Call<"get">;
  POST: Call<"post">;
}

/** Milliseconds of silence after which a connection is lost: the gateway sends every 15 s. */
const SILENCE_MS = 45_000;
/** Job ids that one call takes, jobs that are read at a time, and jobs of a page. */
const [MOST_IDS, READ, PAGE] = [200, 16, 1000];
/** Heartbeats without an end after which the states are looked at again. */
const QUIET = 4;

/** Yields jobs as they end, as `RunqueueClient.asCompleted` says. */
export async function* asCompleted(
  jobs: Iterable<string> | { batch_id: string | null },
  completing: Completing,
): AsyncGenerator<Job, void, void> {
  const batch = "batch_id" in jobs ? jobs.batch_id : undefined;
  if (batch === null) throw new TypeError("expected a batch: the upload has made none");
  const left = new Set("batch_id" in jobs ? await idsOf(jobs.batch_id ?? "", completing) : jobs);
  let quiet = 0;
  if (left.size === 0) return;
  for await (const told of listen(completing, batch)) {
    quiet = told?.length === 0 ? quiet + 1 : 0;
    const isSure = told !== null && (quiet === 0 || quiet % QUIET > 0);
    for await (const ids of isSure ? [told] : ended([...left], completing)) {
      const fresh = [...new Set(ids)].filter((id) => left.has(id));
      while (fresh.length > 0) {
        const some = fresh.splice(0, READ);
        const read = await Promise.all(some.map((id) => readJob(id, completing)));
        for (const [at, id] of some.entries()) {
          const job = read[at];
          if (job && !isOver(job)) continue; // it was replayed meanwhile, and will end again
          left.delete(id);
          if (job) yield job;
        }
      }
    }
    if (left.size === 0) return;
  }
}

/** Returns the ids of a batch's jobs. */
async function idsOf(batch: string, { GET, signal }: Completing): Promise<string[]> {
  await GET("/v1/batches/{batch_id}", { params: { path: { batch_id: batch } }, signal });
  const ids: string[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const query = { batch, cursor, limit: PAGE };
    const page: Page = await GET("/v1/jobs", { params: { query }, signal });
    ids.push(...page.jobs.map((job) => job.job_id), ...page.unread);
    cursor = page.cursor;
  }
  return ids;
}

/** Yields those of some ids whose jobs have ended, or do not exist. */
async function* ended(left: string[], { POST, signal }: Completing): AsyncGenerator<string[]> {
  while (left.length > 0) {
    const job_ids = left.splice(0, MOST_IDS);
    const { states } = await POST("/v1/jobs:states", { body: { job_ids }, signal });
    yield job_ids.filter((_, at) => states[at] && (!states[at].state || isOver(states[at])));
  }
}

/** Reads a job; undefined: there is none any more. */
function readJob(job_id: string, { GET, signal }: Completing): Promise<Job | undefined> {
  return GET("/v1/jobs/{job_id}", { params: { path: { job_id } }, signal }).catch((error) => {
    if (error instanceof NotFound) return undefined;
    throw error;
  });
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
      for await (const events of eventsOf(answer, connection)) {
        backoff = SHORTEST_MS;
        const ends = events.filter((one) => one.event === "ended");
        yield ends.map((one) => (JSON.parse(one.data ?? "") as Job).job_id);
        cursor = events.findLast((one) => one.id !== undefined)?.id ?? cursor;
      }
    } catch (error) {
      signal.throwIfAborted();
      const isRefused = error instanceof BadRequest && cursor !== undefined;
      if (isRefused) cursor = undefined;
      else if (!(error instanceof TypeError) && !connection.signal.aborted) throw error;
    } finally {
      connection.abort();
    }
    await pause(backoff * (0.5 + Math.random() / 2), signal);
  }
}

type Page = { jobs: Job[]; cursor: string | null; unread: string[] };
type Fields = Partial<Record<string, string>>;

/** Yields the events of each part of an answer as it arrives. */
async function* eventsOf(answer: Response, connection: AbortController): AsyncGenerator<Fields[]> {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const silence = setTimeout(() => connection.abort(), SILENCE_MS);
    const part = await reader?.read().finally(() => clearTimeout(silence));
    if (part?.value === undefined) return;
    const texts = (rest + part.value).split("\n\n");
    rest = texts.pop() ?? "";
    if (texts.length > 0) yield texts.map(fieldsOf);
  }
}

function fieldsOf(text: string): Fields {
  return Object.fromEntries([...text.matchAll(/^(\w+): ?(.*)$/gm)].map((found) => found.slice(1)));
}
