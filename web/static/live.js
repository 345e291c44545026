// Keeps an element true: when the server says that its job changed, fetches the element's HTML anew and changes in place
// what differs. All HTML is made, and escaped, by the server's templates; this module knows no job.

const PAUSE = 400; // ms between two fetches: a fast job finishes thousands of items a second
const POLL = 3000; // ms, while there is no event stream

/**
 * Follow `element.dataset.events` (a job's event stream) and refresh from `element.dataset.live` until its part `progress`
 * is terminal. `changed(element)` is called after each refresh.
 */
export function follow(element, changed = () => {}) {
  let source, timer, fetching = false, stale = false;

  const terminal = () => element.querySelector("[data-terminal]")?.dataset.terminal === "yes";

  async function refresh() {
    timer = undefined;
    if (fetching) {
      stale = true;
      return;
    }
    fetching = true;
    stale = false;
    try {
      const answer = await fetch(element.dataset.live, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        morphChildren(element, parse(await answer.text()));
        changed(element);
      }
    } catch {
      stale = true; // the network or the server is away: the timer below tries again
    }
    fetching = false;
    if (terminal()) source?.close();
    else if (stale || !source || source.readyState !== EventSource.OPEN) schedule(stale ? PAUSE : POLL);
  }

  function schedule(pause = PAUSE) {
    timer ??= setTimeout(refresh, pause);
  }

  if (terminal()) return;
  source = new EventSource(element.dataset.events);
  source.addEventListener("job", () => schedule());
  source.addEventListener("job.finished", () => {
    source.close();
    schedule();
  });
  source.onerror = () => schedule(POLL); // the browser reconnects by itself; until then, poll
  addEventListener("pagehide", () => source.close());
}

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
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
