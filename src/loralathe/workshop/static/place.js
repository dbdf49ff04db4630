/* Where pictures are made: on this computer, or by a program or a cluster that is asked.

   placeInput(value, onchange) → an input; its value is what the option `on` takes: "", "comfyui://host:port", … */
import { choiceInput, textInput } from "./parts.js";
import { t } from "./words.js";
import { make } from "./study/elements.js";

const KINDS = { "": "", comfyui: "127.0.0.1:8188", a1111: "127.0.0.1:7860", ray: "" };

export function placeInput(value, onchange) {
  const text = value ?? "", kind = text.split("://")[0].split("+")[0];
  const address = textInput(text.includes("://") ? text.slice(text.indexOf("://") + 3) : "", () => tell(), { "aria-label": t("place.address") });
  const where = choiceInput(kind in KINDS ? kind : "", () => { address.value = KINDS[where.value]; show(); tell(); },
    [["", t("place.here")], ["comfyui", t("place.comfyui")], ["a1111", t("place.a1111")], ["ray", t("place.ray")]]);
  const show = () => { address.hidden = !where.value; address.placeholder = where.value === "ray" ? t("place.ray_here") : KINDS[where.value]; };
  const secure = text.includes("+https://") ? "+https" : "";  // as it was written; a new choice is plain
  function tell() {
    const at = address.value.trim();
    if (!where.value) onchange(null);
    else if (where.value === "ray") onchange(at ? `ray://${at}` : "ray");
    else onchange(`${where.value}${where.value === kind ? secure : ""}://${at || KINDS[where.value]}`);
  }
  show();
  return make("div", { className: "place" }, where, address);
}
