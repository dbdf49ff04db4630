/* A search: what it recommends and why, all candidates as a chart, and the best ones as pictures.
   Saved pages carry it inside.

   reportView({data, t, light, redraw, use() → the card of what to do with it}) → {cards(), title(), summary(), fit(), closeLight()} */
import { interval, lightbox, make, number, points, rounded, signedPoints } from "./elements.js";
import { JUDGED_WORDS, judgedOf } from "./judged.js";

export const WORDS = {
  ...JUDGED_WORDS, comma: ", ", stop: ".",
  title: "Search",
  recommended: "Recommended", given: "as given", theGiven: "what you gave", candidate: "No. {}", givenLong: "As you gave it, without this search",
  running: "The search is running ({}). This page loads itself again.", search: "new candidates", closer: "a closer look at the best", check: "the check on fresh seeds",
  whyNear: "What comes first is {first}: the best is that of {top}, and {near} candidates are at most {within} points behind it. Of those, this one has {rest}.",
  whyTop: "What comes first is {first}: this one has the best of {count} candidates. Of the {near} that are at most {within} points behind, it has {rest}, too.",
  whyAlone: "What comes first is {first}: this one has the best of {count} candidates, and no other one is sure to be at most {within} points behind it.",
  whyOne: "What comes first is {first}: this one has the best of {count} candidates.",
  luck: "Who is best is told with one standard error taken off, so that luck does not win.",
  bestUp: "the highest {}", bestDown: "the lowest {}", bestSum: "the best sum of {}",
  keep: "Nothing that was tried beats what you gave.",
  minus: "{} (less is better)", times: "{weight} × {name}",
  checked: "The check: on {seeds} fresh seeds, which no choice was made by, compared with {other}:",
  surelyMore: "{name} is {by} points higher ({low} to {high}): surely better", surelyLess: "{name} is {by} points lower ({low} to {high}): surely better",
  worseLess: "{name} is {by} points lower ({low} to {high}): surely worse", worseMore: "{name} is {by} points higher ({low} to {high}): surely worse",
  unsure: "{name} differs by {by} points ({low} to {high}): no sure difference",
  effort: "It took {pictures} pictures. A grid of the same values has {cells} cells, which is {grid} pictures on {first} seeds each.",
  racing: "{dropped} candidates were dropped early, since another one was surely better. The chance that one which nothing beats was dropped is {error} % at most.",
  noCheck: "It was not checked on fresh seeds, so its numbers are a little flattering.",
  pictures: "Pictures of the fresh seeds", pictures0: "Pictures", seeds: "seeds", seedsOf: "{} seeds",
  whole: "Drawn one at a time, from the model that the recipe makes: it gives the same pixels. While the search ran, LoRAs acted beside the model; those pictures may differ in a few values by 1 of 255.",
  beside: "Drawn with the LoRAs beside the model. A file is rounded, so its pictures may differ from these in a few values by 1 of 255.",
  use: "Use it", render: "Draw the first of these pictures again", merge: "Merge it into a model: nothing is written before you do", recipe: "As a recipe (recommended.toml)", base: "It is the checkpoint itself: nothing to merge.",
  steps: "Start and stop steps exist only while rendering; the merged file acts in every step.",
  tokens: "R, U and X in a block list have values only while rendering; put numbers there first.",
  apply: "The recipe makes the checkpoint; the LoRAs act on top of it.",
  chart: "All candidates", chartNote: "Each dot is a candidate, by its means. A dot is on the front when no other one is better in one way without being worse in another. Choose a dot to see its pictures.",
  across: "across", up: "up", order: "in order of trying",
  front: "front", behind: "behind", dropped: "dropped",
  frontCard: "The front", frontNote: "The best trades between the objectives, in the order in which they could be chosen. Pictures with the trigger word, on the same seeds.",
  more: "and {} more on the chart", tableNote: "Means in points of 100, with 95 % intervals for comparing candidates. All were drawn on the same seeds, some on more of them: hard and easy seeds are allowed for.",
  beaten: "surely beaten by no. {}", value: "Values", status: "Place", noPictures: "Its pictures are in the folder.",
};

