/* Segments of a LoRA: what each does alone and what is lost without it, the weights, pairs that compensate.
   Saved pages carry it inside.

   reportView({data, t, light, redraw}) → {cards(), title(), summary(), closeLight()} */
import { copyable, lightbox, make, number, points } from "./elements.js";

export const WORDS = {
  title: "{}: segments", dark: "Dark", light: "Light", copy: "Copy", copied: "Copied", close: "Close",
  values: "Which segments matter", block: "Segment", value: "Value", alone: "Alone", without: "Without it", weight: "Start at", seeds: "Seeds", interval: "95 %",
  likenessNote: "In points of likeness, of 100. Alone: what this segment adds to the base when nothing else of the LoRA acts. Without it: what the whole LoRA loses when this segment is left out. The value is the mean of both; the bar shows it, the line its 95 % interval.",
  changeNote: "In per cent of the picture's colour values that change. Alone: what this segment changes in the base when nothing else of the LoRA acts. Without it: what changes when this segment is left out of the whole LoRA. The value is the mean of both; the bar shows it, the line its 95 % interval.",
  sure: "The order is certain: a chance of {} % at most that any place is wrong.", unsure: "A dotted line stands where it is not certain which of two comes first; more seeds would tell.",
  whole: "Segments of several blocks were left whole: they matter too little to look closer.",
  effort: "{pictures} pictures for {blocks} blocks.",
  pairs: "Pairs that compensate", pairsNote: "Leaving out both costs more than leaving out each: one does the other's work. Keep at least one of them.", pair: "{one} and {other}: {by} points more ({low} to {high})", pairSure: "surely", pairMaybe: "not sure", tooFew: "too few seeds for an interval",
  noPairs: "None was found.",
  weights: "Weights to start from", weightsNote: "1 for a segment with at least half of the strongest value, less for weaker ones, 0 for none. A start for your eyes, not a verdict.",
  list: "As a list", byName: "By name", command: "Merge with these weights",
  sheet: "Pictures", sheetNote: "First seed. Left: only this segment acts. Right: the whole LoRA without it.", base: "without the LoRA", all: "the whole LoRA", pictures: "pictures",
};

export function reportView({ data, t, light }) {
  const box = lightbox(light);
  const fill = (key, values) => Object.entries(values).reduce((text, [name, value]) => text.replace(`{${name}}`, () => value), t(key));
  const top = Math.max(1e-9, ...data.segments.map((one) => Math.max(one.value.mean, Math.min(one.value.high ?? 0, 1.6 * one.value.mean))));
  const at = (value) => Math.max(0, Math.min(100, 100 * value / top));

  function bar({ mean, low, high }) {
    const track = make("div", { className: "track" }, make("div", { className: "bar", style: `width:${at(mean)}%` }));
    if (low !== null && high > low) track.append(make("div", { className: "whisker", style: `left:${at(low)}%;width:${at(high) - at(low)}%` }));
    return track;
  }

  function valuesCard() {
    const columns = [
      ["value", (one) => points(one.value.mean)],
      ["interval", (one) => (one.value.low === null ? "—" : `${points(one.value.low)} – ${points(one.value.high)}`)],
      ["alone", (one) => points(one.alone.mean)], ["without", (one) => points(one.without.mean)],
      ["seeds", (one) => one.value.values.length], ["weight", (one) => one.weight],
    ];
    const head = make("tr", {}, make("th", { textContent: t("block") }), make("th"), ...columns.map(([key]) => make("th", { textContent: t(key) })));
    const body = data.segments.map((one) => make("tr", { className: `${one.blocks.length > 1 ? "group" : ""} ${one.certain ? "" : "unsure"}`, title: one.blocks.join(" ") },
      make("td", { textContent: one.name }), make("td", { className: "wide" }, bar(one.value)), ...columns.map(([key, value]) => make("td", { "data-name": t(key), textContent: value(one) }))));
    const sure = data.segments.every((one) => one.certain);
    const notes = [sure ? t("sure").replace("{}", () => number(100 * data.error, 1)) : t("unsure"), data.segments.some((one) => one.blocks.length > 1) ? t("whole") : null, fill("effort", { pictures: data.pictures, blocks: data.blocks })];
    return make("section", { className: "card" }, make("div", { className: "head" }, make("h2", { textContent: t("values") })), make("p", { className: "note", textContent: t(data.likeness ? "likenessNote" : "changeNote") }),
      make("table", { className: "bars segments" }, make("thead", {}, head), make("tbody", {}, ...body)), ...notes.filter(Boolean).map((text) => make("p", { className: "note", textContent: text })));
  }

  function pairsCard() {
    const lines = data.pairs.map((pair) => make("li", { textContent: `${fill("pair", { one: pair.one, other: pair.other, by: points(pair.extra.mean), low: pair.extra.low === null ? "—" : points(pair.extra.low), high: pair.extra.high === null ? "—" : points(pair.extra.high) })} · ${t(pair.extra.low === null ? "tooFew" : pair.sure ? "pairSure" : "pairMaybe")}` }));
    return make("section", { className: "card" }, make("h2", { textContent: t("pairs") }), make("p", { className: "note", textContent: t("pairsNote") }),
      lines.length ? make("ul", { className: "reasons" }, ...lines) : make("p", { textContent: t("noPairs") }));
  }

  function weightsCard() {
    const part = (key, text) => (text ? [make("p", { className: "note", style: "margin:12px 0 4px", textContent: t(key) }), copyable(text)] : []);
    return make("section", { className: "card" }, make("h2", { textContent: t("weights") }), make("p", { className: "note", textContent: t("weightsNote") }),
      ...part("list", data.list), ...part("byName", data.byName), ...part("command", data.command));
  }

  function sheetCard() {
    const image = (src, caption) => (src ? make("img", { src, alt: caption, width: data.width, height: data.height, loading: "lazy", onclick: () => box.open(src, caption, data) }) : null);
    const one = (name, note, ...images) => make("figure", {}, make("figcaption", {}, make("b", { textContent: name }), make("small", { textContent: note })), make("div", {}, ...images.filter(Boolean)));
    return make("section", { className: "card" }, make("h2", { textContent: t("sheet") }), make("p", { className: "note", textContent: t("sheetNote") }),
      make("div", { className: "sheet", style: "--cell:128px" }, one(t("base"), "", image(data.base, t("base"))), one(t("all"), "", image(data.whole, t("all"))),
        ...data.segments.map((segment) => one(segment.name, points(segment.value.mean), image(segment.pictures[0], `${segment.name} ${t("alone")}`), image(segment.pictures[1], `${segment.name} ${t("without")}`)))));
  }

  const cards = () => [valuesCard(), weightsCard(), pairsCard(), sheetCard()];
  const title = () => t("title").replace("{}", () => data.adapter);
  const summary = () => `${data.prompt} · ${data.pictures} ${t("pictures")}`;
  return { cards, closeLight: box.close, summary, title };
}
