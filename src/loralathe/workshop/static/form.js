/* Forms made from what the server says of a command's options (GET fields).

   fieldsOf(command) → Promise of its options [{name, group, kind, default, choices, of, label, help}]
   optionsForm({options, values, onchange(values), base: () => name, usual: [names], skip: [names], hints: {name: text}})
       → {node, values(), set(values)}: those named in `usual` in that order, the others folded by group;
       values holds only what differs from the defaults
   settingsForm({values, onchange, base, skip})   prompt, negative prompt and the settings of pictures, with
       profiles and "settings from a picture" → {node, values(), set(values), addToPrompt(word)}; a Promise
   planBox({request, form, onplan}) → {node, refresh(), problem(request)}: what is about to happen, the command, the
       recipe. request() gives the request, or null while something is missing. What is wrong with it stands here and
       beside its field in `form`; problem(request) is that, as far as it is known */
import { del, get, post, put, upload } from "./api.js";
import { filePicker, filesPicker } from "./files.js";
import { picturePicker } from "./pictures.js";
import { placeInput } from "./place.js";
import { session, showTime, t } from "./words.js";
import { areaInput, button, choiceInput, debounce, field, flagInput, fold, notes, hint, numberInput, question, refuse, accept, spoken, textInput, dialog } from "./parts.js";
import { copyable, facts, make } from "./study/elements.js";

const PICTURE = ["prompt", "negative", "sampler", "schedule", "steps", "cfg", "seed", "size"];
const PICTURE_RARE = ["vae", "clip_skip", "hires", "hires_upscaler", "hires_steps", "hires_denoising", "styles", "style", "devices", "device", "dtype", "low_vram", "batch", "prediction", "missing_blocks", "allow_unmatched", "hashes"];
let asked = null;

export async function fieldsOf(command) {
  asked ??= get("fields").catch((error) => { asked = null; throw error; });
  return (await asked).commands[command]?.options ?? [];
}

/* The input for one option. */
function inputOf(option, value, change, base) {
  const given = value ?? option.default;
  if (option.name === "on") return placeInput(given, change);
  switch (option.kind) {
    case "lines": return areaInput(given, (text) => change(text));
    case "number": return numberInput(given, change);
    case "whole": return numberInput(given, change, { step: 1 });
    case "flag": return flagInput(given, change);
    case "choice": {
      if (!option.choices?.length) return textInput(given, change);
      const free = option.default === null || option.default === undefined;
      return choiceInput(given ?? "", (text) => change(text === "" ? null : text), [...(free ? [["", t("shell.by_itself")]] : []), ...option.choices]);
    }
    case "file": return filePicker({ kind: option.of ?? "checkpoint", value: given ?? "", onchange: (name) => change(name || null), base, none: option.name === "model" ? "" : t(["card", "checkpoint", "face"].includes(option.of) ? "shell.none" : "shell.by_itself") }).node;
    case "files": return option.of === "picture" ? picturePicker({ value: given ?? [], onchange: change }).node : filesPicker({ kind: option.of, value: given ?? [], onchange: change, base }).node;
    case "numbers": return textInput((given ?? []).join(", "), (text) => change(text.split(",").map((part) => part.trim()).filter(Boolean).map(Number)));
    case "list": return areaInput((given ?? []).join("\n"), (text) => change(text.split("\n").map((line) => line.trim()).filter(Boolean)), { placeholder: t("shell.one_a_line") });
    case "map": return areaInput(Object.entries(given ?? {}).map(([key, one]) => `${key}=${one}`).join("\n"), (text) => change(pairsOf(text)), option.help ? {} : { placeholder: t("shell.name_is_value") });
    default: return textInput(given, change);
  }
}

function pairsOf(text) {
  const pairs = text.split("\n").filter((line) => line.includes("=")).map((line) => [line.slice(0, line.indexOf("=")).trim(), line.slice(line.indexOf("=") + 1).trim()]);
  return Object.fromEntries(pairs.map(([key, value]) => [key, value !== "" && !isNaN(value) ? +value : value]));
}

const isDefault = (option, value) => value === null || value === undefined || value === option.default
  || (value === "" && !option.default) || (typeof value === "object" && Object.keys(value).length === 0);

