/* What the program knows of a file, and where one goes on from there.

   fileDetails(found, app, done)   details of GET file or POST look, with buttons to go on
   showFile(name, app)                 the same in a window
   goOn(file, app, done)               the buttons alone, by its kind */
import { get, query } from "./api.js";
import { errorBox } from "./job.js";
import { button, dialog, fold, row } from "./parts.js";
import { label, newLora } from "./state.js";
import { showSize, t } from "./words.js";
import { copyable, facts, make } from "./study/elements.js";

export function goOn({ name, kind, is }, app, done = () => null) {
  const { state } = app;
  kind ??= is;
  const act = (text, change, page) => button(t("details." + text), () => { done(); change(); app.go(page); }, { kind: "small" });
  if (kind === "checkpoint") return [
    act("as_base", () => state.set({ base: name }), "test"),
    act("as_second", () => state.set({ second: name }), "carry"),
    act("extract", () => state.set({ merged: name }), "extract"),
    act("prove", () => state.set({ base: name, loras: [] }), "proof")];
  if (kind === "lora") return [
    act("add_lora", () => { if (!state.get().loras.some((lora) => lora.file === name)) state.set({ loras: [...state.get().loras, newLora(name)] }); }, "test"),
    act("merge_lora", () => state.set({ loras: [newLora(name)] }), "merge"),
    act("carry", () => state.set({ extracted: name }), "carry")];
  return [];
}

const table = (heads, lines) => make("table", { className: "parts" }, make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", textContent: text })))),
  make("tbody", {}, ...lines.map((line) => make("tr", {}, ...line.map((text) => make("td", { textContent: text }))))));

export function fileDetails(found, app, done) {
  const of = (key, one) => (one ? [[t("details." + key), one]] : []);
  const rows = found.rows?.length ? found.rows : [...of("family", found.family_label), ...of("size", found.size && showSize(found.size)), ...of("rank", found.rank && String(found.rank)), ...of("triggers", found.triggers?.join(", ")), ...of("resolution", found.resolution)];
  const tags = (found.tags ?? []).slice(0, 40);
  const parts = (found.parts ?? []).map(([name, tensors, values, size]) => [name, tensors, Number(values).toLocaleString(), showSize(size)]);
  return make("div", { className: "details" },
    found.thumbnail ? make("img", { className: "thumb", src: found.thumbnail, alt: "" }) : null,
    found.name ? row(...goOn(found, app, done)) : null,
    facts(rows.map(([key, value]) => [key, String(value)])),
    tags.length ? fold(t("details.tags"), make("p", { className: "tags" }, ...tags.map(([tag, count]) => make("span", {}, tag, make("small", { textContent: count }))))) : null,
    parts.length ? fold(t("details.parts"), table(["part", "tensors", "values", "size"].map((name) => t("details." + name)), parts)) : null,
    Object.keys(found.metadata ?? {}).length ? fold(t("details.metadata"), facts(Object.entries(found.metadata).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]))) : null,
    found.recipe ? fold(t("shell.recipe"), copyable(found.recipe)) : null);
}

export async function showFile(name, app) {
  const place = make("div", { "aria-live": "polite", textContent: t("details.reading") });
  const window = dialog(label(name), place);
  window.box.classList.add("file-window");
  try {
    const found = await get("file" + query({ name }));
    place.replaceChildren(fileDetails(found, app, window.close));
  } catch (error) { place.replaceChildren(errorBox(error)); }
}

