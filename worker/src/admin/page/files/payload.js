// A payload for reading: as text, as JSON, as bytes.

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Bytes from base64. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/** Text, where the bytes are UTF-8; else `null`. A character cut at the end does not count. */
export function textOf(bytes, isCut = false) {
  for (const less of isCut ? [0, 1, 2, 3] : [0]) {
    try {
      return decoder.decode(bytes.subarray(0, bytes.length - less));
    } catch {
      // Not UTF-8 up to here.
    }
  }
  return null;
}

/** Indented JSON, where the text is JSON; else `null`. */
export function jsonOf(text) {
  if (text === null) return null;
  try {
    // Numbers that JavaScript cannot hold would be shown as others: then the text is the truth.
    const value = JSON.parse(text);
    return hasLargeNumber(text) ? text : JSON.stringify(value, null, 2);
  } catch {
    return null;
  }
}

function hasLargeNumber(text) {
  return /\d{16}/.test(text);
}

/** Sixteen bytes a line: offset, hex, and what is printable. */
export function hexOf(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0"));
    const left = hex.slice(0, 8).join(" ").padEnd(23), right = hex.slice(8).join(" ").padEnd(23);
    const shown = row.map((byte) => byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".").join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${left}  ${right}  ${shown}`);
  }
  return lines.join("\n");
}
