/* Step 8: the whole as TOML, checked while it is written; run, with any variable swept. */
import { settingsForm, planBox } from "../form.js";
import { runner } from "../job.js";
import { frame, pictures, seedAxis } from "../making.js";
import { accept, areaInput, button, choiceInput, debounce, field, fold, note, numberInput, question, refuse, row, section, textInput } from "../parts.js";
import { make } from "../study/elements.js";

const EXAMPLE = (base, lora, second) => `[inputs]
A    = "${base}"
B    = "${second}"
hina = "${lora}"

[variables]
M    = 0.7
rank = 32

[steps]
A1    = "A + 0.7*hina"
lora1 = "extract(A1 - A, rank=rank)"
B1    = "B + 0.8*lora1"
B2    = "B1 - M*(B - A)"

[save]
B2 = { file = "../hina_B.safetensors", dtype = "fp16" }
`;

export async function open(root, app) {
  const { t, api, state } = app, kept = app.draft("recipe"), { form, got } = frame(root, "recipe");
  root.querySelector(".two").classList.add("wide-left");
  const choices = state.get();
  const below = (file, otherwise) => (file || otherwise).split("/").slice(1).join("/");
  const start = () => EXAMPLE(below(choices.base, "/baseA.safetensors"), below(choices.loras[0]?.file, "/hina.safetensors"), below(choices.second, "/baseB.safetensors"));
  const text = areaInput(kept.get("text") ?? start(), (value) => { kept.set("text", value); numbers(); check(); }, { className: "toml", rows: 18, wrap: "off" });
  const lines = make("pre", { className: "lines", "aria-hidden": "true" }), errors = make("div", { className: "mistakes", role: "status" }), steps = make("div", {}), variables = make("div", { className: "fields" });
  const name = textInput(kept.get("name", "recipe"), (value) => { kept.set("name", value.trim()); });
  const known = make("select", { "aria-label": t("recipe.open") }), values = { ...kept.get("variables", {}) }, said = make("p", { className: "note", role: "status" });
  const shown = pictures({ key: "recipe", form, title: t("recipe.sweep") });
  let sound = false, turn = 0, names = [], saved = null, there = [], own = kept.get("own", "");

  function numbers() { lines.textContent = text.value.split("\n").map((_, i) => i + 1).join("\n"); lines.scrollTop = text.scrollTop; }
  text.onscroll = () => { lines.scrollTop = text.scrollTop; };

  const check = debounce(250, async () => {
    const mine = ++turn;
    let found;
    try { found = await api.post("recipe", { text: text.value }); } catch (error) { found = { errors: [error] }; }
    if (mine !== turn) return;
    sound = !found.errors.length;
    text.setAttribute("aria-invalid", String(!sound));
    errors.replaceChildren(...(sound ? [note(t("recipe.sound"))] : found.errors.map(mistake)));
    steps.replaceChildren(...(found.steps?.length ? [section(t("recipe.steps"), table(found.steps))] : []));
    drawVariables(found.variables ?? {});
    if (sound) await save(false);
    plan.refresh();
  });

  function mistake(error) {
    const at = error.line ? t("recipe.at", error.line, error.column ?? 1) : error.where ?? "";
    const go = () => { const before = text.value.split("\n").slice(0, error.line - 1).join("\n").length + (error.line > 1 ? 1 : 0) + (error.column ?? 1) - 1; text.focus(); text.setSelectionRange(before, before); };
    return make("div", { className: "refusal" }, make("b", { textContent: error.what }), at ? (error.line ? button(at, go, { kind: "small" }) : make("span", { textContent: at })) : null, error.fix ? make("span", { className: "fix", textContent: error.fix }) : null);
  }

  const table = (some) => make("table", { className: "steps" }, make("tbody", {}, ...some.map(([step, formula, type]) => make("tr", {}, make("th", { scope: "row", textContent: step }), make("td", {}, make("code", { textContent: formula })), make("td", { textContent: type ?? "" })))));

  function drawVariables(found) {
    if (names.join() === Object.keys(found).join() && variables.childElementCount) return;
    names = Object.keys(found);
    variables.replaceChildren(...names.map((one) => field({ name: "variables." + one, label: one, input: numberInput(values[one] ?? null, (value) => { if (value === null) delete values[one]; else values[one] = value; kept.set("variables", values); plan.refresh(); }, { placeholder: found[one] }) })));
    const before = axis.value;
    axis.replaceChildren(...names.map((one) => make("option", { value: one, textContent: one })));
    if (names.includes(before)) axis.value = before;
    sweeping.hidden = !names.length;
  }

  const file = () => `out/recipes/${kept.get("name", "recipe")}.toml`;
  const used = () => Object.fromEntries(Object.entries(values).filter(([one]) => names.includes(one)));
  /* A sound text is kept under its name, so that the plan and the run read what is seen. One after the other: the
     answer to an older one does not come last. */
  let saving = Promise.resolve(true);
  function save(loud = true) {
    const next = () => keep(loud);
    return saving = saving.then(next, next);
  }
  async function keep(loud) {
    const called = kept.get("name", "recipe"), key = `${called}\n${text.value}`;
    if (key === saved) return true;
    if (called !== own && there.includes(called) && !(loud && await question({ title: t("making.replace"), text: called, yes: t("making.replace_yes"), danger: true }))) return false;
    accept(form);
    try { await api.put("recipes/" + encodeURIComponent(called), { text: text.value }); } catch (error) { refuse(form, error); return false; }
    saved = key;
    kept.set("own", own = called);
    said.textContent = t(loud ? "recipe.saved" : "recipe.kept", file());
    plan.refresh();
    if (loud) await list();
    return true;
  }
  async function list() {
    try {
      const found = await api.get("recipes"), all = (found.recipes ?? found).map((one) => (one.name ?? one).replace(/\.toml$/, ""));
      there = all;
      known.replaceChildren(make("option", { value: "", textContent: t("recipe.open") }), ...all.map((one) => make("option", { value: one, textContent: one })));
    } catch (error) { refuse(form, error); }
  }
  /* A new text does not stand in the way of an old one of the same name. */
  function freeName() {
    const wanted = kept.get("name", "recipe");
    let next = wanted;
    for (let n = 2; there.includes(next); n += 1) next = `${wanted}-${n}`;
    kept.set("name", name.value = next);
  }
  known.onchange = () => { if (known.value) load(known.value); };
  async function load(called) {
    try {
      const found = await api.get("recipes/" + encodeURIComponent(called));
      kept.set("own", own = called);
      kept.set("name", name.value = called);
      kept.set("text", text.value = found.text);
      numbers();
      check();
    } catch (error) { refuse(form, error); }
  }

  /* Is the text sound, and kept? What is wrong stands below it. */
  async function ready() {
    if (sound) return save();
    text.focus();
    errors.scrollIntoView({ block: "nearest" });
    return false;
  }
  const request = () => (sound && saved?.startsWith(kept.get("name", "recipe") + "\n") ? { command: "run", words: [file()], options: { variables: used() } } : null);
  const plan = planBox({ request, form: root });
  const run = runner({ page: "recipe", text: t("recipe.run"), form: root, title: () => t("recipe.job", kept.get("name", "recipe")), request: async () => (await ready() ? request() : false) });

  const axis = choiceInput(kept.get("axis", "M"), (one) => kept.set("axis", one), ["M"]);
  const range = textInput(kept.get("range", "-0.7..0.7 (+0.35)"), (value) => kept.set("range", value));
  const step = textInput(kept.get("step", ""), (value) => kept.set("step", value.trim())), seeds = numberInput(2, null, { min: 1, step: 1 });
  const settings = await settingsForm({ values: choices.settings, base: () => choices.base, onchange: (next) => state.set({ settings: next }) });
  const look = () => shown.run({ command: "grid", words: [], options: { ...settings.values(), recipe: file(), ...(step.value ? { step: step.value } : {}), variables: used(), x: `${axis.value} = ${range.value}`, y: seedAxis(+seeds.value || 1) }, title: t("recipe.sweep") });
  const sweeping = section(t("recipe.sweep"), make("div", { className: "fields" }, field({ name: "axis", label: t("recipe.variable"), input: axis }), field({ name: "x", label: t("recipe.values"), input: range }), field({ name: "step", label: t("recipe.step"), input: step, help: t("recipe.step_help") }), field({ name: "seeds", label: t("making.seeds"), input: seeds })),
    row(button(t("recipe.look"), async () => { if (await ready()) look(); })), fold(t("making.settings"), settings.node));
  sweeping.hidden = true;

  form.append(section("", row(known, button(t("shell.save"), () => save())), field({ name: "name", label: t("shell.name"), input: name, wide: true }),
    field({ name: "recipe", label: t("recipe.text"), input: make("div", { className: "editor" }, lines, text), wide: true }), errors, said), steps);
  got.append(make("section", { className: "card go" }, run.node, plan.node), section(t("recipe.variables"), variables), sweeping, shown.node);
  numbers();
  await list();
  if (!own) freeName();
  if (kept.get("asked")) { await load(kept.get("asked")); kept.set("asked", ""); } else check();
  return () => { run.close(); shown.close(); };
}
