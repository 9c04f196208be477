// What goes to the server and what comes back. At most one revision is unanswered at a time; the newest always arrives.

const ANSWER_MS = 3000; // after it the server is slow, and the next revision may go
const LOST_MS = 1500; // a server that was started anew misses what comes in its first run, however long that takes
const MOST_LOST_MS = 24000;
const ACT_MS = 5000;
const HEALTH_MS = 2000;
const HEALTH_WAIT_MS = 2000;
const MOST_TRIES = 3;
export const NEWS = "leukoscope-editor-news";

export class Sync {
  // `post(name, value)` sends a state; `said(what)` is called when what is to be said has changed.
  constructor(cell, post, said, now = Date.now) {
    Object.assign(this, { cell, post, said, now, tries: 0, timer: 0, down: false, lost: false, pending: null });
  }

  get wait() {
    return this.lost ? Math.min(LOST_MS * 2 ** this.tries, MOST_LOST_MS) : ANSWER_MS;
  }

  // "measured", "measuring" or "late".
  get state() {
    const { cell } = this;
    if (cell.measured >= cell.rev) return "measured";
    return this.now() - cell.since < ANSWER_MS ? "measuring" : "late";
  }

  get unsent() {
    return this.cell.sent < this.cell.rev;
  }

  push() {
    const { cell } = this;
    if (cell.sent > cell.measured && this.now() - cell.sentAt < ANSWER_MS) return this.later();
    if (cell.rev > cell.sent) {
      this.tries = 0;
      this.send();
    }
    return this.later();
  }

  send() {
    const { cell } = this;
    cell.sent = cell.rev;
    cell.sentAt = this.now();
    // `again` makes a repeated revision another value: one that is the same would not go.
    this.post("edit", { id: cell.id, rev: cell.rev, runs: cell.runs, again: this.tries });
  }

  later() {
    clearTimeout(this.timer);
    const { cell } = this;
    if (cell.measured < cell.rev) {
      const due = Math.max(cell.sentAt + this.wait - this.now(), 0);
      this.timer = setTimeout(() => {
        if (cell.rev > cell.sent) this.push();
        else if (this.lost) this.asked();
        this.said();
      }, due + 20);
    }
    this.said();
  }

  // The server asks for this cell again, or knows less than the browser: what it lacks is sent once more.
  asked() {
    const { cell } = this;
    if (cell.measured >= cell.rev) return;
    if (cell.sent === cell.rev && this.now() - cell.sentAt < this.wait) return;
    if (this.tries >= MOST_TRIES && !this.lost) return;
    this.tries++;
    this.send();
    this.later();
  }

  act(value) {
    const { cell } = this;
    cell.lastAct = Math.max((cell.lastAct ?? 0) + 1, this.now());
    this.pending = { n: cell.lastAct, kind: value.kind, rev: value.rev };
    clearTimeout(this.actTimer);
    this.actTimer = setTimeout(() => {
      this.pending = null;
      this.said({ late: true });
    }, ACT_MS);
    this.post("act", { ...value, n: cell.lastAct });
    this.said();
  }

  // Gives what was answered to the act that waits, or null.
  news(news) {
    const { cell } = this;
    const behind = news.measured < cell.measured; // a server that was started anew knows nothing
    cell.measured = news.measured;
    if (news.saved && news.saved.rev > cell.savedRev) cell.savedRev = news.saved.rev;
    let answer = null;
    if (news.said && this.pending && news.said.n === this.pending.n) {
      answer = { ...news.said, kind: this.pending.kind, rev: this.pending.rev };
      this.pending = null;
      clearTimeout(this.actTimer);
    }
    if (behind) [this.tries, cell.sentAt] = [0, 0];
    this.lost = behind || (this.lost && cell.measured < cell.sent);
    if (cell.measured < cell.rev) {
      if (behind) this.asked();
      else if (cell.sent < cell.rev) cell.measured >= cell.sent ? this.push() : this.later();
      else this.asked();
    } else this.later();
    return answer;
  }

  // Whether the server is there, asked while the page is seen.
  watch(signal) {
    const look = async () => {
      if (document.visibilityState === "visible") {
        const was = this.down;
        this.down = !(await answers());
        if (signal.aborted) return;
        if (was && !this.down) {
          this.tries = 0;
          this.lost = this.cell.measured < this.cell.rev;
          // Streamlit takes up its connection by itself; what the server asks for meanwhile goes at once (`asked`).
          setTimeout(() => signal.aborted || this.asked(), HEALTH_MS);
        }
        if (was !== this.down) this.said();
      }
    };
    const timer = setInterval(look, HEALTH_MS);
    look();
    signal.addEventListener("abort", () => {
      clearInterval(timer);
      clearTimeout(this.timer);
      clearTimeout(this.actTimer);
    });
  }
}

async function answers() {
  try {
    const url = new URL("_stcore/health", document.baseURI);
    return (await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(HEALTH_WAIT_MS) })).status < 500;
  } catch {
    return false;
  }
}

// Which tab corrects a cell: the one that had it first, until another takes over.
export class Tabs {
  constructor(id, { onLost, onOther, onHanded, hand }) {
    this.tab = Math.random().toString(36).slice(2);
    this.since = Date.now();
    this.owns = true;
    this.id = id;
    try {
      this.channel = new BroadcastChannel("leukoscope-editor");
    } catch {
      return; // an old browser: the server tells of the earlier save
    }
    this.channel.onmessage = ({ data: said }) => {
      if (said.id !== id || said.tab === this.tab) return;
      const first = this.since < said.since || (this.since === said.since && this.tab < said.tab);
      if (said.kind === "who" && this.owns && first) this.say("mine");
      if (said.kind === "mine" && this.owns) {
        this.owns = false;
        onOther();
      }
      if (said.kind === "take" && this.owns) {
        this.owns = false;
        this.say("handed", hand());
        onLost();
      }
      if (said.kind === "handed" && this.owns) onHanded(said);
    };
    this.say("who");
  }

  say(kind, more = {}) {
    this.channel?.postMessage({ kind, id: this.id, tab: this.tab, since: this.since, ...more });
  }

  take() {
    this.owns = true;
    this.since = 0;
    this.say("take");
  }

  leave() {
    this.channel?.close();
  }
}
