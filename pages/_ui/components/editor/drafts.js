// Unsaved outlines, kept in the browser's own data base: written through to the disk, so that they outlive a browser
// that is killed, which localStorage does not.

const DRAFT_DAYS = 7;

export class Drafts {
  constructor(factory = globalThis.indexedDB) {
    this.base = new Promise((resolve, reject) => {
      const asked = factory.open("leukoscope", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("drafts");
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    }).catch(() => null); // storage is forbidden: there is the server's draft yet
  }

  // False where it could not be kept.
  put(id, draft) {
    return this.ask("readwrite", (store) => store.put(draft, id)).then((put) => put !== null);
  }

  get(id) {
    return this.ask("readonly", (store) => store.get(id));
  }

  remove(id) {
    return this.ask("readwrite", (store) => store.delete(id));
  }

  prune(now) {
    return this.ask("readwrite", (store) => {
      const asked = store.openCursor();
      asked.onsuccess = () => {
        const at = asked.result;
        if (!at) return;
        if (tooOld(at.value, now)) at.delete();
        at.continue();
      };
      return asked;
    });
  }

  async ask(mode, act) {
    const base = await this.base;
    if (!base) return null;
    return new Promise((resolve) => {
      try {
        const change = base.transaction("drafts", mode, { durability: "strict" });
        const asked = act(change.objectStore("drafts"));
        change.oncomplete = () => resolve(asked.result ?? undefined);
        change.onabort = change.onerror = () => resolve(null);
      } catch {
        resolve(null);
      }
    });
  }
}

export const tooOld = (draft, now) => !(draft?.when > now - DRAFT_DAYS * 864e5);

// Which of the browser's own draft, the one under it and the server's is offered: the newest that is not what is
// there already. `known` are runs that hold nothing new.
export function draftToOffer(drafts, known, now) {
  const fit = drafts.filter((draft) => draft && typeof draft.runs === "string" && !tooOld(draft, now));
  return fit.filter(({ runs }) => !known.includes(runs)).sort((a, b) => b.when - a.when)[0] ?? null;
}
