/* Choosing files of the person's folders.

   filePicker({kind: "checkpoint" | "lora" | "vae", value, onchange(name), base: () => name, label, none})
       → {node, set(name)}: a button with the file's name that opens a list with search and family filter;
       what does not fit `base` is grey, with the reason. none: the text of the choice "no file".
   loraRows({value: [lora], onchange([lora]), base: () => name, ontrigger(word), strengths})
       → {node, set([lora])}: rows of LoRAs as in state.js, with strength, text encoder, U-Net, block list, elements
   filesPicker({kind, value: [names], onchange([names]), base, label}) → {node, values()}: several files
   fileInfo(name) → Promise of GET file, remembered until the library changes
   blank(name)             what stands where a file has no picture
   showFound(found, {said, families, more, offset}): what an answer of GET library says of the whole */
import { get, query, subscribe } from "./api.js";
import { label as nameOf, newLora } from "./state.js";
import { showSize, t } from "./words.js";
import { button, choiceInput, debounce, dialog, field, fold, newId, note, numberInput, rangeInput, textInput } from "./parts.js";
import { make } from "./study/elements.js";

const PAGE = 60;
const known = new Map();

export function fileInfo(name) {
  if (!known.size) subscribe("library", () => known.clear());
  if (!known.has(name)) {
    const asked = get("file" + query({ name }));
    known.set(name, asked);
    asked.catch(() => known.delete(name));
  }
  return known.get(name);
}

export function filePicker({ kind, value = "", onchange, base = () => "", label, none = "" }) {
  let chosen = value;
  const opener = make("button", { type: "button", className: "picker", onclick: open });
  opener.setAttribute("aria-haspopup", "dialog");
  const show = () => {
    const place = chosen.includes("/") ? chosen.slice(0, chosen.lastIndexOf("/")) : "";
    const empty = none || t("shell.choose_" + kind);
    opener.replaceChildren(make("span", { className: chosen ? "name" : "name empty", textContent: chosen ? nameOf(chosen) : empty }),
      chosen ? make("small", { textContent: place }) : null ?? "");
    opener.title = chosen;
    opener.classList.toggle("wanted", !chosen && !none);
  };
  const set = (name) => { chosen = name; show(); };
  async function open() {
    const name = await chooseFile({ kind, chosen, base: base(), title: label ?? t("shell.choose_" + kind), none });
    if (name === null || name === chosen) return;
    set(name);
    onchange?.(name);
    opener.dispatchEvent(new Event("input", { bubbles: true }));
    opener.focus();
  }
  show();
  return { node: opener, set };
}

/* Several files, each with a button that takes it away. */
export function filesPicker({ kind, value = [], onchange, base = () => "", label }) {
  let chosen = [...value];
  const list = make("ul", { className: "chosen" });
  const tell = () => { draw(); onchange?.([...chosen]); node.dispatchEvent(new Event("input", { bubbles: true })); };
  const add = button(t("shell.choose_several"), async () => {
    const found = await chooseFile({ kind, chosen: "", many: chosen, base: base(), title: label ?? t("shell.choose_" + kind), none: "" });
    if (found) { chosen = found; tell(); }
  }, { kind: "picker-more" });
  const node = make("div", { className: "files-picker", role: "group" }, list, add);
  function draw() {
    list.replaceChildren(...chosen.map((name) => make("li", {}, make("span", { textContent: nameOf(name), title: name }),
      button("×", () => { chosen = chosen.filter((one) => one !== name); tell(); }, { kind: "small", label: t("shell.remove_lora", nameOf(name)) }))));
    add.classList.toggle("picker", !chosen.length);
    add.classList.toggle("wanted", !chosen.length);
  }
  draw();
  return { node, values: () => [...chosen] };
}

/* The list as a window; gives the name that was chosen, or null. many: names that are chosen already; it gives names. */
function chooseFile({ kind, chosen, base, title, none, many = null }) {
  return new Promise((answer) => {
    let picked = null, offset = 0, turn = 0;
    const several = many && new Set(many);
    const asked = { search: "", family: "" };
    const search = textInput("", debounce(120, (text) => { asked.search = text; load(true); }), { type: "search", placeholder: t("shell.search") });
    search.setAttribute("aria-label", t("shell.search"));
    const families = choiceInput("", (value) => { asked.family = value; load(true); }, [["", t("shell.all_families")]]);
    families.setAttribute("aria-label", t("shell.family"));
    const list = make("ul", { className: "files" });
    const state = make("p", { className: "note", role: "status" });
    const more = button(t("shell.more"), () => load(false));
    const done = several ? make("div", { className: "row end" }, button(t("shell.take_chosen"), () => { picked = [...several]; window.close(); }, { kind: "main" })) : "";
    const window = dialog(title, make("div", { className: "row" }, search, families), state, list, more, done);
    window.box.classList.add("choose");
    const take = (name, box) => {
      if (!several) { picked = name; window.close(); return; }
      if (!several.delete(name)) several.add(name);
      box.setAttribute("aria-pressed", String(several.has(name)));
    };
    const stop = subscribe("library", () => load(true));
    window.box.addEventListener("close", () => { stop(); answer(picked); });
    search.focus();

    async function load(again) {
      const mine = ++turn;
      if (again) offset = 0;
      let found;
      try { found = await get("library" + query({ kind, ...asked, base, offset, limit: PAGE })); }
      catch (error) { state.textContent = [error.what, error.fix].filter(Boolean).join(" "); return; }
      if (mine !== turn) return;
      if (again) list.replaceChildren(...(none && !asked.search ? [line(take, { name: "", label: none, fits: null, state: "ready" }, chosen)] : []));
      list.append(...found.files.map((file) => line(take, file, chosen, several)));
      offset += found.files.length;
      showFound(found, { said: state, families, more, offset });
    }
    load(true);
  });
}

