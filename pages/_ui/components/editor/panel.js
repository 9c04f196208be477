// What is asked before an act goes: reasons, words, and who is at the page.

const MOST_REASONS = 8;

export class Panel {
  constructor(root, signal, words) {
    Object.assign(this, { root, words, box: root.querySelector(".panel"), then: null });
    const part = (name) => this.box.querySelector(`.${name}`);
    Object.assign(this, { title: part("panel-title"), chips: part("chips"), why: part("why"), who: part("who") });
    this.ok = part("panel-ok");
    const on = (element, name, act) => element.addEventListener(name, act, { signal });
    on(this.chips, "click", ({ target }) => {
      const chip = target.closest("button");
      if (!chip) return;
      const pressed = chip.getAttribute("aria-pressed") !== "true" && this.reasons.length < MOST_REASONS;
      chip.setAttribute("aria-pressed", String(pressed));
      this.check();
    });
    on(this.why, "input", () => this.check());
    on(this.who, "input", () => this.check());
    on(this.ok, "click", () => this.confirm());
    on(part("panel-cancel"), "click", () => this.close());
    this.hide();
  }

  get open() {
    return !this.box.hidden;
  }

  get reasons() {
    return [...this.chips.querySelectorAll("[aria-pressed=true]")].map((chip) => chip.textContent);
  }

  // Asks what is lacking, then calls `then({ who, why, reasons })`.
  ask(kind, who, then) {
    this.needsReason = kind === "reject" || kind === "unsure";
    this.needsWho = !who;
    if (!this.needsReason && !this.needsWho) return then({ who, why: "", reasons: [] });
    Object.assign(this, { then, known: who });
    this.title.textContent = this.words[`ask_${kind}`];
    this.box.setAttribute("aria-label", this.words[`ask_${kind}`]);
    for (const chip of this.chips.children) chip.setAttribute("aria-pressed", "false");
    this.why.value = "";
    this.box.querySelector(".who-field").hidden = !this.needsWho;
    this.box.querySelector(".why-hint").hidden = this.needsReason;
    this.box.hidden = false;
    this.check();
    this.box.scrollIntoView?.({ block: "nearest" });
    return (this.needsReason ? this.chips.firstElementChild : this.who).focus();
  }

  check() {
    const reason = !this.needsReason || this.reasons.length > 0 || this.why.value.trim() !== "";
    this.ok.disabled = !reason || (this.needsWho && this.who.value.trim() === "");
  }

  confirm() {
    if (this.ok.disabled || !this.then) return;
    const { then, reasons } = this;
    const who = (this.needsWho ? this.who.value : this.known).trim().slice(0, 60);
    const why = this.why.value.trim().slice(0, 400);
    this.close();
    then({ who, why, reasons });
  }

  hide() {
    this.box.hidden = true;
    this.then = null;
  }

  close() {
    this.hide();
    this.root.querySelector("canvas").focus({ preventScroll: true });
  }
}
