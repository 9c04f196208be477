// Runs in reading order, each a varint of length << bits | value: no library, and done at once, so that it can also be
// done while the page is being left.

export function packRuns(values, bits) {
  const unit = 2 ** bits;
  let bytes = new Uint8Array(1024);
  let n = 0;
  for (let i = 0; i < values.length; ) {
    let j = i + 1;
    while (j < values.length && values[j] === values[i]) j++;
    if (n + 8 > bytes.length) {
      const larger = new Uint8Array(2 * bytes.length);
      larger.set(bytes);
      bytes = larger;
    }
    let code = (j - i) * unit + values[i];
    for (; code > 127; code = Math.floor(code / 128)) bytes[n++] = (code & 127) | 128;
    bytes[n++] = code;
    i = j;
  }
  return bytes.slice(0, n);
}

// Calls `take(start, length, value)` for each run and gives the length of all.
export function eachRun(bytes, bits, take) {
  const unit = 2 ** bits;
  let at = 0;
  for (let i = 0; i < bytes.length; ) {
    let code = 0;
    let scale = 1;
    let byte;
    do {
      byte = bytes[i++];
      code += (byte & 127) * scale;
      scale *= 128;
    } while (byte > 127 && i < bytes.length);
    const length = Math.floor(code / unit);
    take(at, length, code % unit);
    at += length;
  }
  return at;
}

export function encodeRuns(labels) {
  const bytes = packRuns(labels, 2);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

// Null for whatever is no label map of this size: a draft may be of another version, or damaged.
export function decodeRuns(text, size) {
  let bytes;
  try {
    bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return null;
  }
  let sound = true;
  const total = eachRun(bytes, 2, (_, length, value) => (sound &&= length > 0 && value !== 1));
  if (!sound || total !== size) return null;
  const labels = new Uint8Array(size);
  eachRun(bytes, 2, (at, length, value) => labels.fill(value, at, at + length));
  return labels;
}
