/* Choosing pictures: files of the person's own, and pictures that were made here.

   picturePicker({value: [names], onchange([names]), least, most}) → {node, values()}: the chosen ones as small pictures, a
       button for files, a place to drop them, and a window with the pictures of the last jobs */
import { fileUrl, get, upload } from "./api.js";
import { accept, button, choiceInput, dialog, refuse } from "./parts.js";
import { retitled, showDate, t } from "./words.js";
import { make } from "./study/elements.js";

const STUDIES = ["grid", "blocks", "render", "tune", "soup", "cure"];

export function picturePicker({ value = [], onchange, least = 0, most = 64 }) {
  let chosen = [...value];
  const shown = make("div", { className: "photos" });
  const node = make("div", { className: "photo-picker", role: "group" });
  const files = make("input", { type: "file", accept: "image/png,image/jpeg,image/webp", multiple: true, className: "hidden", tabIndex: -1, onchange: () => { send([...files.files]); files.value = ""; } });
  files.setAttribute("aria-label", t("pictures.files"));
  const tell = () => { draw(); onchange?.([...chosen]); node.dispatchEvent(new Event("input", { bubbles: true })); };

  function draw() {
    node.classList.toggle("wanted", chosen.length < least);
    shown.replaceChildren(...chosen.map((name, i) => {
      const remove = button("×", () => { chosen.splice(i, 1); tell(); }, { kind: "small", label: t("pictures.remove", i + 1) });
      return make("figure", {}, make("img", { src: fileUrl(name), alt: t("pictures.nth", i + 1), title: name, loading: "lazy" }), remove);
    }));
  }

  async function send(given) {
    accept(node);
    try {
      for (const file of given) {
        const { name } = await upload("pictures", file);
        if (!chosen.includes(name) && chosen.length < most) chosen.push(name);
      }
      tell();
    } catch (error) { refuse(node, error); }
  }

  async function fromJobs() {
    accept(node);
    try {
      const found = await choosePictures(chosen);
      if (found) { chosen = found.slice(0, most); tell(); }
    } catch (error) { refuse(node, error); }
  }

  node.ondragover = (event) => { event.preventDefault(); node.classList.add("over"); };
  node.ondragleave = () => node.classList.remove("over");
  node.ondrop = (event) => { event.preventDefault(); node.classList.remove("over"); send([...event.dataTransfer.files]); };
  node.append(shown, make("div", { className: "row" }, button(t("pictures.files"), () => files.click()), button(t("pictures.made"), fromJobs)), files);
  draw();
  return { node, values: () => [...chosen] };
}

/* Pictures of the last jobs, to click; gives the names, or null. */
async function choosePictures(before) {
  const { jobs } = await get("jobs?limit=60");
  const studies = jobs.filter((job) => STUDIES.includes(job.command) && ["done", "cancelled", "interrupted", "running"].includes(job.state));
  return new Promise((answer) => {
    const chosen = new Set(before);
    let picked = null;
    const place = make("div", { className: "photos many" }), said = make("p", { className: "note", role: "status" });
    const select = choiceInput(studies[0]?.id ?? "", (id) => show(id), studies.map((job) => [job.id, `${retitled(job.title) || job.command} · ${showDate(job.created)}`]), { "aria-label": t("pictures.of") });
    const take = button(t("shell.take_chosen"), () => { picked = [...chosen]; window.close(); }, { kind: "main" });
    const window = dialog(t("pictures.made"), studies.length ? select : "", said, place, make("div", { className: "row end" }, take));
    window.box.classList.add("choose-pictures");
    window.box.addEventListener("close", () => answer(picked));
    const tally = () => { said.textContent = studies.length ? t("pictures.chosen", chosen.size) : t("pictures.none"); };

    async function show(id) {
      const job = await get("jobs/" + encodeURIComponent(id));
      const urls = job.cells.length ? job.cells.map((cell) => [cell.url, cell.labels.join(" · ")]) : job.outputs.filter((one) => one.kind === "picture").map((one) => [one.url, one.name]);
      place.replaceChildren(...urls.map(([url, label]) => {
        const name = decodeURI(url.replace(/^\/files\//, ""));
        const box = make("button", { type: "button", className: "photo", title: label, onclick: () => {
          if (!chosen.delete(name)) chosen.add(name);
          box.setAttribute("aria-pressed", String(chosen.has(name)));
          tally();
        } }, make("img", { src: url, alt: label || name, loading: "lazy" }));
        box.setAttribute("aria-pressed", String(chosen.has(name)));
        return box;
      }));
    }
    tally();
    if (studies.length) show(studies[0].id);
  });
}
