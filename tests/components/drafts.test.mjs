import assert from "node:assert/strict";
import test from "node:test";

import { Drafts, draftToOffer, tooOld } from "../../pages/_ui/components/editor/drafts.js";

const DAY = 864e5;
const NOW = 1e12;

test("the newest draft that holds something new is offered", () => {
  const drafts = [{ runs: "a", when: NOW - 3 }, { runs: "b", when: NOW - 1 }, { runs: "c", when: NOW - 2 }, null, undefined];
  assert.equal(draftToOffer(drafts, [], NOW).runs, "b");
  assert.equal(draftToOffer(drafts, ["b"], NOW).runs, "c");
  assert.equal(draftToOffer(drafts, ["a", "b", "c"], NOW), null);
});

test("a draft of more than a week, or without a time, is not", () => {
  assert.ok(tooOld({ when: NOW - 8 * DAY }, NOW));
  assert.ok(tooOld({}, NOW));
  assert.ok(!tooOld({ when: NOW - 6 * DAY }, NOW));
  assert.equal(draftToOffer([{ runs: "a", when: NOW - 8 * DAY }, { runs: 5, when: NOW }], [], NOW), null);
});

test("where storage is forbidden nothing is kept, and nothing breaks", async () => {
  const forbidden = { open: () => { throw new Error("forbidden"); } };
  const drafts = new Drafts(forbidden);
  assert.equal(await drafts.put("a", {}), false);
  assert.equal(await drafts.get("a"), null);
});
