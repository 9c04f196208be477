// A random number of the browser's own, made once: it finds this person's runs again, and nobody else's. It stays in
// the browser's storage and in the connection to the server; it is never part of an address, so no link gives it away.

const KEY = "leukoscope_browser";

export default function ({ data, setStateValue }) {
  let known = null;
  try {
    known = localStorage.getItem(KEY);
    if (!/^[0-9a-f]{32}$/.test(known)) {
      const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
      known = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
      localStorage.setItem(KEY, known);
    }
  } catch {
    known = null; // storage is forbidden: the server then knows this session only
  }
  if (known !== data.known) setStateValue("identity", known ?? "");
}
