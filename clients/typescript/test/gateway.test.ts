import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import * as rq from "../src/index.js";
import { isOver, RunqueueClient, verifyWebhook, type Line } from "../src/index.js";
import { cutting, line, startStack, type Stack } from "./stack.js";

const JOBS = Number(process.env.JOBS ?? 10_000);
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
let stack: Stack;
let client: RunqueueClient;

before(async () => {
  stack = await startStack(
    "RUNQUEUE_GATEWAY_MAX_JOBS_PER_SECOND=20",
    `RUNQUEUE_WEBHOOK_SECRETS=${SECRET}`,
    "RUNQUEUE_ALLOW_PRIVATE_WEBHOOK_TARGETS=true",
  );
  client = new RunqueueClient(stack);
});
after(() => stack?.close());

function* lines(prefix: string, count: number): Generator<Line> {
  for (let n = 0; n < count; n++) yield line(`${prefix}-${n}`);
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
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
  const ids = [job.job_id, job.job_id, "a".repeat(24)]; // the last one does not exist
  assert.deepEqual(await collect(client.asCompleted(ids)), [ended]);
});

test("thousands are uploaded and awaited by events, the gateway restarted meanwhile", async () => {
  const began = Date.now();
  const uploaded = await client.uploadBatch(() => lines("many", JOBS), { name: "many" });
  assert.deepEqual(uploaded.counts, { new: JOBS, known: 0, invalid: 0, conflicts: 0 });
  console.log(`${JOBS} jobs: uploaded in ${(Date.now() - began) / 1000} s`);
  const restarting = (async () => {
    for (const end of ["stop", "kill"] as const) {
      await sleep(3000);
      await stack.gateway(end);
      await sleep(1000);
      await stack.gateway("start");
    }
  })();
  const seen = new Set<string>();
  for await (const job of client.asCompleted(uploaded, { timeoutMs: 400_000 })) {
    assert.ok(isOver(job) && !seen.has(job.job_id));
    seen.add(job.job_id);
  }
  console.log(`${JOBS} jobs: all ended after ${(Date.now() - began) / 1000} s`);
  assert.equal(seen.size, JOBS);
  await restarting;
});

test("events that are cut again and again lose nothing", async () => {
  const proxy = await cutting(stack, ({ number, received }) => received > 3000 * 2 ** number);
  const cut = new RunqueueClient(proxy);
  const uploaded = await client.uploadBatch([...lines("cut", 50)]);
  const ended = await collect(cut.asCompleted(uploaded, { timeoutMs: 60_000 }));
  proxy.close();
  assert.equal(new Set(ended.map((job) => job.job_id)).size, 50);
  assert.equal(ended.length, 50);
});

test("an upload that is cut is sent again if its lines are there", async () => {
  const proxy = await cutting(stack, ({ number, sent }) => number < 2 && sent > 100_000);
  const cut = new RunqueueClient(proxy);
  const again = await cut.uploadBatch(() => lines("again", 2000), { name: "again" });
  assert.equal(again.counts.new, 2000);
  const other = await cutting(stack, ({ sent }) => sent > 100_000);
  const lost = new RunqueueClient(other).uploadBatch(lines("once", 2000), { name: "once" });
  await assert.rejects(lost, rq.GatewayUnavailable);
  assert.deepEqual([await batches("again"), await batches("once")], [1, 0]);
  proxy.close();
  other.close();
});

test("an upload whose answer is lost is sent again only if every line has a name", async () => {
  const isLost = ({ number, received }: { number: number; received: number }) =>
    number === 0 && received > 0;
  const proxies = await Promise.all([cutting(stack, isLost), cutting(stack, isLost)]);
  const [first, second] = proxies.map((proxy) => new RunqueueClient(proxy));
  const known = await first?.uploadBatch([...lines("lost", 10)]);
  assert.equal(known?.counts.known, 10);
  const unnamed = [{ ...line("x"), custom_id: null }];
  await assert.rejects(second!.uploadBatch(unnamed, { name: "unnamed" }), /may be accepted/);
  assert.equal(await batches("unnamed"), 1);
  for (const proxy of proxies) proxy.close();
});

