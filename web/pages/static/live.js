// Keeps an element up to date: fetches its page again when the server reports a change, or from time to time, and replaces
// what differs. The server's templates make and escape all HTML; this module knows nothing of jobs.

const PAUSE = 400; // ms between two fetches: a fast job finishes thousands of items a second
const POLL = 3000; // ms, where or while there is no event stream
const CALM = 5000; // ms, where there is one: clocks and speeds go on while nothing else changes

/**
 * Refresh an element from the page at `data-live`, which has one of the same id, until something in it says
 * `data-settled="yes"`: at every event of `data-events`, a job's stream, if it has one. `changed()` is called each time.
 */
export function follow(element, changed = () => {}) {
  let source, timer, due = 0, fetching = false, stale = false;

  const settled = () => element.querySelector("[data-settled]")?.dataset.settled === "yes";

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
    if (settled()) source?.close();
    else if (document.hidden) return;
    else if (stale) schedule();
    else schedule(fetched && source?.readyState === EventSource.OPEN ? CALM : POLL);
  }

  async function replace() {
    try {
      const answer = await fetch(element.dataset.live, { headers: { Accept: "text/html" } });
      if (answer.status === 401) location.reload(); // logged out, perhaps elsewhere: nothing of the tenant's stays on screen
      if (!answer.ok) return false;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      morphChildren(element, page.getElementById(element.id));
    } catch {
      return false; // the network or the server is away
    }
    changed();
    return true;
  }

  function listen() {
    source?.close();
    if (!element.dataset.events) return;
    source = new EventSource(element.dataset.events); // reconnects by itself
    source.addEventListener("job", () => schedule());
    source.addEventListener("job.finished", () => {
      source.close();
      schedule();
    });
  }

  if (settled()) return;
  listen();
  schedule(POLL);
  // A browser has six connections to a server: pages that nobody looks at must not hold them all.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    timer = undefined;
    source?.close();
    if (document.hidden || settled()) return;
    listen();
    schedule(0);
  });
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
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (news) old.classList.add("fresh");
  morphChildren(old, fresh);
}