export function optionsForm({ options, values = {}, onchange, base = () => "", usual = [], skip = [], hints = {} }) {
  const shown = options.filter((option) => !skip.includes(option.name));
  const current = {}, node = make("div", { className: "options" });
  const kept = () => Object.fromEntries(shown.filter((option) => !isDefault(option, current[option.name])).map((option) => [option.name, current[option.name]]));
  const one = (option) => {
    const input = inputOf(option, current[option.name], (value) => { current[option.name] = value; onchange?.(kept()); }, base);
    const wide = ["lines", "list", "map"].includes(option.kind) || option.name === "prompt";
    return field({ name: option.name, label: option.label, input, help: hints[option.name] ?? option.help, wide });
  };
  function set(next) {
    for (const option of shown) current[option.name] = next[option.name] ?? null;
    const byName = new Map(shown.map((option) => [option.name, option]));
    const first = usual.map((name) => byName.get(name)).filter(Boolean);
    const rest = shown.filter((option) => !usual.includes(option.name));
    const groups = [...new Set(rest.map((option) => option.group))];
    node.replaceChildren(make("div", { className: "fields" }, ...first.map(one)),
      ...groups.map((group) => fold(t("groups." + group), make("div", { className: "fields" }, ...rest.filter((option) => option.group === group).map(one)))));
  }
  set(values);
  return { node, values: kept, set };
}

/* Width and height as two numbers; the option is "832x1216". */
function sizeInput(value, onchange) {
  const [wide, high] = /^\d+x\d+$/.test(value ?? "") ? value.split("x") : ["", ""];
  const side = (number, name) => numberInput(number, tell, { min: 64, step: 8, placeholder: t("shell.automatic"), "aria-label": name });
  const boxes = [side(wide, t("shell.width")), side(high, t("shell.height"))];
  function tell() {
    const [one, two] = boxes.map((box) => box.value);
    onchange(one || two ? `${one || two}x${two || one}` : null);
  }
  return make("div", { className: "size" }, boxes[0], make("span", { textContent: "×" }), boxes[1]);
}

function seedInput(value, onchange) {
  const box = numberInput(value ?? -1, (number) => onchange(number ?? -1), { step: 1, min: -1 });
  const put = (number) => { box.value = number; onchange(number); };
  return make("div", { className: "seed" }, box, button(t("shell.random"), () => put(-1), { kind: "small", label: t("shell.random_seed") }),
    button("1", () => put(1), { kind: "small", label: t("shell.seed_one") }));
}

export async function settingsForm({ values = {}, onchange, base = () => "", skip = [] }) {
  const options = (await fieldsOf("render")).filter((option) => [...PICTURE, ...PICTURE_RARE, "on"].includes(option.name) && !skip.includes(option.name));
  const byName = new Map(options.map((option) => [option.name, option]));
  let current = { ...values };
  const node = make("div", { className: "settings" });
  const kept = () => Object.fromEntries(Object.entries(current).filter(([name, value]) => !byName.has(name) || name === "seed" || !isDefault(byName.get(name), value)));
  const change = (name) => (value) => { current[name] = value; onchange?.(kept()); };
  const named = profiles(() => ({ ...kept() }), (taken) => { set({ ...current, ...taken }); onchange?.(kept()); });
  const special = { size: sizeInput, seed: seedInput, prompt: (value, tell) => areaInput(value, tell, { rows: 3 }), negative: (value, tell) => areaInput(value, tell, { rows: 2 }) };
  const one = (name) => {
    const option = byName.get(name);
    if (!option) return null;
    const input = special[name]?.(current[name] ?? option.default, change(name)) ?? inputOf(option, current[name], change(name), base);
    return field({ name, label: option.label, input, wide: ["prompt", "negative", "on"].includes(name) });
  };
  function set(next) {
    current = { ...next };
    const rare = PICTURE_RARE.map(one).filter(Boolean);
    node.replaceChildren(make("div", { className: "fields words" }, ...["prompt", "negative"].map(one)),
      make("div", { className: "fields" }, ...PICTURE.slice(2).map(one), ...["on"].map(one).filter(Boolean)),
      rare.length ? fold(t("shell.more_settings"), make("div", { className: "fields" }, ...rare)) : "",
      named);
  }
  function addToPrompt(word) {
    const prompt = current.prompt ?? "";
    if (prompt.split(",").map((part) => part.trim()).includes(word)) return;
    set({ ...current, prompt: [prompt.trim(), word].filter(Boolean).join(", ") });
    onchange?.(kept());
  }
  set(values);
  return { node, values: kept, set, addToPrompt };
}