test("lines are made as they are sent, and their failure is the upload's", async () => {
  let made = 0;
  async function* endless() {
    for (;;) yield line(`endless-${made++}`);
  }
  const slow = async (request: Request | URL | string) => {
    const reader = (request as Request).body!.getReader();
    for (let part = 0; part < 3; part++) await reader.read();
    await sleep(100);
    return Response.json({ counts: {} }, { status: 201 });
  };
  await new RunqueueClient({ ...stack, fetch: slow as typeof fetch }).uploadBatch(endless());
  assert.ok(made < 4 * 1000, `${made} lines were made`);
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
  const stranger = new RunqueueClient({ ...stack, token: "stranger" });
  const nobody = { params: { path: { job_id: "a".repeat(24) } } };
  await assert.rejects(client.uploadBatch([line("good"), wrong]), (error: unknown) => {
    assert.ok(error instanceof rq.InvalidJob && error instanceof rq.BadRequest);
    return error.errors[0]?.field === "line 2: body.max_step";
  });
  const many = () => Array.from({ length: 200_000 }, () => wrong); // answered before all is sent
  await assert.rejects(client.uploadBatch(many), rq.InvalidJob);
  await client.POST("/v1/jobs", { body: line("used") });
  const other = client.POST("/v1/jobs", { body: { ...line("used"), body: { prompt: "Buy." } } });
  await assert.rejects(other, rq.IdempotencyConflict);
  await assert.rejects(client.GET("/v1/jobs/{job_id}", nobody), rq.JobNotFound);
  await assert.rejects(stranger.GET("/v1/stats"), rq.TokenUnknown);
  const page = async () => new Response("hello", { headers: { "content-type": "text/html" } });
  const portal = new RunqueueClient({ ...stack, fetch: page });
  await assert.rejects(portal.GET("/v1/stats"), rq.GatewayUnavailable);
  await assert.rejects(client.waitFor("x", { signal: AbortSignal.abort("no") }), /no/);
});

test("a limit is waited for as long as patience lasts", async () => {
  const many = (prefix: string) => ({ body: [...lines(prefix, 50)] });
  await client.POST("/v1/jobs:bulk", many("limit"));
  const hasty = new RunqueueClient({ ...stack, patienceMs: 0 });
  await assert.rejects(hasty.POST("/v1/jobs:bulk", many("hasty")), (error: unknown) => {
    assert.ok(error instanceof rq.RateLimited && error instanceof rq.TooManyRequests);
    return error.retryAfter! > 0;
  });
  const { counts } = await client.POST("/v1/jobs:bulk", many("patient"));
  assert.equal(counts.new, 50);
});

test("a wait ends at its time, or by its signal", async () => {
  const later = await client.POST("/v1/jobs", { body: { ...line("later"), delay: 3600 } });
  const timely = { timeoutMs: 300 };
  await assert.rejects(client.waitFor(later.job_id, timely), { name: "TimeoutError" });
  await assert.rejects(collect(client.asCompleted([later.job_id], timely)), {
    name: "TimeoutError",
  });
  const signal = AbortSignal.timeout(300);
  await assert.rejects(collect(client.asCompleted([later.job_id], { signal })), signal.reason);
});

test("a webhook of the gateway is verified; another's, or an old one, is not", async () => {
  let [body, headers] = [Buffer.alloc(0), {} as Record<string, string>];
  const server = createServer(async (request, response) => {
    body = Buffer.concat(await collect<Buffer>(request));
    headers = request.headers as Record<string, string>;
    response.end();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  await client.POST("/v1/webhooks/test", { body: { url } });
  server.close();
  const other = "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const payload = verifyWebhook(body, headers, [other, SECRET]);
  assert.deepEqual(payload, JSON.parse(body.toString()));
  assert.deepEqual(verifyWebhook(body.toString(), new Headers(headers), SECRET), payload);
  const now = Number(headers["webhook-timestamp"]);
  const unsigned = { ...headers, "webhook-signature": "v1,AAAA v1a,x" };
  for (const [given, secret, time] of [
    [headers, other, now],
    [headers, SECRET, now + 301],
    [headers, SECRET, now - 301],
    [unsigned, SECRET, now],
    [{ ...headers, "webhook-id": "msg_other" }, SECRET, now],
    [{}, SECRET, now],
  ] as const) {
    const verify = () => verifyWebhook(body, given, secret, { now: time });
    assert.throws(verify, rq.WebhookError);
  }
  assert.throws(() => verifyWebhook(`${body} `, headers, SECRET), rq.WebhookError);
});

test("the packed client runs where it is installed", async () => {
  const folder = await mkdtemp(join(tmpdir(), "runqueue-"));
  const run = promisify(execFile);
  const packed = await run("npm", ["pack", "--json", "--pack-destination", folder]);
  const [{ filename, files }] = JSON.parse(packed.stdout);
  const names = files.map((file: { path: string }) => file.path);
  const expected = /^(dist\/\w+\.(js|d\.ts)|README\.md|package\.json)$/;
  assert.ok(names.every((name: string) => expected.test(name)));
  await writeFile(join(folder, "package.json"), "{}");
  await run("npm", ["install", "--prefer-offline", `./${filename}`], { cwd: folder });
  const script = `
    import { RunqueueClient } from "runqueue-client";
    const client = new RunqueueClient(${JSON.stringify({ url: stack.url, token: stack.token })});
    const batch = await client.uploadBatch([${JSON.stringify(line("packed"))}]);
    for await (const job of client.asCompleted(batch)) console.log(job.custom_id, job.state);`;
  await writeFile(join(folder, "script.mjs"), script);
  const { stdout } = await run("node", ["script.mjs"], { cwd: folder });
  assert.equal(stdout, "packed completed\n");
  await rm(folder, { recursive: true });
});
