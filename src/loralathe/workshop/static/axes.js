/* Axes of a grid, each by menu.

   axesForm({value: [{name, values}], loras: () => [lora], onchange([axis])}) → Promise of
       {node, set(axes), refresh(), options()}; options() is {x, y, z} as the request takes them */
import { get } from "./api.js";
import { fieldsOf } from "./form.js";
import { label as nameOf } from "./state.js";
import { language, studyWords, t } from "./words.js";
import { button, field, textInput } from "./parts.js";
import { make } from "./study/elements.js";

const STRENGTHS = ["0", "0.3", "0.5", "0.7", "0.9", "1"];
const OF_LORA = ["strength", "te", "unet", "blocks", "elements"];
const LORA_AXIS = new RegExp(`^(.+) (${OF_LORA.join("|")})$`);
const split = (text) => (text.match(/'[^']*'|[^,]+/g) ?? []).map((part) => part.trim()).filter(Boolean);

/* The kinds of axes as the program lists them, without those that name the example's LoRA. */
async function kindsOf() {
  const examples = await get("axes");
  const plain = examples.filter(({ name }) => !/^hina\b/.test(name) && name !== "M");
  return plain.map(({ name, example, hint }) => ({ name, hint, example: example.slice(example.indexOf("=") + 1).trim() }));
}

const inPersonsWords = (name) => {
  const key = name === "values" ? "axes.values_" : `axes.${name.replaceAll(/[^a-z]+/g, "_")}`, text = t(key);
  return text === key ? (language === "zh-TW" ? studyWords.grid?.names?.[name] : null) ?? name : text;
};

export async function axesForm({ value, loras, onchange }) {
  const [kinds, fields] = await Promise.all([kindsOf(), fieldsOf("grid")]);
  const choices = (name) => fields.find((option) => option.name === name)?.choices ?? [];
  const axes = ["x", "y", "z"].map((_, i) => ({ name: "", values: "", ...(value?.[i] ?? {}) }));
  const places = axes.map(() => make("div", { className: "axis" }));
  const node = make("div", { className: "axes" }, ...places);
  const tell = () => onchange?.(axes.map((axis) => ({ ...axis })));

  function menu(axis) {
    const names = loras().filter((lora) => lora.file).map((lora) => nameOf(lora.file));
    const of = (name, part) => make("option", { value: `${name} ${part}`, textContent: `${name} · ${t("axes." + part)}` });
    const known = [...names.flatMap((name) => OF_LORA.map((part) => `${name} ${part}`)), ...kinds.map((kind) => kind.name), ""];
    const select = make("select", {}, make("option", { value: "", textContent: t("axes.nothing") }),
      ...(names.length ? [make("optgroup", { label: t("axes.of_loras") }, ...names.flatMap((name) => OF_LORA.map((part) => of(name, part))))] : []),
      make("optgroup", { label: t("axes.others") }, ...kinds.map((kind) => make("option", { value: kind.name, textContent: inPersonsWords(kind.name) }))),
      ...(known.includes(axis.name) ? [] : [make("option", { value: axis.name, textContent: axis.name })]));
    select.value = axis.name;
    return select;
  }

  const start = (name) => (name.endsWith(" strength") ? STRENGTHS.join(", ") : OF_LORA.some((part) => name.endsWith(" " + part)) ? ({ te: "0, 1", unet: "0, 0.5, 1", blocks: "ALL, OUTALL, INALL", elements: "" })[name.split(" ").pop()]
    : ["sampler", "schedule"].includes(name) ? choices(name).slice(0, 3).join(", ") : /^(seed|steps|cfg|clip skip|values)$/.test(name) ? kinds.find((kind) => kind.name === name)?.example ?? "" : "");

  /* Values that are often taken, to click; the text beside them is what counts. */
  function usual(axis, box) {
    const offered = axis.name.endsWith(" strength") ? STRENGTHS : ["sampler", "schedule"].includes(axis.name) ? choices(axis.name) : [];
    if (!offered.length) return null;
    const row = make("div", { className: "chips", role: "group", "aria-label": t("axes.usual") });
    const draw = () => {
      const given = split(box.value);
      row.replaceChildren(...offered.map((value) => {
        const chip = button(value, () => {
          const now = split(box.value), at = now.indexOf(value);
          if (at >= 0) now.splice(at, 1); else now.push(value);
          if (now.every((one) => one !== "" && !isNaN(one))) now.sort((a, b) => a - b);
          box.value = axis.values = now.join(", ");
          tell();
          draw();
          row.children[offered.indexOf(value)].focus();
        }, { kind: "chip" });
        chip.setAttribute("aria-pressed", String(given.includes(value)));
        return chip;
      }));
    };
    box.addEventListener("input", draw);
    draw();
    return row;
  }

  function draw(i) {
    const axis = axes[i], letter = "XYZ"[i], kind = kinds.find((one) => one.name === axis.name);
    const select = menu(axis);
    select.onchange = () => { axis.name = select.value; axis.values = start(select.value); draw(i); places[i].querySelector("select").focus(); tell(); };
    const first = field({ name: letter.toLowerCase(), label: t("axes.type", letter), input: select });
    if (!axis.name) { places[i].replaceChildren(first); return; }
    const box = textInput(axis.values, (text) => { axis.values = text; tell(); }, { placeholder: kind?.example ?? "" });
    const second = field({ name: letter.toLowerCase() + "-values", label: t("axes.values", letter), input: box, help: kind?.hint ?? "" });
    const chips = usual(axis, box);
    places[i].replaceChildren(first, second, ...(chips ? [chips] : []));
  }

  /* An axis of a LoRA that is no longer chosen goes over to the one that took its place: else pictures would hold both. */
  function refresh() {
    const names = loras().filter((lora) => lora.file).map((lora) => nameOf(lora.file)), ofLora = (axis) => (kinds.some((kind) => kind.name === axis.name) ? null : LORA_AXIS.exec(axis.name));
    let some = false;
    for (const axis of axes) {
      const [, name, part] = ofLora(axis) ?? [];
      if (!name || names.includes(name)) continue;
      const next = names.find((one) => !axes.some((other) => ofLora(other)?.[1] === one)) ?? names[0];
      Object.assign(axis, next ? { name: `${next} ${part}` } : { name: "", values: "" });
      some = true;
    }
    axes.forEach((_, i) => draw(i));
    return some;
  }
  refresh();
  return {
    node, refresh: () => { if (refresh()) tell(); },
    set(next) { axes.forEach((axis, i) => Object.assign(axis, { name: "", values: "" }, next[i] ?? {})); refresh(); tell(); },
    get: () => axes.map((axis) => ({ ...axis })),
    options: () => Object.fromEntries(axes.flatMap((axis, i) => (axis.name ? [["xyz"[i], `${axis.name} = ${axis.values}`]] : []))),
  };
}

export const strengthsOf = (lora) => ({ name: `${nameOf(lora.file)} strength`, values: STRENGTHS.join(", ") });
