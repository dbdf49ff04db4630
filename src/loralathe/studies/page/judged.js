/* What pages of judged pictures share: their words, the names of goals and what these mean, differences with
   intervals, strips of pictures, tables.

   judgedOf({data, t, box}) → {one, fill, goalName, note, between, notes, strip, row, table, commands}; data.goals are the goals. */
import { copyable, make, signedPoints } from "./elements.js";

export const JUDGED_WORDS = {
  dark: "Dark", light: "Light", copy: "Copy", copied: "Copied", close: "Close", colon: ": ",
  likeness: "likeness", bleed: "bleed", prompt: "prompt", diversity: "diversity",
  likenessNote: "how much the person in the picture is the one meant", bleedNote: "how much other people change, seen without the trigger word",
  promptNote: "how much of the prompt the picture shows", diversityNote: "how different the pictures of different seeds are",
  bleedScale: "Bleed above 100 points: a card measures 1 − the cosine of who is in the two pictures. 0 is the same person, 100 somebody with nothing in common, 200 the very opposite.",
  noInterval: "Means of fewer than three seeds have no interval: so few do not tell how much seeds differ.",
  tooFew: "{name} {by} points: {seeds} seeds are too few for an interval", unknown: "{}: no picture tells it",
  table: "Numbers",
};
const KNOWN = ["likeness", "bleed", "prompt", "diversity"];
const MEANINGS = { likeness: "likenessNote", bleed: "bleedNote", prompt: "promptNote", diversity: "diversityNote" };

export function judgedOf({ data, t, box }) {
  const one = (key, ...values) => values.reduce((text, value) => text.replace("{}", () => value), t(key));
  const fill = (key, values) => Object.entries(values).reduce((text, [name, value]) => text.replace(`{${name}}`, () => value), t(key));
  const goalName = (goal) => (KNOWN.includes(goal.name) ? t(goal.name) : goal.name);
  const note = (text) => make("p", { className: "note", textContent: text });

  /* A difference that was looked at: how it is called where it is surely more, less, or neither. */
  function between(goal, found, seeds, keys) {
    const name = goalName(goal);
    if (!found) return one("unknown", name);
    const by = signedPoints(found.mean);
    if (found.low === null) return fill("tooFew", { name, by, seeds });
    return fill(found.low > 0 ? keys.more : found.high < 0 ? keys.less : keys.same, { name, by, low: signedPoints(found.low), high: signedPoints(found.high) });
  }

  /* What the goals mean; where it is needed, why a number is above 100 or has no interval. rows: each the values of all goals. */
  function notes(rows) {
    const bleed = data.goals.findIndex((goal) => goal.name === "bleed"), all = rows.flat().filter(Boolean);
    return [...data.goals.filter((goal) => KNOWN.includes(goal.name)).map((goal) => `${goalName(goal)}${t("colon")}${t(MEANINGS[goal.name])}`),
      ...(rows.some((values) => Math.max(values[bleed]?.mean ?? 0, values[bleed]?.high ?? 0) > 1) ? [t("bleedScale")] : []),
      ...(all.some((value) => value.low === null) ? [t("noInterval")] : [])];
  }

  function strip(name, sources) {
    return make("div", { className: "strip" }, ...sources.filter(Boolean).map((src, i) => make("img", {
      src, alt: `${name} ${i + 1}`, width: data.width, height: data.height, loading: "lazy", onclick: () => box.open(src, name, data) })));
  }

  /* A strip with its name before it. */
  function row(name, sources) {
    return make("div", { className: "row" }, make("div", { className: "rowname", textContent: name }), strip(name, sources));
  }

  /* A card with a table; rows: [cells, class]. */
  function table(title, before, heads, rows) {
    return make("section", { className: "card" }, make("h2", { textContent: title }), ...before.map(note),
      make("div", { className: "wide" }, make("table", { className: "candidates" }, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { textContent: text })))),
        make("tbody", {}, ...rows.map(([cells, kind = ""]) => make("tr", { className: kind }, ...cells.map((text, i) => make("td", { "data-name": heads[i], textContent: text }))))))));
  }

  /* Commands to copy, each under what it is for; those that are empty are left out. */
  const commands = (pairs) => pairs.flatMap(([text, command]) => (command ? [make("p", { className: "note", style: "margin:12px 0 4px", textContent: text }), copyable(command)] : []));
  return { one, fill, goalName, note, between, notes, strip, row, table, commands };
}
