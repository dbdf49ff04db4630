/* A cured LoRA: what it does with the trigger word and without it, before and after, and what was damped.
   Saved pages carry it inside; the workshop loads it.

   reportView({data, t, light}) → {cards(), title(), summary(), closeLight()} */
import { interval, lightbox, make, number, points, rounded, signedPoints } from "./elements.js";
import { JUDGED_WORDS, judgedOf } from "./judged.js";

export const WORDS = {
  ...JUDGED_WORDS,
  titleOf: "{}, cured", effort: "{} pictures", stop: ".", comma: ", ",
  found: "Before and after", check: "On {} fresh seeds, which no choice was made by:",
  higher: "{name} {by} points ({low} to {high}): surely higher", lower: "{name} {by} points ({low} to {high}): surely lower", same: "{name} {by} points ({low} to {high}): no sure difference",
  gone: "{} % of the bleed is gone.", asMuch: "The bleed is as much as before.", more: "There is {} % more bleed.",
  nothing: "No damping keeps the likeness within {} points, so nothing was changed.", noCheck: "It was not looked at on fresh seeds.",
  damped: "Damped: {}. More is stronger, 0 is not at all.", refined: "Then the factors were trained for {} steps.", left: "{} modules were not reached by any picture and stay as they were.",
  text: "text encoders {}", reading: "layers that read the text {}", others: "other layers {}",
  withWord: "With the trigger word: this should stay", without: "Without it: this should become the base again",
  was: "as it was", cured: "cured", base: "the base alone",
  tableNote: "Means in points of 100 on fresh seeds, with 95 % intervals; differences are of the same seeds.", difference: "difference", seeds: "seeds", which: "LoRA",
  blocks: "Which blocks act without the word", blocksNote: "How large a block's change is without the word, beside with it: 100 % makes no difference between the two. Pale: as it was; full: after the damping.",
  block: "block", before: "before", after: "after",
  tried: "What was tried", triedNote: "Each row is a damping of text encoders, layers that read the text, and other layers. One that keeps the likeness loses at most {} points.", damping: "damping", keeps: "keeps the likeness", yes: "yes", no: "no",
  use: "Do it again", command: "The same command goes on with the pictures that are there.",
};

export function reportView({ data, t, light }) {
  const box = lightbox(light);
  const { one, goalName, note, between, notes, row, table, commands } = judgedOf({ data, t, box });
  const percent = (value) => (value === null ? "—" : `${number(100 * value, 0)} %`);
  const check = data.check;

  function bleedText() {
    const at = data.goals.findIndex((goal) => goal.name === "bleed"), before = check.before[at], after = check.after[at];
    if (!before || !after || before.mean <= data.slack) return null;
    const share = rounded(100 * (1 - Math.max(after.mean, 0) / before.mean), 0);
    return share === 0 ? t("asMuch") : one(share > 0 ? "gone" : "more", Math.abs(share));
  }

  function dampedText() {
    const parts = ["text", "reading", "others"].map((key, at) => one(key, data.levels[at]));
    return one("damped", parts.join(t("comma")));
  }

  function reasons() {
    const found = [];
    if (!data.made) return [make("li", { textContent: one("nothing", points(data.keep)) })];
    if (check) {
      const keys = { more: "higher", less: "lower", same: "same" };
      found.push(make("li", {}, one("check", check.seeds.length), make("ul", {}, ...data.goals.map((goal, i) => make("li", { textContent: between(goal, check.differences[i], check.seeds.length, keys) + t("stop") })))));
      const bleed = bleedText();
      if (bleed) found.push(make("li", { textContent: bleed }));
    } else found.push(make("li", { textContent: t("noCheck") }));
    found.push(make("li", { textContent: dampedText() }));
    if (data.refined) found.push(make("li", { textContent: one("refined", data.refined) }));
    if (data.left) found.push(make("li", { textContent: one("left", data.left) }));
    return found;
  }

  function foundCard() {
    const shown = check?.pictures;
    return make("section", { className: "card" }, make("h2", { textContent: t("found") }), make("ul", { className: "reasons" }, ...reasons()),
      ...(shown ? [make("h3", { textContent: t("withWord") }), row(t("was"), shown[0]), row(t("cured"), shown[1]),
        make("h3", { textContent: t("without") }), row(t("base"), shown[2]), row(t("was"), shown[3]), row(t("cured"), shown[4])] : []));
  }

  function numbersCard() {
    if (!check) return null;
    const heads = [t("which"), ...data.goals.map(goalName), t("seeds")];
    const gap = (value) => (!value ? "—" : value.low === null ? signedPoints(value.mean) : `${signedPoints(value.mean)} (${signedPoints(value.low)} … ${signedPoints(value.high)})`);
    const rows = [[t("was"), ...check.before.map(interval)], [t("cured"), ...check.after.map(interval)], [t("difference"), ...check.differences.map(gap)]];
    return table(t("table"), [t("tableNote"), ...notes([check.before, check.after])], heads, rows.map((cells, at) => [[...cells, check.seeds.length], at === 1 ? "best" : ""]));
  }

  function blocksCard() {
    const top = Math.max(1, ...data.blocks.flatMap((block) => [block.before ?? 0, block.after ?? 0]));
    const bar = (value, kind) => make("div", { className: `bar ${kind}`, style: `width:${100 * Math.max(0, value ?? 0) / top}%` });
    const heads = [t("block"), "", t("before"), t("after")];
    const rows = data.blocks.map((block) => make("tr", {}, make("td", { textContent: block.block }), make("td", { className: "wide" }, make("div", { className: "track" }, bar(block.before, "was"), bar(block.after, ""))),
      make("td", { "data-name": t("before"), textContent: percent(block.before) }), make("td", { "data-name": t("after"), textContent: percent(block.after) })));
    return make("section", { className: "card" }, make("h2", { textContent: t("blocks") }), note(t("blocksNote")),
      make("table", { className: "bars" }, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { textContent: text })))), make("tbody", {}, ...rows)));
  }

  function triedCard() {
    if (!data.tried.length) return null;
    const heads = [t("damping"), ...data.goals.map(goalName), t("seeds"), t("keeps")];
    const name = (levels) => (levels.some((level) => level) ? levels.join(" · ") : t("was"));
    const rows = data.tried.map((tried) => [[name(tried.levels), ...tried.values.map(interval), tried.seeds, t(tried.keeps ? "yes" : "no")], tried.levels.join() === data.levels.join() ? "best" : ""]);
    return table(t("tried"), [one("triedNote", points(data.keep)), ...notes(data.tried.map((tried) => tried.values)).slice(data.goals.length)], heads, rows);
  }

  const useCard = () => (data.command ? make("section", { className: "card" }, make("h2", { textContent: t("use") }), ...commands([[t("command"), data.command]])) : null);
  const cards = () => [foundCard(), numbersCard(), blocksCard(), triedCard(), useCard()].filter(Boolean);
  const title = () => one("titleOf", data.lora), summary = () => `${data.prompt} · ${one("effort", data.pictures)}`;
  return { cards, closeLight: box.close, summary, title };
}
