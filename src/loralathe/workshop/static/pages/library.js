/* The files of the person's folders; any file or picture that is dropped is looked into. */
import { fileDetails, showFile } from "../details.js";
import { blank, showFound } from "../files.js";
import { errorBox } from "../job.js";
import { choose } from "../making.js";
import { button, choiceInput, debounce, dialog, fold, note, notes, row, section, textInput } from "../parts.js";
import { label } from "../state.js";
import { showDate, showSize } from "../words.js";
import { copyable, facts, make } from "../study/elements.js";

const PAGE = 60, KINDS = ["checkpoint", "lora", "vae"];

export function open(root, app) {
  const { t, api } = app, kept = app.draft("library");
  const asked = { kind: kept.get("kind", "checkpoint"), search: "", family: "" };
  let offset = 0, turn = 0;

  const kinds = choose({ label: t("library.kind"), value: asked.kind, choices: KINDS.map((kind) => [kind, t("library." + kind)]), onchange: (kind) => { asked.kind = kind; kept.set("kind", kind); load(true); } });
  const search = textInput("", debounce(150, (text) => { asked.search = text; load(true); }), { type: "search", placeholder: t("shell.search"), "aria-label": t("shell.search") });
  const families = choiceInput("", (family) => { asked.family = family; load(true); }, [["", t("shell.all_families")]], { "aria-label": t("shell.family") });
  const said = make("p", { className: "note", role: "status" }), list = make("ul", { className: "shelf" }), more = button(t("shell.more"), () => load(false));
  more.hidden = true;

  async function load(again) {
    const mine = ++turn;
    if (again) offset = 0;
    let found;
    try { found = await api.get("library" + api.query({ ...asked, offset, limit: PAGE })); } catch (error) { if (mine === turn) { said.replaceChildren(errorBox(error)); list.replaceChildren(); } return; }
    if (mine !== turn) return;
    if (again) list.replaceChildren();
    list.append(...found.files.map(card));
    offset += found.files.length;
    showFound(found, { said, families, more, offset });
  }

  function card(file) {
    const about = [file.family_label, file.rank ? t("shell.rank", file.rank) : "", file.size ? showSize(file.size) : "", file.modified ? showDate(file.modified) : ""].filter(Boolean).join(" · ");
    const picture = file.thumbnail ? make("img", { src: file.thumbnail, alt: "", loading: "lazy" }) : blank(file.label || label(file.name));
    return make("li", {}, make("button", { type: "button", className: "file", title: file.name, onclick: () => showFile(file.name, app) }, picture,
      make("span", { className: "words" }, make("b", { textContent: file.label || label(file.name) }), make("small", { textContent: about }), file.triggers?.length ? make("small", { textContent: file.triggers.slice(0, 6).join(", ") }) : null,
        file.made ? make("small", { className: "made", textContent: t("shell.made_here") }) : null, file.reason ? make("small", { className: "reason", textContent: file.reason }) : null)));
  }

  const chooser = make("input", { type: "file", className: "hidden", tabIndex: -1, "aria-label": t("library.look"), onchange: () => { if (chooser.files[0]) look(chooser.files[0]); chooser.value = ""; } });
  const drop = make("div", { className: "drop" }, make("p", { textContent: t("library.drop") }), button(t("library.look"), () => chooser.click()), chooser);
  const over = (event) => { event.preventDefault(); drop.classList.add("over"); }, out = () => drop.classList.remove("over");
  const dropped = (event) => { event.preventDefault(); out(); if (event.dataTransfer.files[0]) look(event.dataTransfer.files[0]); };
  root.ondragover = over;
  root.ondragleave = out;
  root.ondrop = dropped;

  async function look(file) {
    const place = make("div", { "aria-live": "polite", textContent: t("details.reading") });
    const window = dialog(file.name, place);
    window.box.classList.add("file-window");
    try {
      const found = await api.upload("look", file);
      place.replaceChildren(found.kind === "picture" ? picture(found, file, window.close) : fileDetails({ ...found, name: "" }, app, window.close));
    } catch (error) { place.replaceChildren(errorBox(error)); }
  }

  function picture(found, file, close) {
    const url = URL.createObjectURL(file), shown = make("img", { className: "looked", src: url, alt: file.name, onload: () => URL.revokeObjectURL(url) });
    const take = () => { app.state.set({ settings: { ...app.state.get().settings, ...found.settings } }); close(); app.go("test"); };
    const settings = Object.entries(found.settings ?? {}).map(([key, value]) => [key, String(value)]);
    return make("div", { className: "details" }, shown, settings.length ? row(button(t("library.take"), take, { kind: "main" })) : note(t("library.no_settings")),
      found.notes?.length ? notes(found.notes) : null, facts(settings), found.infotext ? copyable(found.infotext) : null);
  }

  root.append(make("h1", { textContent: t("library.title") }), make("p", { className: "lead", textContent: t("library.lead") }), drop,
    section("", make("div", { className: "row shelf-head" }, kinds.node, search, families), said, list, more),
    section(t("library.folders"), note(t(app.session.demo ? "library.demo" : "library.own")), copyable("lathe ui --checkpoints FOLDER --loras FOLDER"), copyable("lathe ui --webui FOLDER"), copyable("lathe ui --comfyui FOLDER"),
      fold(t("library.folders_now"), facts(app.session.places.map((place) => [place.name, place.folder])))));
  load(true);
  return app.api.subscribe("library", () => load(true));
}
