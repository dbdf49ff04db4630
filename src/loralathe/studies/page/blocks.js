/* blocks.html: a saved study of blocks. */
const TEXT = { en: BLOCK_WORDS, zh: data.words.texts };
const view = blocksView({ data, t, light: $("light"), redraw });
addEventListener("keydown", (event) => { if (event.key === "Escape") view.closeLight(); });

function redraw() {
  $("title").textContent = document.title = data.title || t("title").replace("{}", () => data.adapter);
  $("summary").textContent = view.summary();
  $("report").replaceChildren(view.effectsCard(), view.weightsCard(), view.sheetCard());
}
start();
