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
  const said = live.querySelector(`[data-part="said-${index}-${output}"]`);
  if (!said) return;
  const known = (heard.get(said.dataset.part) ?? new Map()).set(at, text);
  heard.set(said.dataset.part, known);
  const all = [...known].sort(([a], [b]) => a - b).map(([, part]) => part).join("");
  if (known.has(0) && all.length > said.textContent.length) said.textContent = all;
}

follow(live, { heard: hear, changed: () => {
  const progress = live.querySelector("[data-terminal]");
  announce(progress);
  addCopyButtons(live);
} });
addCopyButtons();
