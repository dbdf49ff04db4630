/* What a search may change, by ticks: the strength of each LoRA, its text encoders, parts of its blocks.

   sweepsForm({value: {name: values}, more, base: () => name, loras: () => [lora], onchange(value, more)})
       → {node, refresh(), lines()}: a tick and its values for each; lines() are axes as the request takes them.
       more: other axes, one a line */
import { post } from "./api.js";
import { label } from "./state.js";
import { areaInput, debounce, field, fold, note, textInput } from "./parts.js";
import { t } from "./words.js";
import { make } from "./study/elements.js";

export function sweepsForm({ value = null, more = "", base, loras, onchange }) {
  let found = [], kept = value, others = more, asked = "";
  const rows = make("div", { className: "sweeps" });
  const text = areaInput(others, (words) => { others = words; onchange?.(kept, others); }, { placeholder: "cfg = 4, 6, 8" });
  const node = make("div", {}, rows, fold(t("sweeps.more"), field({ name: "sweep-more", label: t("sweeps.lines"), input: text, help: t("sweeps.lines_help"), wide: true })));
  node.dataset.field = "sweep";
  const on = (one) => (kept ? kept[one.name] !== undefined : one.part === "strength" || one.part === "blocks");
  const values = (one) => kept?.[one.name] ?? one.values;

  function words(one) {
    const name = label(one.lora), several = new Set(found.map((sweep) => sweep.lora)).size > 1 ? `${name} · ` : "";
    return several + (one.part === "strength" ? t("sweeps.strength") : one.part === "te" ? t("sweeps.te") : t("sweeps.blocks", one.blocks));
  }

  function keep(change) {
    kept = Object.fromEntries(found.filter(on).map((one) => [one.name, values(one)]));
    change(kept);
    onchange?.(kept, others);
  }

  function draw() {
    rows.replaceChildren(...(found.length ? found.map((one) => {
      const box = textInput(values(one), (given) => keep((all) => { all[one.name] = given; }), { "aria-label": t("sweeps.values", words(one)) });
      const tick = make("input", { type: "checkbox", checked: on(one), onchange: () => { keep((all) => { if (tick.checked) all[one.name] = box.value; else delete all[one.name]; }); box.hidden = !tick.checked; } });
      box.hidden = !tick.checked;
      return make("div", { className: "sweep" }, make("label", { className: "flag" }, tick, words(one)), box);
    }) : [note(t("sweeps.empty"))]));
  }

  /* The LoRA's parts are asked for again when the files are others. */
  const ask = debounce(150, async () => {
    const names = loras().filter((lora) => lora.file).map((lora) => lora.file), wanted = JSON.stringify([base(), names]);
    if (wanted === asked) return;
    asked = wanted;
    if (!base() || !names.length) { found = []; draw(); return; }
    try { found = await post("sweeps", { checkpoint: base(), loras: names }); } catch (error) { found = []; rows.replaceChildren(note([error.what, error.fix].filter(Boolean).join(" "))); return; }
    if (kept && !found.some((one) => one.name in kept)) kept = null;  // of files that are no longer chosen
    draw();
    onchange?.(kept, others);
  });

  /* Beside the text encoders' own strength, that of the rest is a strength of its own. */
  function lines() {
    const alone = new Set(found.filter((one) => one.part === "te" && on(one)).map((one) => one.lora));
    const axes = found.filter(on).map((one) => `${one.part === "strength" && alone.has(one.lora) ? one.name.replace(/ strength$/, " unet") : one.name} = ${values(one)}`);
    return [...axes, ...others.split("\n").map((line) => line.trim()).filter(Boolean)];
  }

  draw();
  ask();
  return { node, refresh: ask, lines };
}
