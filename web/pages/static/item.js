// Updates the page of an item until it is over, and goes to the next item or the one before with the arrow keys.

import { follow } from "./live.js";

const KEYS = { ArrowLeft: "prev", ArrowRight: "next" };

follow(document.getElementById("live"));

addEventListener("keydown", (event) => {
  const rel = KEYS[event.key];
  if (!rel || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  // Where the arrow keys move a cursor or scroll sideways they do that.
  const target = event.target;
  if (target.closest("input, textarea, select") || target.scrollWidth > target.clientWidth + 1) return;
  document.querySelector(`a[rel=${rel}]`)?.click();
});
