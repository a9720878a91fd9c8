import { abortScope, pause } from "./abort.js";
import type { RunqueueClient } from "./client.js";
import { LONGEST_MS, SHORTEST_MS, type Link } from "./link.js";
import { JobNotFound } from "./problems.js";
import { isOver, type Job, type Jobs, type Waiting } from "./types.js";

type Completing = { client: RunqueueClient; link: Link; signal: AbortSignal };

/** Milliseconds of silence after which a connection is lost: the gateway sends every 15 s. */
const SILENCE_MS = 45_000;
/** Job ids that one call takes, jobs that are read at a time, and jobs of a page. */
const [MOST_IDS, READ, PAGE] = [200, 16, 1000];
/** Milliseconds without an end after which all states are read again; doubled each time. */
const QUIET_MS = 60_000;

/** Yields jobs as they end, as `RunqueueClient.asCompleted` says. */
export async function* asCompleted(
  jobs: Jobs,
  { signal: outer, timeoutMs }: Waiting,
  client: RunqueueClient,
  link: Link,
): AsyncGenerator<Job, void, void> {
  const batch = "batch_id" in jobs ? jobs.batch_id : undefined;
  if (batch === null) throw new TypeError("expected a batch: the upload has made none");
  const { signal, close } = abortScope(outer, timeoutMs);
  const completing = { client, link, signal };
  try {
    const left = new Set("batch_id" in jobs ? await idsOf(jobs.batch_id ?? "", completing) : jobs);
    if (left.size === 0) return;
    let [lastEnd, quietMs] = [performance.now(), QUIET_MS];
    for await (const reported of listen(completing, batch)) {
      const isLate = performance.now() > lastEnd + quietMs;
      if (isLate) quietMs *= 2;
      for await (const ids of reported && !isLate ? [reported] : ended([...left], completing)) {
        const fresh = [...new Set(ids)].filter((id) => left.has(id));
        while (fresh.length > 0) {
          const reading = fresh.splice(0, READ).map((id) => readJob(id, completing, batch));
          for (const [id, job] of await Promise.all(reading)) {
            if (job && !isOver(job)) continue; // it was replayed meanwhile, and will end again
            left.delete(id);
            if (job) yield job;
            [lastEnd, quietMs] = [performance.now(), QUIET_MS];
          }
        }
      }
      if (left.size === 0) return;
    }
  } finally {
    close();
  }
}

/** Returns the ids of a batch's jobs; throws if there is no such batch. */
async function idsOf(batch: string, { client, signal }: Completing): Promise<string[]> {
  await client.GET("/v1/batches/{batch_id}", { params: { path: { batch_id: batch } }, signal });
  const ids: string[] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const query = { batch, cursor, limit: PAGE };
    const page: Page = await client.GET("/v1/jobs", { params: { query }, signal });
    ids.push(...page.jobs.map((job) => job.job_id), ...page.unread);
    cursor = page.cursor;
  }
  return ids;
}

/** Yields those of some ids whose jobs have ended, or do not exist. */
async function* ended(left: string[], { client, signal }: Completing): AsyncGenerator<string[]> {
  while (left.length > 0) {
    const job_ids = left.splice(0, MOST_IDS);
    const { states } = await client.POST("/v1/jobs:states", { body: { job_ids }, signal });
    yield job_ids.filter((_, at) => states[at] && (!states[at].state || isOver(states[at])));
  }
}

/** Reads a job; undefined: its batch has it no more. */
async function readJob(job_id: string, { client, signal }: Completing, batch?: string) {
  const reading = client.GET("/v1/jobs/{job_id}", { params: { path: { job_id } }, signal });
  const job = await reading.catch((error) => {
    if (batch === undefined || !(error instanceof JobNotFound)) throw error;
  });
  return [job_id, job] as const;
}

/**
 * Yields the ids of jobs that end, `[]` for each heartbeat, and null where the ends of some may not
 * be reported. A connection that breaks is made again, and goes on behind the last event.
 */
async function* listen({ link, signal }: Completing, batch: string | undefined) {
  const url = new URL(`${link.url}/v1/events`);
  if (batch !== undefined) url.searchParams.set("batch", batch);
  let cursor: string | undefined;
  for (let backoff = SHORTEST_MS; ; backoff = Math.min(2 * backoff, LONGEST_MS)) {
    const { signal: ends, abort, close } = abortScope(signal);
    const headers: HeadersInit = cursor === undefined ? {} : { "last-event-id": cursor };
    const sending = { signal: ends, parseAs: "stream", mayRepeat: () => true } as const;
    try {
      const answer = await link.send(() => new Request(url, { headers }), sending);
      if (cursor === undefined) yield null;
      for await (const [ids, last] of eventsOf(answer, abort)) {
        backoff = SHORTEST_MS;
        yield ids;
        cursor = last ?? cursor;
      }
    } finally {
      abort();
      close();
    }
    await pause(backoff * (0.5 + Math.random() / 2), signal);
  }
}

type Page = { jobs: Job[]; cursor: string | null; unread: string[] };

/** Yields the ids of jobs and the last cursor of each part of an answer, until it breaks. */
async function* eventsOf(answer: Response, abort: () => void) {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const silence = setTimeout(abort, SILENCE_MS);
    const part = await reader?.read().catch(() => undefined);
    clearTimeout(silence);
    if (part?.value === undefined) return;
    const text = rest + part.value;
    const whole = text.slice(0, text.lastIndexOf("\n\n") + 1);
    rest = text.slice(whole.length);
    const ended = [...whole.matchAll(/^event: ended\ndata: (.*)$/gm)];
    const ids = ended.map(([, data]) => (JSON.parse(data ?? "") as Job).job_id);
    yield [ids, [...whole.matchAll(/^id: (.*)$/gm)].at(-1)?.[1]] as const;
  }
}
