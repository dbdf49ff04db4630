/* A block study: what each block changes as bars, the weights to start from, and the pictures.
   Saved pages carry it inside; the workshop's live pages load it.

   reportView({data, t, light, redraw}) → {cards(), title(), summary(), closeLight()}, and each card by itself
   effectBar({mean, low, high}, top), topOf(effects): one bar with its interval, and the scale for all */
import { copyable, fixed, lightbox, make, memory, number, signed } from "./elements.js";

export const WORDS = {
  title: "{}: blocks", dark: "Dark", light: "Light", copy: "Copy", copied: "Copied", close: "Close", effects: "What each block changes",
  effectsNote: "Each bar: the share of colour values that change by more than the threshold when this block alone takes the examined weight. Lines: 95 % interval of the mean over the seeds. SSIM 1 and GMSD 0: no change that one sees.",
  block: "Block", changed: "Changed", interval: "95 %", ssim: "SSIM", gmsd: "GMSD", likeness: "Likeness", weight: "Start at", order: "Order: {}",
  byBlock: "by block", byEffect: "by effect", weights: "Weights to start from",
  weightsNote: "1 stands for the larger weight of the range, {}: a strength multiplies the list. A block gets 1 when it changes at least half as much as the strongest one, weaker ones less. A start for your eyes, not a verdict.",
  list: "As a list", byName: "By name", command: "Merge with these weights", sheet: "Pictures", size: "Size", seed: "Seed",
  sheetNote: "First the picture with all blocks at {others}. Then, for each block, the picture with that block at {examined}, and beside it the difference.",
  brightness: "Difference ×{}", source: "source", diff: "diff", examined: "examined", others: "others", threshold: "threshold", seeds: "seeds", seed1: "seed", pictures: "pictures",
  groupNote: "Grey rows are groups that a coarse search left whole: their numbers are of all their blocks together.",
  likenessNote: "Likeness: how much more, or less, the picture is like the card than the source is, with its 95 % interval.",
  oneSeed: "One seed says little: run with more seeds for intervals.", twoSeeds: "Two seeds are too few for intervals: run with three or more.",
};
const plusMinus = (value) => (value ? `${signed(value.mean, 3)}${value.high === null ? "" : ` ± ${fixed((value.high - value.low) / 2, 3)}`}` : "—");
export const trimmed = (value) => number(value);

export function effectBar({ mean, low, high }, top) {
  const at = (value) => Math.max(0, Math.min(100, 100 * value / top));
  const track = make("div", { className: "track" }, make("div", { className: "bar", style: `width:${at(mean)}%` }));
  if (low !== null && high > low) track.append(make("div", { className: "whisker", style: `left:${at(low)}%;width:${at(high) - at(low)}%` }));
  return track;
}

export function topOf(effects) {
  const most = Math.max(0, ...effects.map((e) => e.changed.mean));
  return Math.max(Math.min(1.6 * most, Math.max(0, ...effects.map((e) => Math.max(e.changed.mean, e.changed.high ?? 0)))), 1e-9);
}

