/* tune.html: a saved search. A page of a search that still runs loads itself again. */
const TEXT = { en: TUNE_WORDS, zh: data.words.texts };
const view = tuneView({ data, t, light: $("light"), redraw });
addEventListener("keydown", (event) => { if (event.key === "Escape") view.closeLight(); });
addEventListener("resize", () => view.fit());
if (data.stage) setTimeout(() => location.reload(), 10000);

function redraw() {
  $("title").textContent = document.title = data.title || t("title");
  $("summary").textContent = view.summary();
  $("report").replaceChildren(...view.cards());
}
start();
