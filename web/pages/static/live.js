// Keeps an element up to date: fetches its page again when the server reports a change, or from time to time, and replaces
// what differs. The server's templates make and escape all HTML; this module knows nothing of jobs.

import { openStream } from "./streams.js";

const PAUSE = 400; // ms between two fetches: a fast job finishes thousands of items a second
const POLL = 3000; // ms, where or while there is no event stream
const CALM = 5000; // ms, where there is one: clocks and speeds go on while nothing else changes
const SEARCH = 15_000; // ms, of what takes the server long: `data-calm`
const DELETED = 404, LOGGED_OUT = 401;

/**
 * Refresh an element from the page at `data-live`, which has one of the same id, until something in it says
 * `data-settled="yes"`: at every event of `data-events`, a job's stream, if it has one. The window's title and icon follow.
 * `changed()` is called each time, `heard(delta)` with each piece of streamed text.
 */
export function follow(element, { changed = () => {}, heard = () => {} } = {}) {
  let stream, timer, due = 0, fetching = false, stale = false, over = false;
  let fresh = new Date();
  const calm = "calm" in element.dataset;

  const settled = () => over || element.querySelector("[data-settled]")?.dataset.settled === "yes";

  /** Refresh after a pause, or sooner if that was wanted before. */
  function schedule(pause = PAUSE) {
    const at = Date.now() + pause;
    if (timer && due <= at) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(refresh, pause);
  }

  async function refresh() {
    timer = undefined;
    stale = fetching;
    if (fetching) return;
    fetching = true;
    const fetched = await replace();
    fetching = false;
    if (settled()) stream?.close();
    else if (document.hidden) return;
    else if (stale) schedule();
    else schedule(calm ? SEARCH : fetched && stream?.isOpen() ? CALM : POLL);
  }

  async function replace() {
    try {
      const answer = await fetch(element.dataset.live, { headers: { Accept: "text/html" } });
      if (answer.status === LOGGED_OUT) return end("logged out");
      if (answer.status === DELETED) return stop("deleted");
      if (!answer.ok) return tell(`the server answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      morphChildren(element, page.getElementById(element.id));
      followHead(page);
    } catch {
      return tell(navigator.onLine ? "the server cannot be reached" : "offline");
    }
    fresh = new Date();
    document.getElementById("not-updating")?.remove();
    changed();
    return true;
  }

  /** Say above the element since when it is no longer true, and why. */
  function tell(why) {
    const banner = document.getElementById("not-updating") ?? document.createElement("p");
    banner.id = "not-updating";
    banner.className = "notice bad";
    banner.setAttribute("role", "status");
    const since = fresh.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const text = `Not updating since ${since}: ${why}.`;
    if (banner.textContent !== text) banner.textContent = text;
    if (!banner.isConnected) document.getElementById("main").prepend(banner);
    return false;
  }

  function stop(why) {
    over = true;
    tell(why);
    return false;
  }

  /** Logged out, perhaps elsewhere: nothing of the tenant's stays on screen. */
  function end(why) {
    const link = Object.assign(document.createElement("a"), { href: location.href, textContent: "Log in" });
    link.className = "button";
    document.getElementById("main").replaceChildren(link);
    document.querySelector(".bar .who")?.remove();
    document.title = "promptmill";
    return stop(why);
  }

  function listen() {
    stream?.close();
    if (!element.dataset.events || calm) return;
    stream = openStream(element.dataset.events, {
      job: () => schedule(),
      "job.finished": () => {
        stream.close();
        schedule();
      },
      "item.delta": (event) => heard(JSON.parse(event.data)),
    });
  }

  if (settled()) return;
  // A browser has six connections to a server: pages that nobody looks at hold none. Such a page may have been opened so.
  if (!document.hidden) {
    listen();
    schedule(calm ? SEARCH : POLL);
  }
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    timer = undefined;
    stream?.close();
    if (document.hidden || settled()) return;
    listen();
    schedule(0);
  });
}

/** The window's title and icon show the progress. */
function followHead(page) {
  if (page.title && document.title !== page.title) document.title = page.title;
  const icon = page.querySelector('link[rel="icon"]')?.getAttribute("href");
  const shown = document.querySelector('link[rel="icon"]');
  if (icon && shown.getAttribute("href") !== icon) shown.setAttribute("href", icon);
}

/** Make `old`'s children like `fresh`'s, keeping every node that is still right: selection, scroll and focus stay. */
function morphChildren(old, fresh) {
  let next = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const found = match(next, wanted);
    if (found) {
      while (next !== found) next = drop(next);
      next = found.nextSibling;
      morph(found, wanted);
    } else {
      old.insertBefore(wanted, next);
    }
  }
  while (next) next = drop(next);
}

/** The first node from `node` on that is the same thing as `wanted`; those with a key are found further along. */
function match(node, wanted) {
  const key = keyOf(wanted);
  if (!key) return node && node.nodeName === wanted.nodeName && !keyOf(node) ? node : undefined;
  while (node && keyOf(node) !== key) node = node.nextSibling;
  return node ?? undefined;
}

const keyOf = (node) => node.id || node.dataset?.part || "";

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || old.isEqualNode(fresh)) return;
  if ("still" in old.dataset) return; // the same as long as it is there, and scripts have added to it
  const news = old.dataset.rev !== fresh.dataset.rev;
  for (const { name } of [...old.attributes]) {
    const opened = name === "open" && old.nodeName === "DETAILS"; // by the reader, who closes it again
    if (!fresh.hasAttribute(name) && !opened) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (news) old.classList.add("fresh");
  morphChildren(old, fresh);
}
