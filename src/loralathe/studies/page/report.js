/* The page of a report: a search, segments, blocks, many bases, a soup. The view before it says what is in it. A page
   of a search that still runs loads itself again. */
const TEXT = { en: WORDS, zh: data.words.texts };
const view = reportView({ data, t, light: $("light"), redraw });
addEventListener("keydown", (event) => { if (event.key === "Escape") view.closeLight(); });
if (view.fit) addEventListener("resize", () => view.fit());
if (data.stage) setTimeout(() => location.reload(), 10000);

function redraw() {
  $("title").textContent = document.title = data.title || view.title();
  $("summary").textContent = view.summary();
  $("report").replaceChildren(...view.cards());
}
start();