export function reportView({ data, t, light, redraw }) {
  const box = lightbox(light);
  const several = data.seeds.length > 1, intervals = data.effects.some((effect) => effect.changed.low !== null);
  let sorted = memory.get("sorted") === "true", seed = 0;

  /* The columns of a block's numbers: how they are called, and what each effect has there. */
  const columns = [
    ["changed", (effect) => `${fixed(effect.changed.mean, 3)} %`],
    ...(intervals ? [["interval", (effect) => (effect.changed.low === null ? "—" : `${fixed(Math.max(0, effect.changed.low), 2)} – ${fixed(Math.min(100, effect.changed.high), 2)}`)]] : []),
    ["ssim", (effect) => fixed(effect.ssim.mean, 4)],
    ["gmsd", (effect) => fixed(effect.gmsd.mean, 4)],
    ...(data.effects.some((effect) => effect.likeness) ? [["likeness", (effect) => plusMinus(effect.likeness)]] : []),
    ["weight", (effect) => trimmed(effect.weight)],
  ];

  function effectsCard() {
    const rows = sorted ? [...data.effects].sort((a, b) => b.changed.mean - a.changed.mean) : data.effects;
    const top = topOf(data.effects);
    const order = make("button", { textContent: t("order").replace("{}", t(sorted ? "byEffect" : "byBlock")), onclick: () => { sorted = !sorted; memory.set("sorted", sorted); redraw(); } });
    const head = make("tr", {}, make("th", { textContent: t("block") }), make("th"), ...columns.map(([key]) => make("th", { textContent: t(key) })));
    const body = rows.map((effect) => make("tr", { className: effect.blocks.length > 1 ? "group" : "", title: effect.blocks.join(" ") },
      make("td", { textContent: effect.name }), make("td", { className: "wide" }, effectBar(effect.changed, top)),
      ...columns.map(([key, value]) => make("td", { "data-name": t(key), textContent: value(effect) }))));
    const notes = [intervals ? null : several ? "twoSeeds" : "oneSeed", data.effects.some((e) => e.blocks.length > 1) ? "groupNote" : null, data.effects.some((e) => e.likeness) ? "likenessNote" : null].filter(Boolean);
    return make("section", { className: "card" }, make("div", { className: "head" }, make("h2", { textContent: t("effects") }), order), make("p", { className: "note", textContent: t("effectsNote") }),
      make("table", { className: "bars" }, make("thead", {}, head), make("tbody", {}, ...body)), ...notes.map((key) => make("p", { className: "note", textContent: t(key) })));
  }

  function weightsCard() {
    const part = (key, text) => text ? [make("p", { className: "note", style: "margin:12px 0 4px", textContent: t(key) }), copyable(text)] : [];
    return make("section", { className: "card" }, make("h2", { textContent: t("weights") }), make("p", { className: "note", textContent: t("weightsNote").replace("{}", trimmed(data.strength)) }),
      ...part("list", data.list), ...part("byName", data.byName), ...part("command", data.command));
  }

  /* A slider that keeps its value and sets a property of the page's style: the pictures follow at once. */
  function slider(key, property, unit, props, shown) {
    const words = make("span");
    const input = make("input", { type: "range", ...props, value: memory.get(key) ?? props.value, oninput: (event) => { memory.set(key, event.target.value); set(); } });
    const set = () => { document.documentElement.style.setProperty(property, input.value + unit); words.textContent = shown(input.value); };
    set();
    return make("label", {}, words, input);
  }

  function sheetCard() {
    const tools = make("div", { className: "tools" },
      slider("brightness", "--bright", "", { min: 1, max: 16, step: 1, value: 4 }, (value) => t("brightness").replace("{}", value)),
      slider("sheet", "--cell", "px", { min: 64, max: Math.max(256, data.width), step: 8, value: 128 }, () => t("size")));
    const tabs = several ? make("div", { className: "tabs" }, make("span", { className: "name", textContent: t("seed") }), ...data.seeds.map((value, i) => {
      const tab = make("button", { textContent: value, onclick: () => { seed = i; redraw(); } });
      tab.setAttribute("aria-pressed", i === seed);
      return tab;
    })) : null;
    const image = (src, caption, kind = "") => (src ? make("img", { src, alt: caption, className: kind, width: data.width, height: data.height, loading: "lazy", onclick: () => box.open(src, caption, data, kind) }) : null);
    const one = (name, number, ...images) => make("figure", {}, make("figcaption", {}, make("b", { textContent: name }), make("small", { textContent: number })), make("div", {}, ...images.filter(Boolean)));
    const change = (effect) => (effect.changed.values[seed] === undefined ? "" : `${fixed(effect.changed.values[seed], 3)} %`);
    const note = t("sheetNote").replace("{others}", trimmed(data.others)).replace("{examined}", trimmed(data.examined));
    return make("section", { className: "card" }, make("div", { className: "head" }, make("h2", { textContent: t("sheet") }), tools), make("p", { className: "note", textContent: note }), tabs,
      make("div", { className: "sheet" }, one(t("source"), "", image(data.sources[seed], t("source"))),
        ...data.effects.map((e) => one(e.name, change(e), image(e.tests[seed], `${e.name} = ${trimmed(data.examined)}`),
          image(e.diffs[seed], `${e.name} ${t("diff")} ${change(e)}`, `diff ${data.color}`)))));
  }

  const cards = () => [effectsCard(), weightsCard(), sheetCard()];
  const title = () => t("title").replace("{}", () => data.adapter);
  const summary = () => [`${t("examined")} ${trimmed(data.examined)}`, `${t("others")} ${trimmed(data.others)}`, `${t("threshold")} ${data.threshold}`,
    `${data.seeds.length} ${t(several ? "seeds" : "seed1")}`, `${data.pictures} ${t("pictures")}`].join(" · ");

  return { cards, closeLight: box.close, effectsCard, sheetCard, summary, title, weightsCard };
}
