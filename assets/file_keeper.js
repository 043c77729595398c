// The file keeper: what is dropped or pasted is also held by the browser, for this tab, so that a reload of the tab does
// not lose it. The server never writes it to its disk; it says which files it holds, by their SHA-256, and whether it has
// just begun: then the browser sends what it has. What the server held once and holds no more is forgotten here too, and
// so is what a tab left that is closed.

const BASE = "nodelens";
const STORE = "files";
const TAB = "nodelens.tab";
const LATE = 10 * 60 * 1000; // milliseconds after which what a closed tab left is forgotten

export default function (component) {
  const root = component.parentElement.querySelector(".keeper");
  root.keeper ??= createKeeper(root);
  root.keeper.show(component);
  return root.keeper.leave;
}

function createKeeper(root) {
  const tab = (sessionStorage[TAB] ??= `${Date.now()}-${Math.random().toString(36).slice(2)}`);
  const seen = new Set(); // digests that the server has held
  let component = null;
  let asked = false;
  let holds = 0; // files that came in while this page stood
  let turn = Promise.resolve(); // one thing at a time
  const inTurn = (work) => (turn = turn.then(work).catch(unable));

  const able = globalThis.indexedDB && globalThis.crypto?.subtle && globalThis.navigator?.locks;
  const unable = () => {
    root.textContent = "This browser cannot hold your files over a reload of the tab: they would have to be dropped again.";
  };
  const done = (request) => new Promise((good, bad) => {
    request.onsuccess = () => good(request.result);
    request.onerror = () => bad(request.error);
  });
  let base = null;
  async function files(mode) {
    if (!base) {
      const opening = indexedDB.open(BASE, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { autoIncrement: true });
      base = await done(opening);
    }
    return base.transaction(STORE, mode).objectStore(STORE);
  }
  async function each(visit) {
    const cursor = (await files("readwrite")).openCursor();
    await new Promise((good, bad) => {
      cursor.onerror = () => bad(cursor.error);
      cursor.onsuccess = () => {
        if (!cursor.result) return good();
        visit(cursor.result.value, cursor.result);
        cursor.result.continue();
      };
    });
  }

  // Holding ---------------------------------------------------------------------------------------------------------
  async function hold(list) {
    for (const file of list) {
      if (file.size > component.data.limit) continue;
      const bytes = await file.arrayBuffer();
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
      const digest = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      const name = file.name || "pasted picture";
      await done((await files("readwrite")).add({ tab, digest, name, bytes, time: Date.now() }));
      root.dataset.holds = ++holds;
    }
  }
  function come(event) {
    const from = event.type === "change" ? event.target : event.type === "drop" ? event.dataTransfer : event.clipboardData;
    if (event.type !== "paste" && !event.composedPath().some(({ dataset }) => dataset?.testid === "stFileUploader")) return;
    const list = [...(from?.files ?? [])];
    if (list.length) inTurn(() => hold(list));
  }

  // Sending back, and forgetting ------------------------------------------------------------------------------------
  async function sendBack() {
    const found = [];
    let room = component.data.limit;
    await each((file) => {
      if (file.tab !== tab || file.bytes.byteLength > room) return;
      room -= file.bytes.byteLength;
      found.push(file);
    });
    if (!found.length) return;
    const sent = await Promise.all(found.map(async ({ name, bytes }) => ({ name, data: await text(bytes) })));
    component.setTriggerValue("files", sent);
  }
  const text = (bytes) => new Promise((good) => {
    const reader = new FileReader();
    reader.onload = () => good(reader.result.split(",")[1] ?? "");
    reader.readAsDataURL(new Blob([bytes]));
  });
  async function forget(held) {
    const gone = [...seen].filter((digest) => !held.includes(digest));
    for (const digest of held) seen.add(digest);
    if (!gone.length) return;
    await each((file, cursor) => {
      if (file.tab === tab && gone.includes(file.digest)) cursor.delete();
    });
    for (const digest of gone) seen.delete(digest);
  }
  async function begin() {
    globalThis[TAB] ??= navigator.locks.request(`${TAB}-${tab}`, () => new Promise(() => {})); // as long as the tab
    const locks = (await navigator.locks.query()).held.map(({ name }) => name);
    await each((file, cursor) => {
      const left = file.tab !== tab && !locks.includes(`${TAB}-${file.tab}`);
      if (left && Date.now() - file.time > LATE) cursor.delete();
    });
  }

  const EVENTS = ["change", "drop", "paste"];
  function show(next) {
    component = next;
    if (!able) return unable();
    for (const type of EVENTS) document.addEventListener(type, come, true); // once: it is the same listener
    root.dataset.holds = holds;
    const { held, fresh } = next.data;
    if (!asked) inTurn(begin);
    if (!asked && fresh) inTurn(sendBack);
    asked = true;
    inTurn(() => forget(held));
  }
  return { show, leave: () => EVENTS.forEach((type) => document.removeEventListener(type, come, true)) };
}
