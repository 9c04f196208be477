import assert from "node:assert/strict";
import test from "node:test";

import { Sync } from "../../pages/_ui/components/editor/sync.js";

function made(rev = 0) {
  const cell = { id: "a", rev, sent: 0, sentAt: 0, since: 0, measured: 0, savedRev: -1, runs: `r${rev}` };
  const sent = [];
  const clock = { now: 1e6 };
  const sync = new Sync(cell, (name, value) => sent.push([name, value]), () => {}, () => clock.now);
  const draw = () => {
    cell.rev++;
    cell.runs = `r${cell.rev}`;
    cell.since = clock.now;
    sync.push();
  };
  return { cell, sent, clock, sync, draw, end: () => (clearTimeout(sync.timer), clearTimeout(sync.actTimer)) };
}
const news = (measured, more = {}) => ({ id: "a", measured, said: null, saved: null, ...more });
const revs = (sent) => sent.map(([, { rev }]) => rev);

test("one revision is on its way at a time, and the newest follows the answer", () => {
  const { sent, sync, draw, end } = made();
  for (let k = 0; k < 5; k++) draw();
  assert.deepEqual(revs(sent), [1]);
  sync.news(news(1));
  assert.deepEqual(revs(sent), [1, 5]);
  assert.equal(sync.state, "measuring");
  sync.news(news(5));
  assert.deepEqual([revs(sent), sync.state, sync.unsent], [[1, 5], "measured", false]);
  end();
});

test("without an answer the newest goes after three seconds, and that is said", () => {
  const { sent, sync, clock, draw, end } = made();
  draw();
  draw();
  clock.now += 3100;
  assert.equal(sync.state, "late");
  sync.push();
  assert.deepEqual(revs(sent), [1, 2]);
  end();
});

test("a server that knows less than it did is sent the newest again, as another value", () => {
  const { sent, sync, clock, draw, end } = made();
  draw();
  sync.news(news(1));
  clock.now += 10000;
  sync.news(news(0));
  assert.deepEqual(revs(sent), [1, 1]);
  assert.notDeepEqual(sent[0], sent[1]);
  sync.asked(); // it is on its way
  assert.equal(sent.length, 2);
  end();
});

test("a server that never answers is not asked for ever", () => {
  const { sent, sync, clock, draw, end } = made();
  draw();
  for (let k = 0; k < 10; k++) {
    clock.now += 4000;
    sync.asked();
  }
  assert.equal(sent.length, 4);
  end();
});

test("acts have numbers that grow, and the answer is that of the same number", () => {
  const { sent, sync, end } = made();
  sync.act({ id: "a", kind: "accept", rev: 0 });
  const { n } = sent[0][1];
  assert.equal(sync.news(news(0, { said: { n: n - 1, ok: true, words: "old" } })), null);
  assert.deepEqual(sync.news(news(0, { said: { n, ok: true, words: "done" }, saved: { rev: 0 } })).words, "done");
  assert.equal(sync.pending, null);
  assert.equal(sync.cell.savedRev, 0);
  sync.act({ id: "a", kind: "next", rev: 0 });
  assert.ok(sent[1][1].n > n);
  end();
});

test("what a server misses in its first run is sent once more", async () => {
  const { sent, sync, clock, draw, end } = made();
  draw();
  sync.news(news(1));
  sync.news(news(0));
  assert.equal(sent.length, 2);
  clock.now += 1600;
  sync.asked();
  assert.equal(sent.length, 2, "a first run that takes long is not disturbed by more and more");
  clock.now += 1600;
  sync.asked();
  assert.equal(sent.length, 3);
  for (let hours = 0; hours < 9; hours++) {
    clock.now += 24_100;
    sync.asked();
  }
  assert.equal(sent.length, 12, "and it is sent until it is answered");
  sync.news(news(1));
  assert.deepEqual([sync.state, sync.lost], ["measured", false]);
  end();
});
