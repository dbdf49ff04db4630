/* One LoRA on many bases: pictures side by side, a table, and what to type for each base.

   reportView({data, t, light, use(base) → what to do with it}) → {cards(), title(), summary(), closeLight()} */
import { copyable, interval, lightbox, make } from "./elements.js";

export const WORDS = {
  titleOf: "{} on every base", dark: "Dark", light: "Light", copy: "Copy", copied: "Copied", close: "Close", colon: ": ",
  likeness: "likeness", bleed: "bleed", prompt: "prompt", diversity: "diversity",
  likenessNote: "how much the person in the picture is the one meant", bleedNote: "how much other people change, seen without the trigger word",
  promptNote: "how much of the prompt the picture shows", diversityNote: "how different the pictures of different seeds are",
  side: "Side by side", sideNote: "The same prompt and seed on every base, with the values that a search found best there. No choice was made by this seed.",
  found: "found", given: "as given", givenLong: "as given: nothing that was tried beats it",
  table: "Numbers", tableNote: "Means in points of 100 on fresh seeds, with 95 % intervals.",
  base: "base", values: "values", shared: "shared", sharedNote: "how alike this base and the LoRA's own treat what it reads and writes; 1 is its own base",
  pictures: "pictures", time: "time", minutes: "{} min", seconds: "{} s", leftCard: "Left out",
  grid: "{} (a grid of the same values: {})",
  moved: "The blocks of this base are others: the LoRA was carried over, and stands in the search's folder.",
  search: "the whole search", render: "Render with it", merge: "Merge it into this base: nothing is written before you do", recipe: "As a recipe",
  steps: "Start and stop steps exist only while rendering; the merged file acts in every step.",
  tokens: "R, U and X in a block list have values only while rendering; put numbers there first.",
  apply: "The recipe makes the checkpoint; the LoRAs act on top of it.", nothing: "It is the base itself: nothing to merge.",
};

export function reportView({ data, t, light, use = null }) {
  const meanings = { likeness: "likenessNote", bleed: "bleedNote", prompt: "promptNote", diversity: "diversityNote" }, known = ["likeness", "bleed", "prompt", "diversity"];
  const goalName = (goal) => (known.includes(goal.name) ? t(goal.name) : goal.name);
  const one = (key, ...values) => values.reduce((text, value) => text.replace("{}", () => value), t(key));
  const used = data.bases.filter((base) => !base.left_out), left = data.bases.filter((base) => base.left_out);
  const title = () => one("titleOf", data.lora), summary = () => data.prompt;
  const box = lightbox(light);

  function chosen(base) {
    if (base.asGiven) return t("givenLong");
    return Object.entries(base.values).map(([axis, value]) => `${axis} ${value}`).join(" · ");
  }

  function time(seconds) {
    return seconds < 90 ? one("seconds", Math.round(seconds)) : one("minutes", Math.round(seconds / 60));
  }

  function image(src, base, caption) {
    if (!src) return null;
    const open = () => box.open(src, `${base.name}${t("colon")}${caption}`, base);
    return make("figure", {}, make("img", { src, alt: `${base.name}, ${caption}`, width: base.width, height: base.height, loading: "lazy", tabIndex: 0, onclick: open,
      onkeydown: (event) => { if (event.key === "Enter") open(); } }), make("figcaption", { className: "note", textContent: caption }));
  }

  function sideCard() {
    const shown = used.map((base) => {
      const likeness = base.means[data.goals.findIndex((goal) => goal.name === "likeness")];
      return make("div", { className: "onbase" }, make("b", { textContent: base.name }), likeness ? make("div", { className: "note", textContent: `${t("likeness")} ${interval(likeness)}` }) : null,
        make("div", { className: "two" }, image(base.picture, base, t("found")), image(base.given, base, t("given"))));
    });
    return make("section", { className: "card" }, make("h2", { textContent: t("side") }), make("p", { className: "note", textContent: t("sideNote") }), make("div", { className: "bases" }, ...shown));
  }

  function tableCard() {
    const shared = used.some((base) => base.shared !== null);
    const heads = [t("base"), t("values"), ...data.goals.map(goalName), ...(shared ? [t("shared")] : []), t("pictures"), t("time")];
    const rows = used.map((base) => [base.name, chosen(base), ...base.means.map(interval), ...(shared ? [base.shared === null ? "—" : base.shared.toFixed(3)] : []),
      one("grid", base.pictures, base.grid_pictures.toLocaleString("en")), time(base.seconds)]);
    const notes = data.goals.filter((goal) => known.includes(goal.name)).map((goal) => `${goalName(goal)}${t("colon")}${t(meanings[goal.name])}`);
    if (shared) notes.push(`${t("shared")}${t("colon")}${t("sharedNote")}`);
    return make("section", { className: "card" }, make("h2", { textContent: t("table") }), make("p", { className: "note", textContent: t("tableNote") }),
      ...notes.map((text) => make("p", { className: "note", textContent: text })),
      make("div", { className: "wide" }, make("table", { className: "candidates" }, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { textContent: text })))),
        make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text, i) => make("td", { "data-name": heads[i], textContent: text }))))))));
  }

  function useCard(base) {
    const part = (key, text) => (text ? [make("p", { className: "note", style: "margin:12px 0 4px", textContent: t(key) }), copyable(text)] : []);
    return make("section", { className: "card" }, make("div", { className: "head" }, make("h2", { textContent: base.name }), make("a", { href: base.page, target: "_blank", rel: "noopener", textContent: t("search") })),
      make("p", { className: "numbers", textContent: chosen(base) }), base.moved ? make("p", { className: "note", textContent: t("moved") }) : null,
      ...(use ? [use(base)] : [...part("render", base.render), ...part("merge", base.merge), ...part("recipe", base.recipe)]), base.merge ? null : make("p", { className: "note", textContent: t("nothing") }),
      ...base.notes.map((key) => make("p", { className: "note", textContent: t(key) })));
  }

  function leftCard() {
    return make("section", { className: "card" }, make("h2", { textContent: t("leftCard") }), make("ul", { className: "reasons" }, ...left.map((base) => make("li", { textContent: `${base.name}${t("colon")}${base.left_out}` }))));
  }

  const cards = () => [used.length ? sideCard() : null, used.length ? tableCard() : null, ...used.map(useCard), left.length ? leftCard() : null].filter(Boolean);
  return { cards, closeLight: box.close, summary, title };
}
