/* A soup that was looked at: what each epoch weighs in it and why, and its pictures beside those of the best epoch.
   Saved pages carry it inside; the workshop loads it.

   reportView({data, t, light, use() → the card of what to do with it}) → {cards(), title(), summary(), closeLight()} */
import { fixed, interval, lightbox, make, signedPoints } from "./elements.js";
import { JUDGED_WORDS, judgedOf } from "./judged.js";

export const WORDS = {
  ...JUDGED_WORDS, comma: ", ", stop: ".",
  titleOf: "{} epochs into one LoRA",
  soup: "The soup", weights: "What each epoch weighs",
  bestIs: "The best single epoch is {}.", joins: "{name} joins, since the soup gets better: {gains}.",
  worse: "{name} stays out, since the soup gets no better: {gains}.",
  unsure: "{name} stays out: after {seeds} seeds it is not sure that it helps: {gains}.", few: "{name} stays out: {seeds} seeds do not tell whether it helps.",
  gain: "{goal} {by} points ({low} to {high})", others: "all other goals",
  points: "The other goals are counted together: {}. More is better in all of these points.", minus: "{} (less is better)", times: "{weight} × {name}",
  alone: "No other epoch is sure to help, so the soup is that epoch alone: use its file.", given: "The weights were given; pictures chose nothing.",
  check: "The check: on {} fresh seeds, which no choice was made by, beside the best epoch:", cut: "The soup was looked at as it is written, cut to its rank.",
  better: "{name} {by} points ({low} to {high}): surely better", less: "{name} {by} points ({low} to {high}): surely worse", same: "{name} {by} points ({low} to {high}): no sure difference",
  pictures: "Pictures of the fresh seeds", tableNote: "Means in points of 100, with 95 % intervals. Each epoch on the seeds that chose; the last rows on the fresh ones.",
  epoch: "epoch", seeds: "seeds", weight: "weight", fresh: "{}, fresh seeds", use: "Make it again", command: "The same average without pictures. Add --rank to cut it to a rank.", effort: "{} pictures",
};

export function reportView({ data, t, light, use = null }) {
  const box = lightbox(light), best = data.epochs[data.best];
  const { one, fill, goalName, note, between, notes, row, table, commands } = judgedOf({ data, t, box });
  const ends = ({ mean, low, high }) => ({ by: signedPoints(mean), low: signedPoints(low), high: signedPoints(high) });

  function stepText(step) {
    const others = data.goals.slice(1).filter((goal) => goal.weigh > 0);
    const gain = (goal, found) => (found && found.low !== null ? [fill("gain", { goal, ...ends(found) })] : []);
    const gains = [...gain(goalName(data.goals[0]), step.first), ...gain(others.length === 1 ? goalName(others[0]) : t("others"), step.rest)];
    const values = { name: data.epochs[step.epoch].name, seeds: step.seeds, gains: gains.join(t("comma")) };
    if (!gains.length) return fill("few", values);
    return fill({ joins: "joins", worse: "worse", unsure: "unsure" }[step.verdict], values);
  }

  const difference = (goal, i) => between(goal, data.check.differences[i], data.check.seeds.length, goal.up ? { more: "better", less: "less", same: "same" } : { more: "less", less: "better", same: "same" });

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
      make("td", { textContent: fixed(epoch.weight, 3) })))));
  }

  function soupCard() {
    const reasons = [data.given ? t("given") : one("bestIs", best.name), ...data.steps.map(stepText)];
    if (!data.check && !data.given && data.epochs.length > 1) reasons.push(t("alone"));
    const items = reasons.map((text) => make("li", { textContent: text }));
    if (data.check) items.push(make("li", {}, one("check", data.check.seeds.length), make("ul", {}, ...data.goals.map((goal, i) => make("li", { textContent: difference(goal, i) + t("stop") })))));
    if (data.check?.cut) items.push(make("li", { textContent: t("cut") }));
    const pictures = data.check ? [make("h3", { textContent: t("pictures") }), row(t("soup"), data.check.pictures), row(best.name, data.check.best_pictures)] : [];
    return make("section", { className: "card" }, make("h2", { textContent: t("weights") }), bars(), make("ul", { className: "reasons" }, ...items),
      data.steps.some((step) => step.rest) ? note(sumText()) : null, ...pictures);
  }

  function tableCard() {
    const heads = [t("epoch"), ...data.goals.map(goalName), t("seeds"), t("weight")];
    const rows = data.epochs.map((epoch) => [epoch.name, ...epoch.values.map(interval), epoch.seeds, fixed(epoch.weight, 3)]);
    if (data.check) rows.push([one("fresh", t("soup")), ...data.check.values.map(interval), data.check.seeds.length, ""], [one("fresh", best.name), ...data.check.best_values.map(interval), data.check.seeds.length, ""]);
    const values = [...data.epochs.map((epoch) => epoch.values), ...(data.check ? [data.check.values, data.check.best_values] : [])];
    return table(t("table"), [t("tableNote"), ...notes(values)], heads, rows.map((cells) => [cells]));
  }

  function useCard() {
    return make("section", { className: "card" }, make("h2", { textContent: t("use") }), ...commands([[t("command"), data.command]]));
  }

  const cards = () => [soupCard(), tableCard(), data.command || use ? (use ?? useCard)() : null].filter(Boolean);
  const title = () => one("titleOf", data.epochs.length), summary = () => `${data.prompt} · ${one("effort", data.pictures)}`;
  return { cards, closeLight: box.close, summary, title };
}
