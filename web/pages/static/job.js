// Updates the job page while the job runs.

import { addCopyButtons } from "./copy.js";
import { follow } from "./live.js";

const SPEAK = 10_000; // ms: a screen reader hears of the progress now and then, not at every item

const live = document.getElementById("live");
const announcer = document.getElementById("announce");
let spoken = 0;
const heard = new Map(); // of each continuation, its pieces by position

function announce(progress) {
  const terminal = progress.dataset.terminal === "yes";
  if (!terminal && Date.now() - spoken < SPEAK) return;
  spoken = Date.now();
  announcer.textContent = progress.dataset.summary;
}

/** Shows a piece of streamed text at once; the next refresh has it in any case. */
function hear({ index, output, at, text }) {
  if (!document.getElementById(`item-${index}`)) return; // on another page of the list
  const part = `said-${index}-${output}`;
  // Also while the item shows no text yet: without its beginning nothing of what follows could be shown.
  const known = (heard.get(part) ?? new Map()).set(at, text);
  heard.set(part, known);
  const said = live.querySelector(`[data-part="${part}"]`);
  const all = [...known].sort(([a], [b]) => a - b).map(([, piece]) => piece).join("");
  if (said && known.has(0) && all.length > said.textContent.length) said.textContent = all;
}

follow(live, { heard: hear, changed: () => {
  const progress = live.querySelector("[data-terminal]");
  announce(progress);
  addCopyButtons(live);
} });
addCopyButtons();
