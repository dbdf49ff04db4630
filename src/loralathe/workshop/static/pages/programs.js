/* A LoRA for other programs and other bases: will it load there, the same under other names, on a deeper base. */
import { post } from "../api.js";
import { filePicker } from "../files.js";
import { choose, frame, maker } from "../making.js";
import { button, field, note, nothingChosen, refuse, accept, row, section } from "../parts.js";
import { label } from "../state.js";
import { facts, make } from "../study/elements.js";

const NAMES = ["comfyui", "kohya", "original", "peft", "diffusers"];

export async function open(root, app) {
  const { t, state } = app, kept = app.draft("programs"), { form, got } = frame(root, "programs");
  const lora = () => kept.get("lora", state.get().extracted || state.get().loras.find((one) => one.file)?.file || "");
  const from = () => kept.get("from", state.get().base), to = () => kept.get("to", state.get().second);
  const asked = make("div", {}), saving = make("div", {}), going = make("div", {}), told = make("div", { className: "checks", "aria-live": "polite" });
  let made = null, turn = 0;

  const kinds = choose({ label: t("programs.kind"), value: kept.get("kind", "check"), choices: [["check", t("programs.check")], ["convert_lora", t("programs.convert")], ["transfer", t("programs.transfer")], ["convert", t("programs.checkpoint")]], onchange: build });
  const model = filePicker({ kind: "checkpoint", value: state.get().base, onchange: (name) => { state.set({ base: name }); made?.refresh(); } });
  const modelField = field({ name: "checkpoint", label: t("test.base"), input: model.node, wide: true });
  const picker = filePicker({ kind: "lora", value: lora(), onchange: (name) => { kept.set("lora", name); told.replaceChildren(); made?.refresh(); } });
  const names = choose({ label: t("programs.names"), value: kept.get("names", "comfyui"), choices: NAMES.map((one) => [one, t("programs.names_" + one)]), onchange: (one) => { kept.set("names", one); made?.refresh(); } });

  /* The base that a LoRA was made for, and the one that it goes to. */
  const base = (name, key, value) => field({ name, label: t("programs." + key), wide: true,
    input: filePicker({ kind: "checkpoint", value: value(), onchange: (file) => { kept.set(key, file); made?.refresh(); } }).node });

  const loraField = field({ name: "adapters", label: t("programs.lora"), input: picker.node, wide: true });

  async function build(kind) {
    const mine = ++turn;
    kept.set("kind", kind);
    made?.close();
    made = null;
    told.replaceChildren();
    for (const place of [asked, saving, going]) place.replaceChildren();
    loraField.hidden = false;
    if (kind === "check") {
      asked.append(note(t("programs.check_note")), row(button(t("programs.check_run"), check, { kind: "main" })));
      return;
    }
    const transfer = kind === "transfer", whole = kind === "convert", model = () => state.get().base;
    const words = () => (whole ? (model() ? [model()] : null) : transfer ? (lora() && from() && to() ? [lora(), from(), to()] : null) : lora() ? [lora()] : null);
    const suggest = () => (whole ? `${label(model()) || "model"}-new` : `${label(lora()) || "lora"}-${transfer ? "for-" + (label(to()) || "B") : kept.get("names", "comfyui")}`);
    const ready = await maker({ app, page: "programs", command: kind, words, base: from, form, suggest, text: t(transfer ? "programs.transfer_run" : "programs.convert_run"),
      title: (name) => t(transfer ? "programs.job_transfer" : "programs.job", name), usual: whole ? ["layout", "dtype", "vae", "like"] : ["bake", "rank", "dtype"], given: () => (transfer || whole ? {} : { to: kept.get("names", "comfyui") }), skip: ["to"] });
    if (mine !== turn) { ready.close(); return; }
    made = ready;
    loraField.hidden = whole;
    if (whole) asked.append(note(t("programs.checkpoint_note")), modelField);
    else if (transfer) asked.append(note(t("programs.transfer_note")), base("base", "from", from), base("checkpoint", "to", to));
    else asked.append(note(t("programs.convert_note")), names.node);
    saving.append(section(t("making.save"), made.save));
    going.append(made.go);
  }

  async function check() {
    accept(form);
    const missing = nothingChosen(form);
    if (missing) { refuse(form, missing); return; }
    told.replaceChildren(note(t("programs.asking")));
    try {
      const found = await post("ask", { command: "check_lora", words: [lora()], options: {} });
      told.replaceChildren(...found.data.map((one) => section(one.label, facts(found.rows.filter(([name]) => name === one.label).map(([, text], place) => [place ? "" : t(one.ok ? "programs.fine" : "programs.not_fine"), text])),
        one.to ? row(button(t("programs.mend", one.to), () => { kept.set("names", one.to); names.set(one.to); kinds.set("convert_lora"); build("convert_lora"); }, { kind: "small" })) : null)));
    } catch (error) { told.replaceChildren(); refuse(form, error); }
  }

  form.append(section("", kinds.node, loraField, asked), saving);
  got.append(going, told);
  await build(kept.get("kind", "check"));
  return () => made?.close();
}
