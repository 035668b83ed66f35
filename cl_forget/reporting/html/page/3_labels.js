// -- labels -----------------------------------------------------------------------------------------
const DISTANCES = [5, 8, 12, 18, 27, 40, 58, 84];
const overlap = (a, b) =>
  Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
const along = (from, to, count) =>
  Array.from({ length: count }, (_, k) => [0, 1].map((i) => from[i] + ((to[i] - from[i]) * (k + 1)) / (count + 1)));

// The same search as reporting/_labels.py: the cheapest place around the anchor, three times over.
function placeLabels(labels, obstacles, bounds) {
  const placed = [];
  const gap = ([left, top, right, bottom], [x, y]) => Math.hypot(Math.max(0, left - x, x - right), Math.max(0, top - y, y - bottom));
  for (let round = 0; round < 3; round++) {
    labels.forEach((label, k) => {
      const others = placed.filter((_, i) => i !== k);
      const leaders = others.flatMap(({ anchor, x, y }) => along(anchor, [x, y], 12).map(([px, py]) => [px - 1, py - 1, px + 1, py + 1]));
      const reach = [label.width, label.height].map((length) => length + DISTANCES.at(-1));
      const near = ([left, top, right, bottom]) =>
        right > label.anchor[0] - reach[0] && left < label.anchor[0] + reach[0] &&
        bottom > label.anchor[1] - reach[1] && top < label.anchor[1] + reach[1];
      const boxes = [...obstacles, ...leaders, ...others.map((other) => other.box)].filter(near);
      const [ax, ay] = label.anchor;
      const rivals = labels.map((other) => other.anchor).filter(([x, y]) => x !== ax || y !== ay);
      let best = null;
      for (const distance of DISTANCES) {
        for (let a = 0; a < 16; a++) {
          const [dx, dy] = [Math.cos((a * Math.PI) / 8), Math.sin((a * Math.PI) / 8)];
          const x = label.anchor[0] + dx * (distance + label.width / 2);
          const y = label.anchor[1] + dy * (distance + label.height / 2);
          const box = [x - label.width / 2, y - label.height / 2, x + label.width / 2, y + label.height / 2];
          let cost = distance + 1 - dx;
          if (box[0] < bounds[0] || box[1] < bounds[1] || box[2] > bounds[2] || box[3] > bounds[3]) cost += 1e5;
          const limit = best ? best.cost : Infinity;
          for (const taken of boxes) if ((cost += 4 * overlap(box, taken)) >= limit) break;
          if (cost >= limit) continue;
          // A label that hugs another label's point is read as that point's.
          const own = gap(box, label.anchor);
          if (rivals.some((point) => gap(box, point) < Math.min(14, own + 1e-9))) cost += 25;
          const path = along(label.anchor, [x, y], 12);
          for (const { box: [left, top, right, bottom] } of others) {
            if (path.some(([px, py]) => px > left && px < right && py > top && py < bottom)) cost += 60;
          }
          if (cost < limit) best = { ...label, x, y, box, cost };
        }
      }
      placed[k] = best;
    });
  }
  return placed;
}

