// Event streams, of which all windows of a browser together hold a few: each takes one of the six connections that a browser
// has to a server, and pages could not be loaded any more. A window that gets none polls, and takes one that becomes free.

const MOST = 3;

/** A stream that calls `handlers[type](event)`; `isOpen()` says whether events come. */
export function openStream(address, handlers) {
  const closing = new AbortController();
  let source;

  function open() {
    source = new EventSource(address); // reconnects by itself
    for (const [type, handle] of Object.entries(handlers)) source.addEventListener(type, handle);
  }

  /** Hold a place until the stream is closed. The browser gives it back if this window ends. */
  async function hold() {
    open();
    await new Promise((resolve) => closing.signal.addEventListener("abort", resolve));
  }

  // Without HTTPS, but for the own machine, browsers have no locks: windows that are looked at are few there, too.
  if (!navigator.locks) open();
  else place(hold, closing.signal);

  return {
    isOpen: () => source?.readyState === EventSource.OPEN,
    close: () => {
      closing.abort();
      source?.close();
    },
  };
}

/** Call `hold` with one of the places: with a free one if there is one, else with the first that becomes free. */
async function place(hold, signal) {
  for (let number = 0; number < MOST; number++) {
    const taken = await navigator.locks.request(`stream-${number}`, { ifAvailable: true }, async (lock) => {
      if (!lock || signal.aborted) return false;
      await hold();
      return true;
    });
    if (taken || signal.aborted) return;
  }
  const any = Math.floor(Math.random() * MOST);
  await navigator.locks.request(`stream-${any}`, { signal }, hold).catch(() => {}); // closed while it waited
}
