/* A soup that was looked at: what each epoch weighs in it and why, and its pictures beside those of the best epoch.
   Saved pages carry it inside; the workshop loads it.

   reportView({data, t, light, use() → the card of what to do with it}) → {cards(), title(), summary(), closeLight()} */
import { copyable, interval, lightbox, make, points } from "./elements.js";

export const WORDS = {
  titleOf: "{} epochs into one LoRA", dark: "Dark", light: "Light", copy: "Copy", copied: "Copied", close: "Close", colon: ": ", stop: ".",
  likeness: "likeness", bleed: "bleed", prompt: "prompt", diversity: "diversity",
  likenessNote: "how much the person in the picture is the one meant", bleedNote: "how much other people change, seen without the trigger word",
  promptNote: "how much of the prompt the picture shows", diversityNote: "how different the pictures of different seeds are",
  soup: "The soup", weights: "What each epoch weighs",
  bestIs: "The best single epoch is {}.", joins: "{name} joins, since the soup gets better: {gains}.",
  worse: "{name} stays out, since the soup gets no better: {gains}.",
  unsure: "{name} stays out: after {seeds} seeds it is not sure that it helps: {gains}.", few: "{name} stays out: {seeds} seeds do not tell whether it helps.",
  gain: "{goal} {by} points ({low} to {high})", others: "all other goals", comma: ", ",
  points: "The other goals are counted together: {}. More is better in all of these points.", minus: "{} (less is better)", times: "{weight} × {name}",
  alone: "No other epoch is sure to help, so the soup is that epoch alone: use its file.", given: "The weights were given; pictures chose nothing.",
  check: "The check: on {} fresh seeds, which no choice was made by, beside the best epoch:", cut: "The soup was looked at as it is written, cut to its rank.",
  better: "{name} {by} points ({low} to {high}): surely better", less: "{name} {by} points ({low} to {high}): surely worse", same: "{name} {by} points ({low} to {high}): no sure difference", unknown: "{}: no picture tells it",
  pictures: "Pictures of the fresh seeds", table: "Numbers", tableNote: "Means in points of 100, with 95 % intervals. Each epoch on the seeds that chose; the last rows on the fresh ones.",
  epoch: "epoch", seeds: "seeds", weight: "weight", fresh: "{}, fresh seeds", use: "Make it again", command: "The same average without pictures. Add --rank to cut it to a rank.", effort: "{} pictures",
};

