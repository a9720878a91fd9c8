// BullMQ: one job a run, which keeps the run's id in its data and is delayed between its looks.
//
// A job stays in Redis until it is over, and a killed worker's is taken up again once its lock ends
// (30 s); one killed between the POST and `updateData` submits twice. Its limiter is shared by all
// workers of a queue, and counts every start of a job: with it, a job looks without leaving the worker.
//
// node bullmq_runs.mjs            works
// node bullmq_runs.mjs hand-in    submits the bodies that are the lines of stdin

import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { DelayedError, Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { Pool } from 'undici';

const { env } = process;
const lookMs = 1000 * Number(env.LOOK_SECONDS ?? 1);
const atOnce = Number(env.AT_ONCE ?? 100);
const rate = Number(env.RATE ?? 0);
const over = new Set(['completed', 'failed', 'terminated', 'timed_out', 'canceled']);
const connection = new Redis(env.RUNQUEUE_BROKER_URL, { maxRetriesPerRequest: null });

function work() {
  const api = new Pool(env.SKYVERN_BASE_URL, { connections: atOnce });
  const headers = { 'x-api-key': env.SKYVERN_API_KEY, 'content-type': 'application/json' };

  async function call(method, path, body) {
    const answer = await api.request({ method, path, headers, body });
    if (answer.statusCode >= 400) {
      await answer.body.dump();
      throw new Error(`${method} ${path}: ${answer.statusCode}`);
    }
    return answer.body.json();
  }

  async function run(job, token) {
    let { runId } = job.data;
    if (!runId) {
      runId = (await call('POST', '/v1/run/tasks', JSON.stringify(job.data.body))).run_id;
      await job.updateData({ runId });
      if (lookMs) await later(job, token);
    }
    while (!over.has((await call('GET', `/v1/runs/${runId}`)).status)) await later(job, token);
  }

  async function later(job, token) {
    if (rate) {
      await sleep(lookMs);
      return;
    }
    await job.moveToDelayed(Date.now() + lookMs, token);
    throw new DelayedError();
  }

  const limiter = rate ? { max: rate, duration: 1000 } : undefined;
  const worker = new Worker('runs', run, { connection, concurrency: atOnce, limiter });
  worker.on('error', console.error);
  process.on('SIGTERM', () => worker.close().then(() => process.exit(0)));
}

async function handIn() {
  const queue = new Queue('runs', { connection });
  const attempts = { attempts: 10, backoff: { type: 'exponential', delay: 1000 } };
  const opts = { removeOnComplete: true, ...attempts };
  let jobs = [];
  for await (const line of createInterface({ input: process.stdin })) {
    jobs.push({ name: 'run', data: { body: JSON.parse(line) }, opts });
    if (jobs.length === 1000) await queue.addBulk(jobs.splice(0));
  }
  await queue.addBulk(jobs);
  await queue.close();
  connection.disconnect();
}

if (process.argv[2] === 'hand-in') await handIn();
else work();
