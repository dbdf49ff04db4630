/* One LoRA on many bases: pictures side by side, a table, and what to type for each base.

   reportView({data, t, light, use(base) → what to do with it}) → {cards(), title(), summary(), closeLight()} */
import { fixed, interval, lightbox, make } from "./elements.js";
import { JUDGED_WORDS, judgedOf } from "./judged.js";

export const WORDS = {
  ...JUDGED_WORDS,
  titleOf: "{} on every base",
  side: "Side by side", sideNote: "The same prompt and seed on every base, with the values that a search found best there. No choice was made by this seed.",
  found: "found", given: "as given", givenLong: "as given: nothing that was tried beats it",
  tableNote: "Means in points of 100 on fresh seeds, with 95 % intervals.",
  base: "base", values: "values", shared: "shared", sharedNote: "how alike this base and the LoRA's own treat what it reads and writes; 1 is its own base",
  pictures: "pictures", time: "time", minutes: "{} min", seconds: "{} s", leftCard: "Left out",
  grid: "{} (a grid of the same values: {})",
  moved: "The blocks of this base are others: the LoRA was carried over, and stands in the search's folder.",
  whole: "The pictures are drawn one at a time, from the models that the recipes make: a recipe gives the same pixels.",
  beside: "The pictures of this base are drawn with the LoRA beside the model. A file is rounded, so its pictures may differ from these in a few values by 1 of 255.",
  search: "the whole search", render: "Draw its picture again", merge: "Merge it into this base: nothing is written before you do", recipe: "As a recipe",
  steps: "Start and stop steps exist only while rendering; the merged file acts in every step.",
  tokens: "R, U and X in a block list have values only while rendering; put numbers there first.",
  apply: "The recipe makes the checkpoint; the LoRAs act on top of it.", nothing: "It is the base itself: nothing to merge.",
};

export function reportView({ data, t, light, use = null }) {
  const used = data.bases.filter((base) => !base.left_out), left = data.bases.filter((base) => base.left_out);
  const box = lightbox(light);
  const { one, goalName, note, notes, table, commands } = judgedOf({ data, t, box });
  const title = () => one("titleOf", data.lora), summary = () => data.prompt;

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
    return make("section", { className: "card" }, make("h2", { textContent: t("side") }), note(t("sideNote")), used.every((base) => base.whole) ? note(t("whole")) : null,
      make("div", { className: "bases" }, ...shown));
  }

  function tableCard() {
    const shared = used.some((base) => base.shared !== null);
    const heads = [t("base"), t("values"), ...data.goals.map(goalName), ...(shared ? [t("shared")] : []), t("pictures"), t("time")];
    const rows = used.map((base) => [base.name, chosen(base), ...base.means.map(interval), ...(shared ? [base.shared === null ? "—" : fixed(base.shared, 3)] : []),
      one("grid", base.pictures, base.grid_pictures.toLocaleString("en")), time(base.seconds)]);
    const meanings = notes(used.map((base) => base.means));
    if (shared) meanings.push(`${t("shared")}${t("colon")}${t("sharedNote")}`);
    return table(t("table"), [t("tableNote"), ...meanings], heads, rows.map((cells) => [cells]));
  }

  function useCard(base) {
    return make("section", { className: "card" }, make("div", { className: "head" }, make("h2", { textContent: base.name }), make("a", { href: base.page, target: "_blank", rel: "noopener", textContent: t("search") })),
      make("p", { className: "numbers", textContent: chosen(base) }), base.moved ? note(t("moved")) : null, base.whole ? null : note(t("beside")),
      ...(use ? [use(base)] : commands([[t("render"), base.render], [t("merge"), base.merge], [t("recipe"), base.recipe]])), base.merge ? null : note(t("nothing")),
      ...base.notes.map((key) => note(t(key))));
  }

  function leftCard() {
    return make("section", { className: "card" }, make("h2", { textContent: t("leftCard") }), make("ul", { className: "reasons" }, ...left.map((base) => make("li", { textContent: `${base.name}${t("colon")}${base.left_out}` }))));
  }

  const cards = () => [used.length ? sideCard() : null, used.length ? tableCard() : null, ...used.map(useCard), left.length ? leftCard() : null].filter(Boolean);
  return { cards, closeLight: box.close, summary, title };
}