export function reportView({ data, t, light, use = null }) {
  const one = (key, value) => t(key).replace("{}", () => value);
  const fill = (key, values) => Object.entries(values).reduce((text, [name, value]) => text.replace(`{${name}}`, () => value), t(key));
  const known = ["likeness", "bleed", "prompt", "diversity"], meanings = { likeness: "likenessNote", bleed: "bleedNote", prompt: "promptNote", diversity: "diversityNote" };
  const goalName = (goal) => (known.includes(goal.name) ? t(goal.name) : goal.name);
  const signed = (value) => `${value > 0 ? "+" : ""}${points(value)}`;
  const between = ({ mean, low, high }) => ({ by: signed(mean), low: low === null ? "—" : signed(low), high: high === null ? "—" : signed(high) });
  const box = lightbox(light), best = data.epochs[data.best];

  function stepText(step) {
    const others = data.goals.slice(1).filter((goal) => goal.weigh > 0);
    const gain = (goal, found) => (found && found.low !== null ? [fill("gain", { goal, ...between(found) })] : []);
    const gains = [...gain(goalName(data.goals[0]), step.first), ...gain(others.length === 1 ? goalName(others[0]) : t("others"), step.rest)];
    const values = { name: data.epochs[step.epoch].name, seeds: step.seeds, gains: gains.join(t("comma")) };
    if (!gains.length) return fill("few", values);
    return fill({ joins: "joins", worse: "worse", unsure: "unsure" }[step.verdict], values);
  }

  function difference(goal, i) {
    const gap = data.check.differences[i], name = goalName(goal);
    if (!gap || gap.low === null) return one("unknown", name);
    const sure = gap.low > 0 || gap.high < 0, good = gap.mean > 0 === goal.up;
    return fill(sure ? (good ? "better" : "less") : "same", { name, ...between(gap) });
  }

  function sumText() {
    const shown = data.goals.slice(1).filter((goal) => goal.weigh > 0).map((goal) => {
      const name = goal.up ? goalName(goal) : one("minus", goalName(goal));
      return goal.weigh === 1 ? name : fill("times", { weight: goal.weigh, name });
    });
    return one("points", shown.join(" + "));
  }

  function bars() {
    const top = Math.max(...data.epochs.map((epoch) => Math.abs(epoch.weight)), 1e-9);
    return make("table", { className: "bars" }, make("tbody", {}, ...data.epochs.map((epoch) => make("tr", {}, make("td", { textContent: epoch.name }),
      make("td", { className: "wide" }, make("div", { className: "track" }, make("div", { className: "bar", style: `width:${100 * Math.abs(epoch.weight) / top}%` }))),
      make("td", { textContent: epoch.weight.toFixed(3) })))));
  }

  function soupCard() {
    const reasons = [data.given ? t("given") : one("bestIs", best.name), ...data.steps.map(stepText)];
    if (!data.check && !data.given && data.epochs.length > 1) reasons.push(t("alone"));
    const items = reasons.map((text) => make("li", { textContent: text }));
    if (data.check) items.push(make("li", {}, one("check", data.check.seeds.length), make("ul", {}, ...data.goals.map((goal, i) => make("li", { textContent: difference(goal, i) + t("stop") })))));
    if (data.check?.cut) items.push(make("li", { textContent: t("cut") }));
    const strip = (name, sources) => make("div", { className: "row" }, make("div", { className: "rowname", textContent: name }), make("div", { className: "strip" },
      ...sources.filter(Boolean).map((src, i) => make("img", { src, alt: `${name} ${i + 1}`, width: data.width, height: data.height, loading: "lazy", onclick: () => box.open(src, name, data) }))));
    const pictures = data.check ? [make("h3", { textContent: t("pictures") }), strip(t("soup"), data.check.pictures), strip(best.name, data.check.best_pictures)] : [];
    return make("section", { className: "card" }, make("h2", { textContent: t("weights") }), bars(), make("ul", { className: "reasons" }, ...items),
      data.steps.some((step) => step.rest) ? make("p", { className: "note", textContent: sumText() }) : null, ...pictures);
  }

  function tableCard() {
    const heads = [t("epoch"), ...data.goals.map(goalName), t("seeds"), t("weight")];
    const rows = data.epochs.map((epoch) => [epoch.name, ...epoch.values.map(interval), epoch.seeds, epoch.weight.toFixed(3)]);
    if (data.check) rows.push([one("fresh", t("soup")), ...data.check.values.map(interval), data.check.seeds.length, ""], [one("fresh", best.name), ...data.check.best_values.map(interval), data.check.seeds.length, ""]);
    const notes = data.goals.filter((goal) => known.includes(goal.name)).map((goal) => `${goalName(goal)}${t("colon")}${t(meanings[goal.name])}`);
    return make("section", { className: "card" }, make("h2", { textContent: t("table") }), make("p", { className: "note", textContent: t("tableNote") }), ...notes.map((text) => make("p", { className: "note", textContent: text })),
      make("div", { className: "wide" }, make("table", { className: "candidates" }, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { textContent: text })))),
        make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text, i) => make("td", { "data-name": heads[i], textContent: text }))))))));
  }

  function useCard() {
    return make("section", { className: "card" }, make("h2", { textContent: t("use") }), make("p", { className: "note", style: "margin:12px 0 4px", textContent: t("command") }), copyable(data.command));
  }

  const cards = () => [soupCard(), tableCard(), data.command || use ? (use ?? useCard)() : null].filter(Boolean);
  const title = () => one("titleOf", data.epochs.length), summary = () => `${data.prompt} · ${one("effort", data.pictures)}`;
  return { cards, closeLight: box.close, summary, title };
}
