import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as rq from "../src/index.js";
import { isOver, RunqueueClient, verifyWebhook, type Line, type Waiting } from "../src/index.js";
import { collect, cutting, line, startStack, type Passed } from "./stack.js";

const JOBS = Number(process.env.JOBS ?? 10_000);
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const stack = await startStack();
const client = new RunqueueClient(stack);
after(() => stack.close());

function* lines(prefix: string, count: number): Generator<Line> {
  for (let n = 0; n < count; n++) yield line(`${prefix}-${n}`);
}

/** How many batches of a name were accepted. */
async function batches(name: string): Promise<number> {
  const page = await client.GET("/v1/batches", { params: { query: { limit: 1000 } } });
  return page.batches.filter((one) => one.name === name && one.total > 0 && one.sealed).length;
}

test("a job is submitted once, and awaited", async () => {
  const job = await client.POST("/v1/jobs", { body: line("one") });
  const again = await client.POST("/v1/jobs", { body: line("one") });
  assert.deepEqual([again.job_id, again.status], [job.job_id, "known"]);
  const ended = await client.waitFor(job.job_id, { timeoutMs: 60_000 });
  assert.deepEqual([ended.state, ended.custom_id], ["completed", "one"]);
  const ids = [job.job_id, job.job_id];
  assert.deepEqual(await collect(client.asCompleted(ids)), [ended]);
});

test("thousands are uploaded and awaited by events, the gateway restarted meanwhile", async () => {
  const uploaded = await client.uploadBatch(() => lines("many", JOBS), { name: "many" });
  assert.deepEqual(uploaded.counts, { new: JOBS, known: 0, invalid: 0, conflicts: 0 });
  const restart = async (end: "stop" | "kill") => {
    await stack.gateway(end);
    await sleep(1000).then(() => stack.gateway("start"));
  };
  const seen = new Set<string>();
  for await (const job of client.asCompleted(uploaded, { timeoutMs: 400_000 })) {
    assert.ok(isOver(job) && !seen.has(job.job_id));
    seen.add(job.job_id);
    if (seen.size === JOBS / 4) void restart("stop"); // and goes on meanwhile
    if (seen.size === JOBS / 2) await restart("kill");
  }
  assert.equal(seen.size, JOBS);
});

test("events that are cut again and again lose nothing", async () => {
  let parts = 0;
  const cut = await cutting(stack, ({ isEvents }) => isEvents && ++parts % 3 === 0);
  const given = [...lines("cut", 100)].map((one, n) => ({ ...one, delay: n / 10 }));
  const uploaded = await client.uploadBatch(given);
  const ended = await collect(cut.asCompleted(uploaded, { timeoutMs: 30_000 }));
  assert.deepEqual([ended.length, new Set(ended.map((job) => job.job_id)).size], [100, 100]);
  assert.ok(parts > 9, `${parts} parts`);
});

test("an upload is sent again if its lines are there, and make no job twice", async () => {
  const isLost = ({ number, received }: Passed) => number === 0 && received > 0;
  const [twice, always, named, unnamed] = await Promise.all([
    cutting(stack, ({ number, sent }) => number < 2 && sent > 100_000),
    cutting(stack, ({ sent }) => sent > 100_000),
    cutting(stack, isLost),
    cutting(stack, isLost),
  ]);
  const again = await twice.uploadBatch(() => lines("again", 2000), { name: "again" });
  assert.equal(again.counts.new, 2000);
  const lost = always.uploadBatch(lines("once", 2000), { name: "once" });
  await assert.rejects(lost, rq.GatewayUnavailable);
  assert.deepEqual([await batches("again"), await batches("once")], [1, 0]);
  const known = await named.uploadBatch([...lines("lost", 10)]);
  assert.equal(known.counts.known, 10);
  const given = [{ ...line("x"), custom_id: null }];
  await assert.rejects(unnamed.uploadBatch(given, { name: "unnamed" }), /may be accepted/);
  assert.equal(await batches("unnamed"), 1);
});

test("lines are made as they are sent, and no more once the upload is over", async () => {
  let [made, open] = [0, 0];
  async function* endless(kind: string) {
    open++;
    try {
      for (;;) {
        yield { ...line(`endless-${made++}`), kind } as Line;
        if (made % 100 === 0) await sleep(1);
      }
    } finally {
      open--;
    }
  }
  const slow = async (request: Request | URL | string) => {
    const reader = (request as Request).body!.getReader();
    for (let part = 0; part < 3; part++) await reader.read();
    await sleep(100);
    return Response.json({ counts: {} }, { status: 201 });
  };
  await new RunqueueClient({ ...stack, fetch: slow as typeof fetch }).uploadBatch(endless("task"));
  assert.ok(made < 4 * 1000, `${made} lines were made`);
  await assert.rejects(client.uploadBatch(endless("wrong")), rq.InvalidJob);
  const late = { signal: AbortSignal.timeout(300) };
  await assert.rejects(client.uploadBatch(endless("task"), late), { name: "TimeoutError" });
  for (let tries = 0; open && tries < 500; tries++) await sleep(20);
  assert.equal(open, 0);
  const fault = new Error("the database is gone");
  const failing = function* () {
    yield* lines("failing", 2000);
    throw fault;
  };
  await assert.rejects(client.uploadBatch(failing, { name: "failing" }), fault);
  assert.equal(await batches("failing"), 0);
});