export function reportView({ data, t, light, redraw, use = null }) {
  const stages = { search: "search", closer: "closer", check: "check" };
  const find = (name) => data.goals.findIndex((goal) => goal.name === name);
  const mean = (candidate, goal) => candidate.values[goal]?.mean ?? null;
  let vertical = Math.max(0, find("likeness"));
  let across = data.goals.length < 2 ? -1 : [find("bleed"), ...data.goals.keys()].find((goal) => goal >= 0 && goal !== vertical);
  let picked = data.recommended;

  const box = lightbox(light);
  const { one, fill, goalName, note, notes, row, strip, table, commands } = judgedOf({ data, t, box });
  const said = (candidate) => (candidate.number === 0 ? t("given") : data.axes.map((axis, i) => `${axis.title} ${candidate.labels[i]}`).join(" · "));
  const called = (candidate) => (candidate.number === 0 ? t("given") : one("candidate", candidate.number));
  const ordered = [...data.candidates].sort((a, b) => (b.number === data.recommended) - (a.number === data.recommended)
    || rank(a) - rank(b) || a.number - b.number);
  function rank(candidate) { const at = data.front.indexOf(candidate.number); return at < 0 ? 1e6 + 1e6 * (candidate.status === "dropped") : at; }

  function chips(candidate) {
    if (candidate.number === 0) return make("div", { className: "chips" }, make("span", { textContent: t("givenLong") }));
    return make("div", { className: "chips" }, ...data.axes.map((axis, i) => make("span", {}, make("small", { textContent: axis.title }), make("b", { textContent: candidate.labels[i] }))));
  }

  const pictures = (sources, caption) => (sources.length ? strip(caption, sources) : note(t("noPictures")));

  function difference(goal, i) {
    const value = data.check.differences[i], name = goalName(goal);
    if (!value) return one("unknown", name);
    if (value.low === null) return fill("tooFew", { name, by: signedPoints(value.mean), seeds: data.check.seeds.length });
    const sure = value.low > 0 || value.high < 0, size = (number) => points(sure ? Math.abs(number) : number);
    const [low, high] = [size(value.low), size(value.high)].sort((a, b) => a - b);
    const by = size(value.mean);
    let key = "unsure";
    if (value.low > 0) key = goal.up ? "surelyMore" : "worseMore";
    if (value.high < 0) key = goal.up ? "worseLess" : "surelyLess";
    return fill(key, { name, by, low, high });
  }

  /* What decides between candidates that are near the best of the first goal; "" where nothing does. */
  function restText() {
    const others = data.goals.slice(1).filter((goal) => goal.weigh > 0);
    if (others.length === 1) return one(others[0].up ? "bestUp" : "bestDown", goalName(others[0]));
    const sum = others.map((goal) => {
      const name = goal.up ? goalName(goal) : one("minus", goalName(goal));
      return goal.weigh === 1 ? name : fill("times", { weight: goal.weigh, name });
    }).join(t("comma"));
    return sum && one("bestSum", sum);
  }

  function whyText(best) {
    const rest = restText(), first = goalName(data.goals[0]), within = points(data.within);
    if (!rest || data.near.length < 2) return fill(rest ? "whyAlone" : "whyOne", { count: data.candidates.length, first, within });
    const facts = { first, near: data.near.length, within, rest };
    if (best.number === data.top) return fill("whyTop", { ...facts, count: data.candidates.length });
    return fill("whyNear", { ...facts, top: data.top === 0 ? t("theGiven") : called(data.candidates[data.top]) });
  }

  function recommendedCard() {
    const best = data.candidates[data.recommended];
    const dropped = data.candidates.filter((candidate) => candidate.status === "dropped").length;
    const reasons = [make("li", { textContent: best.number === 0 ? t("keep") : whyText(best) }), make("li", { textContent: t("luck") })];
    if (data.check) {
      const other = data.candidates[data.check.against];
      reasons.push(make("li", {}, fill("checked", { seeds: data.check.seeds.length, other: other.number === 0 ? t("theGiven") : called(other) }),
        make("ul", {}, ...data.goals.map((goal, i) => make("li", { textContent: difference(goal, i) + t("stop") })))));
    } else if (!data.stage) reasons.push(make("li", { textContent: t("noCheck") }));
    reasons.push(make("li", { textContent: fill("effort", { pictures: data.pictures, cells: data.gridCandidates.toLocaleString("en"), grid: data.gridPictures.toLocaleString("en"), first: data.seeds[0] }) }));
    if (dropped) reasons.push(make("li", { textContent: fill("racing", { dropped, error: number(100 * data.error, 1) }) }));
    const rows = data.check
      ? [[t("recommended"), data.check.pictures], [data.check.against === 0 ? t("given") : called(data.candidates[data.check.against]), data.check.others_pictures]]
      : [[t("recommended"), data.final ? data.final.pictures : best.pictures]];
    return make("section", { className: "card" }, make("h2", { textContent: t("recommended") }), chips(best), make("ul", { className: "reasons" }, ...reasons),
      make("h3", { textContent: t(data.check ? "pictures" : "pictures0") }),
      data.final ? note(t(data.final.whole ? "whole" : "beside")) : null,
      ...rows.map(([name, sources]) => (sources.length ? row(name, sources) : note(t("noPictures")))));
  }

  function useCard() {
    const { render, merge, recipe, notes: notesOfUse } = data.commands;
    return make("section", { className: "card" }, make("h2", { textContent: t("use") }), ...commands([[t("render"), render], [t("merge"), merge], [t("recipe"), recipe]]),
      merge ? null : note(t("base")), ...notesOfUse.map((key) => note(t(key))));
  }

  /* Round numbers between two ends, about `count` of them. */
  function ticks(low, high, count) {
    const raw = (high - low) / count || 1, size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((n) => n * size).find((n) => n >= raw);
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) found.push(rounded(value, 6));
    return found;
  }

  function svg(tag, props, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(props)) key.startsWith("on") ? node.addEventListener(key.slice(2), value) : node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function plot() {
    const narrow = innerWidth < 720, w = narrow ? 350 : 760, h = narrow ? 300 : 380, left = 46, bottom = 40;
    const xOf = (candidate) => (across < 0 ? candidate.number : mean(candidate, across) === null ? null : 100 * mean(candidate, across));
    const shown = data.candidates.filter((candidate) => xOf(candidate) !== null && mean(candidate, vertical) !== null);
    const ends = (values) => { const low = Math.min(...values), high = Math.max(...values), room = 0.06 * (high - low) || 1; return [low - room, high + room]; };
    const [x0, x1] = ends(shown.map(xOf)), [y0, y1] = ends(shown.map((candidate) => 100 * mean(candidate, vertical)));
    const x = (value) => left + (w - left - 12) * (value - x0) / (x1 - x0), y = (value) => 12 + (h - bottom - 12) * (1 - (value - y0) / (y1 - y0));
    const text = (at, label, props) => svg("text", { ...at, ...props }, label);
    const grid = [
      ...ticks(y0, y1, 5).flatMap((value) => [svg("line", { x1: left, x2: w - 12, y1: y(value), y2: y(value) }), text({ x: left - 6, y: y(value) + 4 }, value, { "text-anchor": "end" })]),
      ...ticks(x0, x1, narrow ? 4 : 7).flatMap((value) => [svg("line", { x1: x(value), x2: x(value), y1: 12, y2: h - bottom }), text({ x: x(value), y: h - bottom + 16 }, value, { "text-anchor": "middle" })]),
    ];
    const order = { dropped: 0, behind: 1, front: 2 };
    const dots = [...shown].sort((a, b) => order[a.status] - order[b.status] || (a.number === data.recommended) - (b.number === data.recommended)).map((candidate) => {
      const kinds = [candidate.status, candidate.number === data.recommended ? "best" : "", candidate.number === 0 ? "given" : "", candidate.number === picked ? "picked" : ""];
      const choose = () => { picked = candidate.number; redraw(); };
      const dot = svg("circle", { cx: x(xOf(candidate)), cy: y(100 * mean(candidate, vertical)), r: candidate.number === data.recommended ? 9 : candidate.status === "front" ? 6.5 : 5, class: kinds.join(" "), tabindex: 0, role: "button",
        "aria-label": said(candidate), onclick: choose, onkeydown: (event) => { if (event.key === "Enter") choose(); } });
      dot.append(svg("title", {}, `${called(candidate)}${t("colon")}${said(candidate)}`));
      return dot;
    });
    const name = (goal) => (goal < 0 ? t("order") : data.goals[goal].up ? goalName(data.goals[goal]) : one("minus", goalName(data.goals[goal])));
    return svg("svg", { viewBox: `0 0 ${w} ${h}`, class: "plot", role: "img", "aria-label": t("chart") }, svg("g", { class: "lines" }, ...grid),
      text({ x: w - 12, y: h - 6 }, `${name(across)} →`, { "text-anchor": "end", class: "name" }), text({ x: left + 4, y: 24 }, `↑ ${name(vertical)}`, { class: "name" }), ...dots);
  }

  function chartCard() {
    const choice = (key, now, set) => make("label", {}, t(key), make("select", { onchange: (event) => { set(+event.target.value); redraw(); } },
      ...data.goals.map((goal, i) => make("option", { value: i, textContent: goalName(goal), selected: i === now }))));
    const tools = data.goals.length > 2 ? make("div", { className: "tools" }, choice("up", vertical, (value) => { vertical = value; }), choice("across", across, (value) => { across = value; })) : null;
    const key = (kind, text) => make("span", {}, svg("svg", { viewBox: "0 0 20 20", class: "plot key" }, svg("circle", { cx: 10, cy: 10, r: kind.includes("best") ? 8 : 6, class: kind })), text);
    const chosen = data.candidates[picked];
    return make("section", { className: "card" }, make("div", { className: "head" }, make("h2", { textContent: t("chart") }), tools), make("p", { className: "note", textContent: t("chartNote") }), plot(),
      make("div", { className: "legend" }, key("front best", t("recommended")), key("front", t("front")), key("behind", t("behind")), key("dropped", t("dropped")), key("given", t("given"))),
      chosen ? card(chosen) : null);
  }

  function card(candidate) {
    const place = candidate.status === "dropped" ? one("beaten", candidate.beatenBy) : t(candidate.status);
    const values = data.goals.map((goal, i) => `${goalName(goal)} ${interval(candidate.values[i])}`);
    return make("div", { className: "candidate" }, make("div", { className: "head" }, make("b", { textContent: candidate.number === data.recommended ? `${called(candidate)} · ${t("recommended")}` : called(candidate) }),
      make("span", { className: "note", textContent: [place, one("seedsOf", candidate.seeds)].join(" · ") })), chips(candidate), make("p", { className: "numbers", textContent: values.join(" · ") }), pictures(candidate.pictures, said(candidate)));
  }

  function frontCard() {
    const most = 8, shown = data.front.slice(0, most).map((number) => data.candidates[number]);
    return make("section", { className: "card" }, make("h2", { textContent: t("frontCard") }), make("p", { className: "note", textContent: t("frontNote") }), ...shown.map(card),
      data.front.length > most ? make("p", { className: "note", textContent: one("more", data.front.length - most) }) : null);
  }

  function tableCard() {
    const heads = [t("value"), ...data.goals.map(goalName), t("seeds"), t("status")];
    const place = (candidate) => (candidate.number === data.recommended ? t("recommended") : candidate.status === "dropped" ? one("beaten", candidate.beatenBy) : t(candidate.status));
    const rows = ordered.map((candidate) => [[said(candidate), ...candidate.values.map(interval), candidate.seeds, place(candidate)], candidate.number === data.recommended ? "best" : candidate.status]);
    return table(t("table"), [t("tableNote"), ...notes(data.candidates.map((candidate) => candidate.values))], heads, rows);
  }

  function cards() {
    const live = data.stage ? make("section", { className: "card" }, make("p", { className: "live", textContent: one("running", t(stages[data.stage])) })) : null;
    if (data.recommended === null) return [live].filter(Boolean);
    return [live, recommendedCard(), data.commands && !data.stage ? (use ?? useCard)() : null, chartCard(), frontCard(), tableCard()].filter(Boolean);
  }

  let wasNarrow = innerWidth < 720;
  const fit = () => { const narrow = innerWidth < 720; if (narrow !== wasNarrow) { wasNarrow = narrow; redraw(); } };
  const title = () => t("title");
  const summary = () => `${data.prompt} · ${data.axes.map((axis) => axis.title).join(t("comma"))}`;
  return { cards, closeLight: box.close, fit, summary, title };
}