/* Named settings, and those of a picture that is dropped or chosen. */
function profiles(current, take) {
  const select = make("select", { "aria-label": t("shell.profile") });
  const said = make("div", {});
  const box = make("div", { className: "profiles" });
  let all = {};
  const draw = (chosen = "") => {
    select.replaceChildren(make("option", { value: "", textContent: t("shell.profile") }), ...Object.keys(all).map((name) => make("option", { value: name, textContent: name })));
    select.value = chosen;
  };
  const attempt = (act) => async () => { accept(box); try { await act(); } catch (error) { refuse(box, error); } };
  const reload = async (chosen) => { all = await get("profiles"); draw(chosen); };
  select.onchange = () => { if (all[select.value]) take(all[select.value].settings ?? all[select.value]); };
  const save = attempt(async () => {
    const name = await askName(t("shell.save_profile"), select.value);
    if (!name) return;
    await put("profiles/" + encodeURIComponent(name), { settings: current() });
    await reload(name);
  });
  const remove = attempt(async () => {
    if (!select.value || !await question({ title: t("shell.delete_profile"), text: select.value, yes: t("shell.delete"), danger: true })) return;
    await del("profiles/" + encodeURIComponent(select.value));
    await reload("");
  });
  const look = async (file) => {
    accept(box);
    try {
      const found = await upload("look", file);
      if (found.kind !== "picture") return;
      take(found.settings);
      said.replaceChildren(...(found.notes?.length ? [notes(found.notes)] : []));
    } catch (error) { refuse(box, error); }
  };
  const chooser = make("input", { type: "file", accept: "image/png", className: "hidden", tabIndex: -1, onchange: () => { if (chooser.files[0]) look(chooser.files[0]); chooser.value = ""; } });
  chooser.setAttribute("aria-label", t("shell.from_picture"));
  const drop = button(t("shell.from_picture"), () => chooser.click(), { kind: "small" });
  box.ondragover = (event) => { event.preventDefault(); box.classList.add("over"); };
  box.ondragleave = () => box.classList.remove("over");
  box.ondrop = (event) => { event.preventDefault(); box.classList.remove("over"); if (event.dataTransfer.files[0]) look(event.dataTransfer.files[0]); };
  box.append(select, button(t("shell.save"), save, { kind: "small", label: t("shell.save_profile") }), button(t("shell.delete"), remove, { kind: "small", label: t("shell.delete_profile") }), drop, chooser, said);
  draw();
  attempt(() => reload(""))();
  return box;
}

/* A name, or "" when the person thinks better of it. */
export function askName(title, value = "") {
  return new Promise((answer) => {
    let name = "";
    const input = textInput(value, null, { required: true });
    const form = make("form", { onsubmit: (event) => { event.preventDefault(); name = input.value.trim(); window.close(); } }, field({ name: "name", label: t("shell.name"), input, wide: true }),
      make("div", { className: "row end" }, make("button", { className: "main", textContent: t("shell.save") })));
    const window = dialog(title, form);
    window.box.addEventListener("close", () => answer(name));
    input.select();
  });
}

export function planBox({ request, form = null, onplan = null }) {
  const body = make("div", { className: "plan", "aria-live": "polite" });
  let turn = 0, wrong = null;
  const say = (wanted, error) => {
    wrong = error && { key: JSON.stringify(wanted), error };
    if (form) hint(form, error);
  };
  const draw = (plan) => {
    const estimate = [plan.pictures ? t("shell.pictures", plan.pictures) : "", plan.seconds ? t("shell.about", showTime(plan.seconds)) : ""].filter(Boolean).join(" · ");
    const there = plan.outputs?.filter((output) => output.exists).map((output) => t("shell.exists", output.name)) ?? [];
    const command = plan.command_line?.[session.system] ?? plan.command_line?.posix;
    body.replaceChildren(...[estimate ? make("p", { className: "estimate", textContent: estimate }) : null, plan.rows?.length ? facts(plan.rows) : null,
      there.length || plan.notes?.length ? notes([...there, ...(plan.notes ?? [])]) : null,
      command ? fold(t("shell.command"), copyable(command)) : null, plan.recipe ? fold(t("shell.recipe"), copyable(plan.recipe)) : null].filter(Boolean));
  };
  const refresh = debounce(350, async () => {
    const mine = ++turn, wanted = request();
    if (!wanted) { body.replaceChildren(); say(null, null); onplan?.(null); return; }
    try {
      const plan = await post("plan", wanted);
      if (mine === turn) { draw(plan); say(wanted, null); onplan?.(plan, null); }
    } catch (error) {
      if (mine !== turn) return;
      body.replaceChildren(make("p", { className: "problem", textContent: spoken(error).filter(Boolean).join(" · ") }));
      say(wanted, error);
      onplan?.(null, error);
    }
  });
  refresh();
  return { node: body, refresh, problem: (wanted) => (wrong?.key === JSON.stringify(wanted) ? wrong.error : null) };
}
