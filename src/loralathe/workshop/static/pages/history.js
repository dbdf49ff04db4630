/* Every result as a tree: what was made from what. */
import { goOn, showFile } from "../details.js";
import { blank } from "../files.js";
import { errorBox, isOver } from "../job.js";
import { button, dialog, flagInput, note, notes, question, row, section, textInput, debounce } from "../parts.js";
import { label } from "../state.js";
import { retitled, showDate } from "../words.js";
import { facts, make } from "../study/elements.js";

const isRecipe = (node) => (node.name ?? "").endsWith(".toml");

export function open(root, app) {
  const { t, api } = app, said = make("div", { role: "status" }), tree = make("div", { className: "tree" }), chosen = new Set();
  const compare = button("", compareTwo);
  let nodes = [], wanted = "";
  const search = textInput("", debounce(120, (text) => { wanted = text.toLowerCase(); draw(); }), { type: "search", placeholder: t("shell.search"), "aria-label": t("shell.search") });

  async function load() {
    try { nodes = (await api.get("history")).nodes; said.replaceChildren(); } catch (error) { said.replaceChildren(errorBox(error)); return; }
    for (const id of chosen) if (!nodes.some((node) => node.id === id)) chosen.delete(id);
    draw();
  }

  /* Each node stands under the youngest of what it was made from; the others are named beside it. */
  function draw() {
    const byId = new Map(nodes.map((node) => [node.id, node])), below = new Map(), roots = [];
    for (const node of [...nodes].sort((a, b) => (b.time ?? 0) - (a.time ?? 0))) {
      const parents = node.parents.map((id) => byId.get(id)).filter(Boolean).sort((a, b) => (b.time ?? 0) - (a.time ?? 0));
      const under = parents.find((one) => one.made) ?? parents[0];
      if (!under || under === node) roots.push(node);
      else below.set(under.id, [...(below.get(under.id) ?? []), node]);
    }
    const seen = new Set();
    const branch = (some) => make("ul", {}, ...some.map((node) => {
      if (seen.has(node.id)) return null;
      seen.add(node.id);
      const under = branch(below.get(node.id) ?? []);
      if (wanted && !under.childElementCount && !`${node.title} ${node.name ?? ""} ${node.command ?? ""}`.toLowerCase().includes(wanted)) return null;
      return make("li", {}, entry(node, byId), under.childElementCount ? under : null);
    }).filter(Boolean));
    const drawn = branch(roots);
    tree.replaceChildren(drawn.childElementCount ? drawn : note(t("history.empty")));
    count();
  }

  function count() {
    compare.textContent = t("history.compare", chosen.size);
    compare.disabled = chosen.size !== 2;
  }

  function entry(node, byId) {
    const file = node.kind === "file" && node.name && !node.gone && !isRecipe(node), title = retitled(node.title) || (file ? label(node.name) : node.command ?? "");
    const parents = node.parents.map((id) => byId.get(id)).filter(Boolean).map((one) => (one.name && one.kind === "file" ? label(one.name) : retitled(one.title)));
    const pick = file ? flagInput(chosen.has(node.id), (on) => { if (on) chosen.add(node.id); else chosen.delete(node.id); count(); }, { "aria-label": t("history.choose", title) }) : null;
    const picture = node.thumbnail ? make("img", { src: node.thumbnail, alt: "", loading: "lazy" }) : blank(file ? label(node.name) : title);
    const about = [node.gone && !isRecipe(node) ? t("shell.state_gone") : "", node.command ? t("history.kind_" + node.command) : "", node.kind === "file" ? node.name : "", node.time ? showDate(node.time) : "", parents.length ? t("history.from", parents.join(", ")) : ""].filter(Boolean).join(" · ");
    return make("div", { className: "node " + (node.made ? "made" : "given") }, pick, picture, make("div", { className: "words" }, make("b", { textContent: title }), make("small", { textContent: about })), row(...tools(node, file, title)));
  }

  function tools(node, file, title) {
    const small = (text, act, kind = "small") => button(t("history." + text), act, { kind, label: `${t("history." + text)}: ${title}` });
    const page = node.outputs?.find((output) => output.kind === "page");
    const open = page ? make("a", { href: page.url, target: "_blank", rel: "noopener", textContent: t("shell.open_page") }) : null;
    if (isRecipe(node)) return [small("to_recipe", () => toRecipe(node))];
    return [file ? small("details", () => showFile(node.name, app)) : null, file ? small("go_on", () => goFrom(node)) : null, open,
      node.job ? small("again", () => again(node)) : null, file && node.made ? small("verify", () => verify(node)) : null, node.job ? small("delete", () => remove(node, title)) : null].filter(Boolean);
  }

  function toRecipe(node) {
    app.draft("recipe").set("asked", label(node.name).replace(/\.toml$/, ""));
    app.go("recipe");
  }

  async function attempt(act) { said.replaceChildren(); try { await act(); } catch (error) { said.replaceChildren(errorBox(error)); said.scrollIntoView({ block: "nearest" }); } }

  const goFrom = (node) => attempt(async () => {
    const found = await api.get("file" + api.query({ name: node.name }));
    const window = dialog(t("history.go_on_from", label(node.name)), row(...goOn(found, app, () => window.close())));
  });
  const again = (node) => attempt(async () => { await api.post(`jobs/${encodeURIComponent(node.job)}/again`); app.announce(t("history.queued")); said.replaceChildren(note(t("history.queued"))); });
  const remove = (node, title) => attempt(async () => {
    const names = (node.outputs ?? []).map((output) => output.name ?? output);
    if (!await question({ title: t("history.delete_question", title), text: names.length ? names.join("\n") : title, yes: t("history.delete"), danger: true })) return;
    await api.del(`jobs/${encodeURIComponent(node.job)}?files=true`);
    await load();
  });
  const verify = (node) => ask({ command: "verify", words: [node.name], options: {} }, t("history.verified", label(node.name)));
  function compareTwo() {
    const names = [...chosen].map((id) => nodes.find((node) => node.id === id)).filter(Boolean).map((node) => node.name);
    if (names.length === 2) ask({ command: "compare", words: names, options: {} }, names.map(label).join(" – "));
  }

  async function ask(request, title) {
    const place = make("div", { "aria-live": "polite", textContent: t("history.asking") });
    dialog(title, place);
    try {
      const found = await api.post("ask", request), { rows = [], sentences = [] } = found.report ?? found;
      place.replaceChildren(...[sentences.length ? notes(sentences) : null, rows.length ? facts(rows) : null].filter(Boolean));
    } catch (error) { place.replaceChildren(errorBox(error)); }
  }

  root.append(make("h1", { textContent: t("history.title") }), make("p", { className: "lead", textContent: t("history.lead") }), section("", make("div", { className: "row shelf-head" }, search, compare), said, tree));
  load();
  const renew = debounce(300, load), stops = [api.subscribe("library", renew), api.subscribe("job", (job) => { if (isOver(job)) renew(); })];
  return () => stops.forEach((stop) => stop());
}
