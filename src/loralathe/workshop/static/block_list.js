/* Block weights of a LoRA: a slider for each block beside the energy of its weights, the list as text, presets.

   blockList({onchange(text)}) → {node, load(base, lora), set(text)}; text is "" when every block is 1 */
import { del, get, post, put } from "./api.js";
import { askName } from "./form.js";
import { accept, button, debounce, field, note, question, refuse, row, textInput } from "./parts.js";
import { t } from "./words.js";
import { fixed, make, number } from "./study/elements.js";

const SHORT = [12, 17];
const isText = (name) => /^(TE\d*|CLIP|T5|BASE)$/i.test(name);
const sameBlock = (one, other) => one === other || (/^(M00|MID)$/.test(one) && /^(M00|MID)$/.test(other)) || (one === "BASE" && isText(other));

export function blockList({ onchange }) {
  let model = { base: "", lora: null }, blocks = [], energies = [], all = { lists: {}, builtin: {} };
  const rows = make("div", { className: "block-rows" }), select = make("select", { "aria-label": t("blocks.preset") });
  const box = textInput("", debounce(400, (text) => read(text)), { placeholder: "1,1,1,1,…", className: "list" });
  const node = make("div", { className: "block-list" });
  /* A list; by name where there is a single text encoder, which no list has. */
  const written = () => blocks.map(([name, value]) => (blocks.some(([one]) => one !== "BASE" && isText(one)) ? `${name}=` : "") + number(value)).join(",");
  const text = () => (blocks.every(([, value]) => value === 1) ? "" : written());
  const tell = debounce(200, () => onchange(text()));
  const attempt = (act) => async () => { accept(node); try { await act(); } catch (error) { refuse(node, error); } };

  function drawRows() {
    const most = Math.max(1e-9, ...blocks.map(([name]) => energyOf(name)));
    rows.replaceChildren(...blocks.map((block) => {
      const [name, value] = block, energy = energyOf(name);
      const slider = make("input", { type: "range", min: 0, max: Math.max(1, value), step: 0.05, value, "aria-label": name, "aria-valuetext": String(value) });
      const number = make("input", { type: "number", step: 0.05, value, className: "short", "aria-label": t("blocks.weight_of", name) });
      const change = (next) => {
        block[1] = next;
        box.value = written();
        select.value = "";
        tell();
      };
      slider.oninput = () => { number.value = slider.value; change(+slider.value); };
      number.oninput = () => { if (number.value !== "") { slider.value = number.value; change(+number.value); } };
      const share = `${fixed(100 * energy, 1)} %`;
      const bar = make("div", { className: "track", title: share, role: "img", "aria-label": t("blocks.energy_of", name, share) }, make("div", { className: "bar", style: `width:${100 * energy / most}%` }));
      return make("div", { className: "block-row" }, make("b", { textContent: name }), bar, slider, number);
    }));
  }

  /* Without the blocks that the LoRA has no weights in, where the rest is a list that LBW knows, too. */
  function inUse(all) {
    const some = all.filter(([name]) => name === "BASE" || energyOf(name) > 0);
    return SHORT.includes(some.length) ? some : all;
  }

  const energyOf = (name) => energies.filter((one) => sameBlock(name, one.name)).reduce((sum, one) => sum + one.energy, 0);

  /* A preset's name or a list, read by the model's blocks. */
  async function read(given, quiet = false) {
    accept(node);
    if (!model.lora) return;
    try {
      const found = await post("list", { list: given.trim() || "ALL", checkpoint: model.base, lora: model.lora.file });
      blocks = inUse(found.blocks.map(([name, value]) => [name, +value]));
      box.value = written();
      drawRows();
      if (!quiet) tell();
    } catch (error) { refuse(node, { ...error, what: error.what ?? String(error), field: "list" }); }
  }

  async function loadPresets(chosen = "") {
    all = await get("presets");
    const group = (name, lists) => make("optgroup", { label: name }, ...Object.keys(lists).map((key) => make("option", { value: key, textContent: key })));
    select.replaceChildren(make("option", { value: "", textContent: t("blocks.preset") }), group(t("blocks.own"), all.lists), group("LoRA Block Weight", all.builtin));
    select.value = chosen;
  }

  select.onchange = () => { if (select.value) read(select.value); };
  const save = attempt(async () => {
    const name = await askName(t("blocks.save_preset"), select.value);
    if (!name) return;
    await put("presets/" + encodeURIComponent(name), { list: written() });
    await loadPresets(name);
  });
  const remove = attempt(async () => {
    const name = select.value;
    if (!(name in all.lists) || !await question({ title: t("blocks.delete_preset"), text: name, yes: t("shell.delete"), danger: true })) return;
    await del("presets/" + encodeURIComponent(name));
    await loadPresets();
  });
  const every = (value) => () => { for (const block of blocks) block[1] = value; box.value = written(); select.value = ""; drawRows(); tell(); };
  node.append(make("div", { className: "block-row heads", "aria-hidden": "true" }, make("span", { textContent: t("blocks.block") }), make("span", { textContent: t("blocks.energy") }), make("span", { textContent: t("blocks.weight") })), rows,
    row(button(t("blocks.all_one"), every(1), { kind: "small" }), button(t("blocks.all_zero"), every(0), { kind: "small" })),
    field({ name: "list", label: t("shell.lbw"), input: box, wide: true }),
    row(select, button(t("shell.save"), save, { kind: "small", label: t("blocks.save_preset") }), button(t("shell.delete"), remove, { kind: "small", label: t("blocks.delete_preset") })));
  attempt(() => loadPresets())();

  async function load(base, lora) {
    model = { base, lora };
    if (!base || !lora?.file) { rows.replaceChildren(note(t("blocks.choose"))); return; }
    energies = [];
    if (!blocks.length) rows.replaceChildren(note(t("details.reading")));
    await read(lora.blocks, true);
    try {
      const found = await post("ask", { command: "block_weights", words: [base, lora.file], options: {} });
      if (model.lora?.file !== lora.file || model.base !== base) return;
      energies = found.blocks.map((one) => ({ name: one.block, energy: one.share }));
      blocks = inUse(blocks);
      box.value = written();
      drawRows();
    } catch (error) { refuse(node, error); }
  }

  return { node, load, set: (given) => read(given) };
}
