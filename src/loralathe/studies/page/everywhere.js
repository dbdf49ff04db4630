/* everywhere.html: one LoRA on many bases. */
const TEXT = { en: EVERYWHERE_WORDS, zh: data.words.texts };
const view = everywhereView({ data, t, light: $("light") });
addEventListener("keydown", (event) => { if (event.key === "Escape") view.closeLight(); });

function redraw() {
  $("title").textContent = document.title = data.title || view.title();
  $("summary").textContent = data.prompt;
  $("report").replaceChildren(...view.cards());
}
start();
