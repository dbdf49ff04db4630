/* The same face, found: who it is, a search for the best values, a training's epochs, other people left as they are,
   many bases. */
import { choose, frame } from "../making.js";
import { section } from "../parts.js";
import { make } from "../study/elements.js";

const KINDS = {
  card: () => import("./likeness/card.js"),
  tune: () => import("./likeness/tune.js"),
  soup: () => import("./likeness/soup.js"),
  cure: () => import("./likeness/cure.js"),
  everywhere: () => import("./likeness/everywhere.js"),
};

export async function open(root, app) {
  const { t } = app, kept = app.draft("likeness"), { form, got } = frame(root, "likeness");
  const asked = make("div", { className: "asked" }), results = make("div", { className: "got" }), lead = make("p", { className: "note" });
  let part = null, turn = 0;
  const kinds = choose({ label: t("likeness.kind"), value: kept.get("kind", "card"), choices: Object.keys(KINDS).map((kind) => [kind, t("likeness.kind_" + kind)]), onchange: build });

  async function build(kind) {
    const mine = ++turn;
    kept.set("kind", kind);
    kinds.set(kind);
    part?.close();
    part = null;
    lead.textContent = t("likeness.lead_" + kind);
    asked.replaceChildren();
    results.replaceChildren();
    const module = await KINDS[kind]();
    const made = await module.open({ app, form, kept, go: build });
    if (mine !== turn) { made.close(); return; }
    part = made;
    asked.replaceChildren(...made.form);
    results.replaceChildren(...made.got);
  }

  form.append(section("", kinds.node, lead), asked);
  got.append(results);
  await build(kept.get("kind", "card"));
  return () => part?.close();
}
