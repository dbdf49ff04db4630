/* The workshop's frame in its tab, and a button under the pictures that hands prompt and settings over.

   Fields are read where A1111, Forge and Forge Neo keep them: by the ids of their elements. */
(() => {
  const CHINESE = /^zh-(TW|Hant|HK)/i.test(navigator.language);
  const say = (english, chinese) => (CHINESE ? chinese : english);
  const root = () => (typeof gradioApp === "function" ? gradioApp() : document);
  const find = (selector) => root().querySelector(selector);
  let frame = null, opening = null;

  async function ask() {
    const answer = await fetch("loralathe/start", { method: "POST", headers: { "X-Lathe": "1" } });
    const told = await answer.json();
    if (!answer.ok) throw new Error([told.what, told.where, told.fix].filter(Boolean).join("\n"));
    return told.address;
  }

  /* The frame, once its page is there; several callers wait for the same one. */
  function open() {
    opening ??= (async () => {
      const place = await there("#loralathe");
      place.textContent = say("The workshop starts …", "工作坊啟動中……");
      try {
        const address = await ask();
        frame = document.createElement("iframe");
        frame.src = address;
        frame.title = "loralathe";
        frame.style.cssText = "width:100%;height:calc(100vh - 9rem);min-height:40rem;border:0";
        const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
        place.replaceChildren(frame);
        await loaded;
        return frame;
      } catch (error) {
        const again = document.createElement("button");
        again.textContent = say("Try again", "再試一次");
        again.onclick = () => { opening = null; open().catch(() => {}); };
        const text = document.createElement("pre");
        text.textContent = error.message;
        place.replaceChildren(text, again);
        opening = null;
        throw error;
      }
    })();
    return opening;
  }

  /* Some versions put a tab's content in when it is opened. */
  async function there(selector) {
    for (let tries = 0; tries < 50 && !find(selector); tries++) await new Promise((next) => setTimeout(next, 100));
    return find(selector);
  }

  const text = (selector) => find(`${selector} textarea`)?.value ?? "";
  /* A number, the chosen one of several, or what a list shows. */
  function field(selector) {
    const found = ["input:checked", "input[type=number]", "input:not([type=radio])", "select"].map((kind) => find(`${selector} ${kind}`));
    return found.find(Boolean)?.value ?? "";
  }
  const number = (selector) => { const value = field(selector); return value === "" || isNaN(value) ? null : Number(value); };

  function settings(tab) {
    const id = (name) => `#${tab}_${name}`;
    const size = [number(id("width")), number(id("height"))];
    const found = {
      prompt: text(id("prompt")), negative: text(id("neg_prompt")), steps: number(id("steps")), cfg: number(id("cfg_scale")),
      seed: number(id("seed")), sampler: field(id("sampling")), schedule: field(id("scheduler")),
      size: size.every(Boolean) ? size.join("x") : null,
    };
    return Object.fromEntries(Object.entries(found).filter(([name, value]) => name === "prompt" || (value !== null && value !== "")));
  }

  async function send(tab) {
    const given = settings(tab);
    const button = [...root().querySelectorAll("#tabs > .tab-nav button, #tabs > div > [role=tablist] button, #tabs [role=tab]")]
      .find((one) => one.textContent.trim() === "loralathe");
    button?.click();
    const shown = await open();
    shown.contentWindow.postMessage({ kind: "lathe settings", settings: given }, new URL(shown.src).origin);
  }

  function buttons() {
    for (const tab of ["txt2img", "img2img"]) {
      const row = find(`#image_buttons_${tab} .form`) ?? find(`#image_buttons_${tab}`);
      if (!row || row.querySelector(".loralathe-send")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "loralathe-send lg secondary gradio-button tool";
      button.textContent = "loralathe";
      button.title = say("Send prompt and settings to loralathe", "把提示詞與設定送到 loralathe");
      button.onclick = () => send(tab).catch(() => {});
      row.append(button);
    }
  }

  let watched = null;

  function watch() {
    buttons();
    const place = find("#loralathe");
    if (!place || place === watched) return;
    watched = place;
    new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) open().catch(() => {}); }).observe(place.parentElement);
  }

  if (typeof onUiLoaded === "function") onUiLoaded(watch);
  else addEventListener("load", watch);
  if (typeof onUiTabChange === "function") onUiTabChange(watch);
})();