test("refusals are errors of their types", async () => {
  const wrong = { ...line("wrong"), body: { prompt: "Read.", max_step: 3 } } as Line;
  await assert.rejects(client.uploadBatch([line("good"), wrong]), (error: unknown) => {
    assert.ok(error instanceof rq.InvalidJob && error instanceof rq.BadRequest);
    return error.errors[0]?.field === "line 2: body.max_step";
  });
  const many = () => Array.from({ length: 200_000 }, () => wrong); // answered before all is sent
  await assert.rejects(client.uploadBatch(many), rq.InvalidJob);
  const other = client.POST("/v1/jobs", { body: { ...line("one"), body: { prompt: "Buy." } } });
  await assert.rejects(other, rq.IdempotencyConflict);
  await assert.rejects(client.waitFor("a".repeat(24)), rq.JobNotFound);
  await assert.rejects(collect(client.asCompleted(["a".repeat(24)])), rq.JobNotFound);
  const stranger = new RunqueueClient({ ...stack, token: "stranger" }).GET("/v1/stats");
  await assert.rejects(stranger, rq.TokenUnknown);
  await assert.rejects(client.waitFor("x", { signal: AbortSignal.abort("no") }), /no/);
});

test("answers of text are text, or a stream", async () => {
  const options = { callbackUrl: "https://exämple.test/ü" };
  const { batch_id } = await client.uploadBatch([...lines("text", 50)], options);
  await collect(client.asCompleted({ batch_id }));
  const path = "/v1/batches/{batch_id}/results";
  const init = { params: { path: { batch_id: batch_id! } }, signal: new AbortController().signal };
  const text = await client.GET(path, init);
  assert.equal(text.split("\n").length, 51);
  const stream = await client.GET(path, { ...init, parseAs: "stream" });
  assert.equal(await new Response(stream).text(), text);
  assert.equal(getEventListeners(init.signal, "abort").length, 0);
  const cut = await cutting(stack, ({ number, received }) => number === 0 && received > 5000);
  assert.equal(await cut.GET(path, init), text);
});

test("waits end, whatever garbage is collected", { timeout: 60_000 }, async () => {
  const later = await client.POST("/v1/jobs", { body: { ...line("later"), delay: 3600 } });
  setFlagsFromString("--expose-gc");
  const collecting = setInterval(runInNewContext("gc") as () => void, 100);
  const check = async (wait: (waiting: Waiting) => Promise<unknown>) => {
    const [controller, reason] = [new AbortController(), new Error("enough")];
    setTimeout(() => controller.abort(reason), 2000);
    const waiting = { signal: controller.signal, timeoutMs: 2 ** 31 }; // no timer takes that
    await assert.rejects(wait(waiting), reason);
    assert.equal(getEventListeners(controller.signal, "abort").length, 0);
    await assert.rejects(wait({ timeoutMs: 1000 }), { name: "TimeoutError" });
  };
  await Promise.all([
    check((waiting) => client.waitFor(later.job_id, waiting)),
    check((waiting) => collect(client.asCompleted([later.job_id], waiting))),
  ]);
  clearInterval(collecting);
});

test("a webhook of the gateway is verified; another's, or an old one, is not", async () => {
  // Signed by webhooks/signing.py; a test in Python compares.
  const body = Buffer.from('{"run_id":"tsk_1","status":"completed"}');
  const now = 1893456000;
  const headers = {
    "webhook-id": "msg_1",
    "webhook-timestamp": `${now}`,
    "webhook-signature": "v1,OcVn/IGQatPWNO8oz0N3F5+DB9F0VUhyacaSYieK+A0=",
  };
  const other = "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const payload = verifyWebhook(body, headers, [other, SECRET], { now });
  assert.deepEqual(payload, JSON.parse(body.toString()));
  assert.deepEqual(verifyWebhook(body.toString(), new Headers(headers), SECRET, { now }), payload);
  const list = { ...headers, "webhook-id": [headers["webhook-id"]] };
  assert.deepEqual(verifyWebhook(body, list, SECRET, { now }), payload);
  assert.deepEqual(verifyWebhook(body, new Map(Object.entries(headers)), SECRET, { now }), payload);
  for (const [given, secret, time] of [
    [headers, other, now],
    [headers, SECRET, now + 301],
    [headers, SECRET, now - 301],
    [{ ...headers, "webhook-signature": "v1,AAAA v1a,x" }, SECRET, now],
    [{ ...headers, "webhook-id": "msg_other" }, SECRET, now],
    [{}, SECRET, now],
  ] as const) {
    assert.throws(() => verifyWebhook(body, given, secret, { now: time }), rq.WebhookError);
  }
  assert.throws(() => verifyWebhook(`${body} `, headers, SECRET, { now }), rq.WebhookError);
  for (const none of [[], "", "my secret", [SECRET, "whsec_short"]])
    assert.throws(() => verifyWebhook(body, headers, none, { now }), TypeError);
});