/* What a part of the library says of the whole: how many files, whether there are more, their families. */
export function showFound(found, { said, families, more, offset }) {
  more.hidden = offset >= found.total;
  said.textContent = found.total ? t("shell.files_found", found.total) + (found.reading ? " · " + t("shell.files_reading", found.reading) : "") : t("shell.no_files") + " " + t("shell.no_files_fix");
  const before = families.value;
  families.replaceChildren(...[["", t("shell.all_families")], ...found.families].map(([id, text]) => make("option", { value: id, textContent: text })));
  families.value = before;
}

/* In place of a picture: the first letter. */
export const blank = (name) => make("span", { className: "blank", textContent: name.slice(0, 1), "aria-hidden": "true" });

function line(take, file, chosen, several = null) {
  const unfit = file.fits === false || file.state === "broken";
  const about = [file.family_label, file.rank ? t("shell.rank", file.rank) : "", file.size ? showSize(file.size) : "", file.made ? t("shell.made_here") : ""];
  const words = make("span", { className: "words" }, make("b", { textContent: file.label || nameOf(file.name) }), make("small", { textContent: about.filter(Boolean).join(" · ") }),
    file.triggers?.length ? make("small", { textContent: file.triggers.join(", ") }) : null, file.reason ? make("small", { className: "reason", textContent: file.reason }) : null);
  const box = make("button", { type: "button", className: "file" + (unfit ? " unfit" : ""), title: file.name, onclick: (event) => { if (!unfit) take(file.name, event.currentTarget); } },
    file.thumbnail ? make("img", { src: file.thumbnail, alt: "", loading: "lazy", width: 44, height: 44 }) : blank(file.label || nameOf(file.name)), words);
  if (unfit) box.setAttribute("aria-disabled", "true");
  if (several) box.setAttribute("aria-pressed", String(several.has(file.name)));
  if (file.name === chosen) box.setAttribute("aria-current", "true");
  return make("li", {}, box);
}

export function loraRows({ value = [], onchange, base = () => "", ontrigger = null, strengths = true }) {
  let loras = value.map((lora) => ({ ...lora }));
  const rows = make("div", { className: "loras" });
  const tell = () => onchange?.(loras.map((lora) => ({ ...lora })));
  const add = button(t("shell.add_lora"), async () => {
    const name = await chooseFile({ kind: "lora", chosen: "", base: base(), title: t("shell.choose_lora"), none: "" });
    if (name) { loras.push(newLora(name)); draw(); tell(); }
  });
  const node = make("div", { className: "lora-list" }, rows, add);
  node.dataset.field = "adapters";

  function draw() { rows.replaceChildren(...loras.map((lora, i) => loraRow(lora, i))); }

  function loraRow(lora, i) {
    const change = (some) => { Object.assign(lora, some); tell(); };
    const picker = filePicker({ kind: "lora", value: lora.file, base, onchange: (file) => { change({ file }); draw(); } });
    picker.node.setAttribute("aria-label", `LoRA ${i + 1}: ${nameOf(lora.file)}`);
    const strength = rangeInput({ value: lora.strength, min: 0, max: 1.5, step: 0.05, label: t("shell.strength_of", nameOf(lora.file)), onchange: (number) => change({ strength: number }) });
    const remove = button("×", () => { loras.splice(i, 1); draw(); tell(); }, { kind: "small", label: t("shell.remove_lora", nameOf(lora.file)) });
    const triggers = make("div", { className: "triggers" });
    if (ontrigger) showTriggers(triggers, lora.file, ontrigger);
    return make("div", { className: "lora" }, make("div", { className: "head" }, picker.node, remove), strengths ? strength.node : null, triggers, details(lora, change));
  }

  draw();
  return { node, set: (next) => { loras = next.map((lora) => ({ ...lora })); draw(); } };
}

async function showTriggers(box, file, ontrigger) {
  try {
    const { triggers = [] } = await fileInfo(file);
    if (triggers.length) box.replaceChildren(make("small", { textContent: t("shell.triggers") }), ...triggers.slice(0, 8).map((word) => button(word, () => ontrigger(word), { kind: "small", label: t("shell.add_trigger", word) })));
  } catch { box.replaceChildren(note(t("shell.file_gone"))); }
}

/* What is used rarely, folded: as LBW and the prompt's tag call them. */
function details(lora, change) {
  const list = make("datalist", { id: newId("presets") });
  get("presets").then(({ lists, builtin }) => list.append(...Object.keys({ ...builtin, ...lists }).map((name) => make("option", { value: name })))).catch(() => list.replaceChildren());
  const blocks = textInput(lora.blocks, (blocks) => change({ blocks: blocks.trim() }), { placeholder: "1,0,0,0.3,…" });
  blocks.setAttribute("list", list.id);
  const part = (key) => numberInput(lora[key], (value) => change({ [key]: value }), { step: 0.05, placeholder: t("shell.as_strength") });
  const folded = fold(t("shell.lora_details"), make("div", { className: "fields" },
    field({ name: "lbw", label: t("shell.lbw"), input: blocks, help: t("shell.lbw_help"), wide: true }), list,
    field({ name: "te", label: t("shell.te"), input: part("te") }), field({ name: "unet", label: t("shell.unet"), input: part("unet") }),
    field({ name: "lbwe", label: t("shell.lbwe"), input: textInput(lora.elements, (elements) => change({ elements: elements.trim() }), { placeholder: "IN05-OUT05:attn:0" }), wide: true })));
  folded.open = Boolean(lora.blocks || lora.te !== null || lora.unet !== null || lora.elements);
  return folded;
}
