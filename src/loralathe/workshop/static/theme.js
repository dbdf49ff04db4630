/* Before the first paint: dark or light, as was chosen here or as the system says. */
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("lathe.theme"); } catch { /* private mode */ }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
