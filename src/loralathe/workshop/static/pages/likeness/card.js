/* Who it is: a card of a few pictures; and how like a card other pictures are. */
import { get, post } from "../../api.js";
import { fileInfo, filePicker } from "../../files.js";
import { maker } from "../../making.js";
import { picturePicker } from "../../pictures.js";
import { accept, button, field, note, nothingChosen, refuse, row, section } from "../../parts.js";
import { label } from "../../state.js";
import { fileUrl } from "../../api.js";
import { facts, fixed, make } from "../../study/elements.js";

const FEWEST = 3;
const FINDS_FACES = /scrfd|yunet|det_\d|face_detection/i, KNOWS_FACES = /judge|w600k|glint|arcface|ccip|r50|r100|clip/i;

export async function open({ app, form, kept, go }) {
  const { t, state } = app, lora = state.get().loras.find((one) => one.file)?.file ?? "";
  const next = make("div", { className: "taken", role: "status" }), told = make("div", { "aria-live": "polite" });
  const photos = picturePicker({ value: kept.get("photos", []), least: FEWEST, most: 8, onchange: (names) => { kept.set("photos", names); made.refresh(); } });
  const words = () => (photos.values().length >= FEWEST ? photos.values() : null);
  const suggest = () => label(lora) || "person";
  const defaults = { ...await usual(), trigger: await triggerOf(lora) };
  const made = await maker({ app, page: "likeness", command: "make_card", words, base: () => "", form, suggest, text: t("likeness.card_run"), title: (name) => t("likeness.card_job", name),
    usual: ["model", "detector", "trigger"], defaults, onmade: (file) => { kept.set("card", file); card.set(file); onward(file); } });

  function onward(file) {
    next.replaceChildren(note(t("likeness.card_made", label(file))), row(button(t("likeness.to_tune"), () => go("tune"), { kind: "small" })));
  }

  const card = filePicker({ kind: "card", value: kept.get("card", ""), onchange: (file) => kept.set("card", file) });
  const others = picturePicker({ value: kept.get("others", []), least: 1, onchange: (names) => kept.set("others", names) });
  const place = section(t("likeness.check"), note(t("likeness.check_note")), field({ name: "card", label: t("likeness.card"), input: card.node, wide: true }),
    field({ name: "others", label: t("likeness.others"), input: others.node, wide: true }), row(button(t("likeness.check_run"), check)));

  async function check() {
    accept(form);
    const missing = nothingChosen(place);
    if (missing) { refuse(place, missing); return; }
    told.replaceChildren(note(t("programs.asking")));
    try {
      const found = await post("ask", { command: "check_identity", words: [kept.get("card"), ...others.values()], options: {} });
      const verdict = ({ likeness, person }) => t(likeness === null ? "likeness.nobody" : person ? "likeness.the_person" : "likeness.another");
      told.replaceChildren(section(t("likeness.check"), make("div", { className: "photos told" }, ...found.data.map((one, i) => make("figure", { className: one.person ? "yes" : "" }, make("img", { src: fileUrl(others.values()[i]), alt: "" }),
        make("figcaption", {}, make("b", { textContent: one.likeness === null ? "–" : fixed(one.likeness, 3) }), make("small", { textContent: verdict(one) }))))), facts(found.rows)));
    } catch (error) { told.replaceChildren(); refuse(place, error); }
  }

  return {
    form: [section(t("likeness.photos"), note(t("likeness.photos_note")), field({ name: "photo", label: t("likeness.photos_of"), input: photos.node, wide: true })),
      section(t("likeness.knows"), note(t("likeness.knows_note")), made.save), place],
    got: [made.go, next, told],
    close: () => made.close(),
  };
}

/* What is most likely meant, of the models that are there. */
async function usual() {
  try {
    const names = (await get("library?kind=face")).files.map((file) => file.name), found = {};
    const finds = names.filter((name) => FINDS_FACES.test(name)), rest = names.filter((name) => !FINDS_FACES.test(name)), knows = rest.filter((name) => KNOWS_FACES.test(name));
    if (knows.length || rest.length === 1) found.model = (knows[0] ?? rest[0]);
    if (finds.length && found.model && !/judge|ccip|clip/i.test(found.model)) found.detector = finds[0];
    return found;
  } catch { return {}; /* the list says what is wrong when it is opened */ }
}

async function triggerOf(lora) {
  if (!lora) return "";
  try { return (await fileInfo(lora)).triggers?.[0] ?? label(lora); } catch { return label(lora); }
}
