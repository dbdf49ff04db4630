/* Small parts of forms. Others: files.js (file picker, LoRA rows), form.js (forms of a command's options,
   what a command is about to do), job.js (jobs).

   button(text, onclick, {kind: "main" | "small" | "danger" | "", label})
   field({name, label, input, help, wide})   a labelled input; errors of option `name` appear under it
   textInput, areaInput, numberInput, choiceInput, flagInput (value, onchange, props) → input
   rangeInput({value, min, max, step, onchange}) → {node, set(value)}: a slider and a number, tied together
   chips({label, values, on, onchange})      values to switch on and off → {node, values()}
   section(title, …children), fold(summary, …children), row(…children), note(text), notes([text])
   refuse(root, error)      an error beside its field (by error.field) or on top of root;  accept(root) ends it
   hint(root, error)        the same while one writes: no focus moves, and nothing is said on top of root
   nothingChosen(form)      what is missing, as an error beside the first file that is not chosen; null if none is
   spoken(error)            [what, where, how to mend it]; where only if that is not its field
   question({title, text, yes, danger}) → Promise<boolean>
   dialog(title, …children) → {box, close()}: a modal window; Escape closes it
   debounce(wait, act) → function */
import { t } from "./words.js";
import { make } from "./study/elements.js";

let counter = 0;
export const newId = (name = "part") => `${name}-${++counter}`;

export function button(text, onclick, { kind = "", label } = {}) {
  const node = make("button", { type: "button", className: kind, textContent: text, onclick });
  if (label) { node.setAttribute("aria-label", label); node.title = label; }
  return node;
}

export const row = (...children) => make("div", { className: "row" }, ...children);
export const note = (text) => make("p", { className: "note", textContent: text });
export const notes = (texts) => make("ul", { className: "notes" }, ...texts.map((text) => make("li", { textContent: text })));
export const section = (title, ...children) => make("section", { className: "card" }, title ? make("h2", { textContent: title }) : null, ...children);

export function fold(summary, ...children) {
  return make("details", { className: "fold" }, make("summary", { textContent: summary }), ...children);
}

export function field({ name, label, input, help = "", wide = false }) {
  const box = input.matches?.("input, select, textarea, button") ? input : input.querySelector("input, select, textarea, button");
  const flag = input.type === "checkbox", group = input.getAttribute("role") === "group";  // its buttons keep their names
  box.id ||= newId(name);
  const words = group ? make("label", { textContent: label, id: newId(name) }) : make("label", { textContent: label, htmlFor: box.id });
  if (group) input.setAttribute("aria-labelledby", words.id);
  const hint = help ? make("p", { className: "help", textContent: help, id: box.id + "-help" }) : null;
  if (hint) box.setAttribute("aria-describedby", hint.id);
  const parts = flag ? [make("div", { className: "flag" }, input, words)] : [words, input];
  const node = make("div", { className: "field" + (wide ? " wide" : "") }, ...parts, hint);
  node.dataset.field = name ?? "";
  return node;
}

const changed = (onchange, read) => onchange && ((event) => onchange(read(event.target)));

export function textInput(value, onchange, props = {}) {
  return make("input", { type: "text", autocomplete: "off", spellcheck: false, value: value ?? "", oninput: changed(onchange, (box) => box.value), ...props });
}

/* It grows with what is written. */
export function areaInput(value, onchange, props = {}) {
  const grow = (box) => { box.style.height = "auto"; if (box.scrollHeight) box.style.height = box.scrollHeight + 2 + "px"; };
  const box = make("textarea", { rows: 2, spellcheck: false, value: value ?? "", ...props, oninput: (event) => { grow(event.target); onchange?.(event.target.value); } });
  requestAnimationFrame(() => grow(box));
  return box;
}

/* onchange gets a number, or null for an empty field. */
export function numberInput(value, onchange, props = {}) {
  const read = (box) => (box.value === "" ? null : +box.value);
  return make("input", { type: "number", step: "any", ...props, value: value ?? "", oninput: changed(onchange, read) });
}

/* choices: texts, or [value, text]. */
export function choiceInput(value, onchange, choices, props = {}) {
  const options = choices.map((one) => (Array.isArray(one) ? one : [one, one]));
  if (value && !options.some(([key]) => key === value)) options.unshift([value, value]);
  const box = make("select", { ...props, onchange: changed(onchange, (select) => select.value) },
    ...options.map(([key, text]) => make("option", { value: key, textContent: text })));
  box.value = value ?? options[0]?.[0] ?? "";
  return box;
}

export function flagInput(value, onchange, props = {}) {
  return make("input", { type: "checkbox", ...props, checked: Boolean(value), onchange: changed(onchange, (box) => box.checked) });
}

