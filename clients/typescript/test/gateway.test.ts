import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isOver, RunqueueClient } from "../src/index.js";
import { line, startStack, type Stack } from "./stack.js";

const JOBS = Number(process.env.JOBS ?? 10_000);
let stack: Stack;
let client: RunqueueClient;

before(async () => {
  stack = await startStack();
  client = new RunqueueClient(stack);
});
after(() => stack?.close());

test("a job is submitted once, and awaited", async () => {
  const job = await client.POST("/v1/jobs", { body: line("one") });
  const again = await client.POST("/v1/jobs", { body: line("one") });
  assert.equal(again.job_id, job.job_id);
  assert.equal(again.status, "known");
  const ended = await client.waitFor(job.job_id, { timeoutMs: 30_000 });
  assert.equal(ended.state, "completed");
  assert.equal(ended.custom_id, "one");
});

test("thousands are uploaded and awaited by events, the gateway restarted meanwhile", async () => {
  async function* lines() {
    for (let n = 0; n < JOBS; n++) yield line(`many-${n}`);
  }
  let at = Date.now();
  const uploaded = await client.uploadBatch(lines, { name: "many" });
  assert.deepEqual(uploaded.counts, { new: JOBS, known: 0, invalid: 0, conflicts: 0 });
  console.log(`uploaded in ${(Date.now() - at) / 1000} s`);
  at = Date.now();
  const restarts = (async () => {
    for (const end of ["stop", "kill"] as const) {
      await sleep(3000);
      await stack.gateway(end);
      await sleep(1000);
      await stack.gateway("start");
    }
  })();
  const seen = new Set<string>();
  for await (const job of client.asCompleted(uploaded, { timeoutMs: 300_000 })) {
    assert.ok(isOver(job) && !seen.has(job.job_id));
    seen.add(job.job_id);
    if (seen.size % 1000 === 0) console.log(seen.size, (Date.now() - at) / 1000);
  }
  console.log(`ended in ${(Date.now() - at) / 1000} s`);
  assert.equal(seen.size, JOBS);
  await restarts;
});
