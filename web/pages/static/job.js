// Updates the job page while the job runs.

import { addCopyButtons } from "./copy.js";
import { follow } from "./live.js";

const SPEAK = 10_000; // ms: a screen reader hears of the progress now and then, not at every item

const live = document.getElementById("live");
const announcer = document.getElementById("announce");
let spoken = 0;

function announce(progress) {
  const terminal = progress.dataset.terminal === "yes";
  if (!terminal && Date.now() - spoken < SPEAK) return;
  spoken = Date.now();
  announcer.textContent = progress.dataset.summary;
}

follow(live, { changed: () => {
  const progress = live.querySelector("[data-terminal]");
  announce(progress);
  addCopyButtons(live);
} });
addCopyButtons();