export function rangeInput({ value, min = 0, max = 1, step = 0.05, label, onchange }) {
  const slider = make("input", { type: "range", min, max, step, value, tabIndex: -1, "aria-hidden": "true" });
  const box = make("input", { type: "number", className: "short", step: "any", value });
  if (label) box.setAttribute("aria-label", label);
  slider.oninput = () => { box.value = slider.value; onchange?.(+slider.value); };
  box.oninput = () => { if (box.value !== "") { slider.value = box.value; onchange?.(+box.value); } };
  box.step = step;
  const set = (next) => { slider.value = next; box.value = next; };
  return { node: make("div", { className: "range" }, slider, box), set };
}

export function chips({ label, values, on, onchange, show = String }) {
  const chosen = new Set(on);
  const given = () => values.filter((value) => chosen.has(value));
  const node = make("div", { className: "chips" }, ...values.map((value) => {
    const chip = button(show(value), () => {
      if (!chosen.delete(value)) chosen.add(value);
      chip.setAttribute("aria-pressed", String(chosen.has(value)));
      onchange?.(given());
    }, { kind: "chip" });
    chip.setAttribute("aria-pressed", String(chosen.has(value)));
    return chip;
  }));
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", label);
  return { node, values: given };
}

export const spoken = ({ what, where, fix, field, message }) => [what ?? String(message), field && (where === field || where?.startsWith(field + " = ")) ? "" : where, fix];

function told(error, role) {
  const [what, where, fix] = spoken(error);
  const box = make("div", { className: "refusal", id: newId("refusal"), role }, make("b", { textContent: what }),
    where ? make("span", { className: "where", textContent: where }) : null, fix ? make("span", { className: "fix", textContent: fix }) : null);
  return box;
}

/* Of an axis, its values are what is wrong. */
function placeOf(root, name) {
  const named = (some) => root.querySelector(`[data-field="${CSS.escape(some)}"]`);
  return name ? named(name + "-values") ?? named(name) : null;
}

export function hint(root, error) {
  for (const box of root.querySelectorAll(".refusal.hint")) box.remove();
  const place = error && placeOf(root, error.field);
  if (!place || place.querySelector(".refusal")) return null;
  const box = told(error, "status");
  box.classList.add("hint");
  place.append(box);
  if (place.contains(document.activeElement)) box.scrollIntoView({ block: "nearest" });
  return box;
}

/* What only the job has found: until something else is written there. A plan that comes later does not know it. */
export function lateHint(root, error) {
  for (const box of root.querySelectorAll(".refusal.late")) box.remove();
  const box = hint(root, error);
  box?.classList.replace("hint", "late");
  box?.parentElement.addEventListener("input", () => box.remove(), { once: true });
}

export function nothingChosen(form) {
  const place = [...form.querySelectorAll("[data-field]")].find((one) => one.querySelector(":scope > .picker.wanted, :scope > .photo-picker.wanted, :scope > .files-picker > .wanted") || (one.matches(".lora-list") && !one.querySelector(".lora")));
  if (!place) return null;
  const name = place.querySelector("label")?.textContent ?? "LoRA";
  return { what: t("shell.not_chosen", name), fix: t("shell.not_chosen_fix"), field: place.dataset.field };
}

/* What is wrong, where and how to mend it: under the field that it is about, else on top. */
export function refuse(root, error) {
  accept(root);
  const box = told(error, "alert"), place = placeOf(root, error.field);
  if (!place) {
    root.prepend(box);
    root.addEventListener("input", () => box.remove(), { once: true });
    box.scrollIntoView({ block: "nearest" });
    return;
  }
  for (let up = place.closest("details"); up; up = up.parentElement.closest("details")) up.open = true;
  place.append(box);
  place.classList.add("wrong");
  const input = place.querySelector("input, select, textarea, button");
  input?.setAttribute("aria-invalid", "true");
  input?.setAttribute("aria-errormessage", box.id);
  input?.focus();
  place.addEventListener("input", () => accept(place.parentElement), { once: true });
}

export function accept(root) {
  for (const box of root.querySelectorAll(".refusal")) if (!box.closest(".mistakes")) box.remove();
  for (const place of root.querySelectorAll(".wrong")) place.classList.remove("wrong");
  for (const input of root.querySelectorAll("[aria-errormessage]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
}

export function dialog(title, ...children) {
  const heading = make("h2", { textContent: title, id: newId("dialog") });
  const box = make("dialog", { className: "window" }, make("div", { className: "top" }, heading, button(t("shell.close"), () => box.close(), { kind: "small" })), ...children);
  box.setAttribute("aria-labelledby", heading.id);
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  document.body.append(box);
  box.showModal();
  return { box, close: () => box.close() };
}

export function question({ title, text, yes, danger = false }) {
  return new Promise((answer) => {
    let agreed = false;
    const agree = button(yes, () => { agreed = true; window.close(); }, { kind: danger ? "danger" : "main" });
    const window = dialog(title, make("p", { textContent: text }), make("div", { className: "row end" }, button(t("shell.no"), () => window.close()), agree));
    window.box.addEventListener("close", () => answer(agreed));
    agree.focus();
  });
}

export function debounce(wait, act) {
  let timer = 0;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => act(...given), wait); };
}
