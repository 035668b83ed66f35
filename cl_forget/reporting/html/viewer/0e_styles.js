// -- one look per method, as `method_styles` of reporting/styles.py ------------------------------------------
const LOOK = RULE.looks, lettersOf = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "");
const byLetters = new Map(LOOK.registered.map((name) => [lettersOf(name), name]));
const registered = (name) => byLetters.get(lettersOf(LOOK.aliases[name.toLowerCase()] ?? name)) ?? null;

function otherPlace(name) {
  const parts = name.split(" + ").map((part) => registered(part.trim()) ?? part.trim());
  const count = LOOK.light.length * LOOK.symbols.length;
  return LOOK.kept + (crc32(new TextEncoder().encode(parts.join("+"))) % (count - LOOK.kept));
}

function stylesOf(names, control) {
  const count = LOOK.light.length * LOOK.symbols.length, places = new Map(), taken = new Set();
  const take = (name, place) => { places.set(name, place); taken.add(place); };
  const [low, less] = [(text) => text.toLowerCase(), (a, b) => (a < b ? -1 : a > b ? 1 : 0)];
  const arms = names.filter((name) => name !== control).sort((a, b) => less(low(a), low(b)) || less(a, b));
  for (const name of arms) {
    const place = LOOK.registered.indexOf(registered(name));
    if (place >= 0 && !taken.has(place)) take(name, place);
  }
  for (const name of arms.filter((one) => !places.has(one))) {
    let place = otherPlace(name);
    while (taken.has(place) && taken.size < count) place = (place + 1) % count;
    take(name, place);
  }
  const styles = new Map([...places].map(([name, place]) => [name, {
    color: LOOK.light[place % LOOK.light.length], color_dark: LOOK.dark[place % LOOK.dark.length], symbol: LOOK.symbols[place % LOOK.symbols.length],
  }]));
  const neutral = (symbol) => ({ color: LOOK.neutral[0], color_dark: LOOK.neutral[1], symbol });
  if (control !== null) styles.set(control, neutral("circle"));
  return styles.set(RULE.pretrained, neutral("star"));
}

