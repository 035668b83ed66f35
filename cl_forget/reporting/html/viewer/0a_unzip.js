// -- a zip archive, read without a library ----------------------------------------------------------------
// From the table at its end (PKWARE's APPNOTE, 4.3): what is stored or deflated is read, zip64 sizes included.
const END = 0x06054b50, ENTRY = 0x02014b50, WIDE_END = 0x06064b50, MOST_OF_A_FILE = 256 * 2 ** 20;

async function unzip(blob, wanted) {
  const bytes = new Uint8Array(await blob.arrayBuffer()), view = new DataView(bytes.buffer);
  const entries = [];
  for (const entry of zipEntries(bytes, view)) if (wanted(entry.name)) entries.push(entry);
  return Promise.all(entries.map(async (entry) => ({ path: entry.name, text: await entryText(bytes, view, entry) })));
}

function* zipEntries(bytes, view) {
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;  // a comment may stand behind it
  if (end < 0) throw new Error("it is no zip archive, or it is cut off");
  let [count, at] = [view.getUint16(end + 10, true), view.getUint32(end + 16, true)];
  if (at === 0xffffffff || count === 0xffff) {
    const wide = Number(view.getBigUint64(end - 12, true));  // the locator stands right before the end
    if (wide + 56 > bytes.length || view.getUint32(wide, true) !== WIDE_END) throw new Error("its table cannot be found");
    [count, at] = [Number(view.getBigUint64(wide + 32, true)), Number(view.getBigUint64(wide + 48, true))];
  }
  for (let k = 0; k < count; k++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== ENTRY) throw new Error("its table of files is cut off");
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const entry = {
      name: new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength)).replaceAll("\\", "/"),
      locked: view.getUint16(at + 8, true) & 1, method: view.getUint16(at + 10, true), check: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true), size: view.getUint32(at + 24, true), offset: view.getUint32(at + 42, true),
    };
    widen(view, entry, at + 46 + nameLength, extraLength);
    at += 46 + nameLength + extraLength + commentLength;
    if (!entry.name.endsWith("/")) yield entry;
  }
}

// Sizes and places beyond 4 GiB stand in a field of their own, those that are there in this order.
function widen(view, entry, start, length) {
  for (let at = start; at + 4 <= start + length; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    let place = at + 4;
    for (const field of ["size", "packed", "offset"]) if (entry[field] === 0xffffffff) {
      entry[field] = Number(view.getBigUint64(place, true));
      place += 8;
    }
  }
}

async function entryText(bytes, view, { name, locked, method, check, packed, size, offset }) {
  if (locked) throw new Error(`${name} in it is encrypted; unpack it first`);
  if (method !== 0 && method !== 8) throw new Error(`${name} in it is packed in a way that no browser reads; pack it again as a plain zip`);
  if (size > MOST_OF_A_FILE) throw new Error(`${name} in it is larger than ${MOST_OF_A_FILE / 2 ** 20} MiB`);
  const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
  let content = bytes.subarray(start, start + packed);
  if (method === 8) content = await inflatedUpTo(content, size, name);
  if (content.length !== size || crc32(content) !== check) throw new Error(`${name} in it is damaged; get the archive again`);
  return new TextDecoder().decode(content);
}

// A small archive can unfold to any size: reading ends where the table said that the file ends.
async function inflatedUpTo(content, size, name) {
  const reader = new Blob([content]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const found = new Uint8Array(size);
  let filled = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return found.subarray(0, filled);
      if (filled + value.length > size) break;
      found.set(value, filled);
      filled += value.length;
    }
  } catch {
    throw new Error(`${name} in it is damaged; get the archive again`);
  }
  await reader.cancel();
  throw new Error(`${name} in it is damaged; get the archive again`);
}

const CRC = Uint32Array.from({ length: 256 }, (_, k) => {
  let code = k;
  for (let bit = 0; bit < 8; bit++) code = code & 1 ? (code >>> 1) ^ 0xedb88320 : code >>> 1;
  return code >>> 0;
});
function crc32(bytes) {
  let code = 0xffffffff;
  for (const byte of bytes) code = CRC[(code ^ byte) & 255] ^ (code >>> 8);
  return (code ^ 0xffffffff) >>> 0;
}

