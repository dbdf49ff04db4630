/* segments.html: a saved search of segments. */
const TEXT = { en: SEGMENTS_WORDS, zh: data.words.texts };
const view = segmentsView({ data, t, light: $("light"), redraw });
addEventListener("keydown", (event) => { if (event.key === "Escape") view.closeLight(); });

function redraw() {
  $("title").textContent = document.title = data.title || t("title").replace("{}", () => data.adapter);
  $("summary").textContent = view.summary();
  $("report").replaceChildren(...view.cards());
}
start();
