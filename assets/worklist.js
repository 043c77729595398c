// The worklist: a strip of thumbnails, and keys to go through it. The server is told an id to open, and all opinions that
// were given here since the strip was made; marks and the place move at once. Until the server has opened what was asked
// for, the picture on the screen is another's: no opinion is taken.

const AGREEMENT = { 1: "agree", 2: "unsure", 3: "disagree" };
const STEP = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 };
const FIELDS = ["INPUT", "TEXTAREA", "SELECT"];
const ROLES = ["radio", "slider", "combobox", "option", "listbox", "tab", "spinbutton", "menuitem", "textbox", "grid", "gridcell"];

// Whether a key belongs to what has the focus: somebody types, or arrows move something there.
function taken(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return true;
  const path = event.composedPath().filter((element) => element instanceof Element);
  if (path.some((element) => element.tagName === "DIALOG" || element.role === "dialog")) return true;
  const [target] = path;
  if (!target) return false;
  const quiet = target.tagName === "INPUT" && ["checkbox", "radio", "range", "button"].includes(target.type);
  if (quiet) return event.key.startsWith("Arrow");
  return FIELDS.includes(target.tagName) || target.isContentEditable || target.tagName === "CANVAS"
    || (ROLES.includes(target.role ?? target.getAttribute("role")) && event.key.startsWith("Arrow"));
}

export default function (component) {
  const root = component.parentElement.querySelector(".worklist");
  root.list ??= createList(root); // on the element, so that it is as long-lived as its listeners
  root.list.show(component);
  return root.list.leave;
}

function createList(root) {
  const find = (id) => root.querySelector(`[data-testid="${id}"]`);
  const strip = root.querySelector("ol");
  const note = find("note");
  const sheet = find("key-sheet");
  const judges = [...root.querySelectorAll("[data-agreement]")];
  let component = null; // the listeners speak through the latest one
  let data = null;
  let at = null; // place in the list, ahead of the server's while that answers
  let waits = false;
  let given = {}; // opinions given here, by id

  const entry = (place) => data.thumbs[place - data.first];
  const opinion = (id) => given[id] ?? data.thumbs.find((thumb) => thumb.id === id);

  // Moving ----------------------------------------------------------------------------------------------------------
  function open(place) {
    const wanted = entry(place);
    if (!wanted || (place === at && waits)) return;
    keepNote();
    at = place;
    waits = place !== data.at;
    draw();
    component.setTriggerValue("opened", wanted.id);
  }
  const step = (by) => open(at === null ? data.first : at + by);

  // Opinions --------------------------------------------------------------------------------------------------------
  function judge(change) {
    if (!data.readable || waits || at === null || !entry(at)) return;
    const { id } = entry(at);
    const { agreement, note: written } = opinion(id);
    given = { ...given, [id]: { agreement, note: written, ...change } };
    component.setStateValue("opinions", { scope: data.scope, of: given });
    draw();
  }
  const agree = (word) => judge({ agreement: at !== null && opinion(entry(at).id).agreement === word ? "" : word });

  function keepNote() {
    const of = note.dataset.of;
    if (!of || !data.readable || waits || opinion(of)?.note === note.value.trim()) return;
    judge({ note: note.value.trim() });
  }
  function leaveNote() {
    note.value = at === null ? "" : (opinion(entry(at).id)?.note ?? "");
    note.blur();
  }

  // Keys ------------------------------------------------------------------------------------------------------------
  function press(event) {
    if (!root.isConnected || taken(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (STEP[key]) step(STEP[key]);
    else if (AGREEMENT[key]) agree(AGREEMENT[key]);
    else if (key === "n") note.focus();
    else if (key === "?") sheet.showModal();
    else return;
    event.preventDefault();
  }
  note.addEventListener("keydown", (event) => {
    if (event.key === "Enter") note.blur();
    if (event.key === "Escape") leaveNote();
  });
  note.addEventListener("blur", keepNote);
  sheet.addEventListener("keydown", (event) => {
    if (event.key === "?") sheet.close();
  });
  find("keys").addEventListener("click", () => sheet.showModal());
  find("close-keys").addEventListener("click", () => sheet.close());
  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  for (const button of judges) button.addEventListener("click", () => agree(button.dataset.agreement));
  strip.addEventListener("click", ({ target }) => {
    const item = target.closest("li");
    if (item) open(data.first + [...strip.children].indexOf(item));
  });

  // Content ---------------------------------------------------------------------------------------------------------
  function fill(item, thumb, place) {
    const part = (name) => item.querySelector(name);
    const { agreement, note: written } = opinion(thumb.id);
    const here = place === at;
    part("img").hidden = !thumb.picture;
    if (thumb.picture && part("img").getAttribute("src") !== thumb.picture) part("img").src = thumb.picture;
    part(".refusal").textContent = thumb.refusal;
    part(".refusal").hidden = !thumb.refusal;
    part(".words").textContent = thumb.words;
    part(".mark").textContent = [agreement, written && "note"].filter(Boolean).join(", ");
    part("button").title = [thumb.name, thumb.refusal].filter(Boolean).join(": ");
    part("button").ariaLabel = [thumb.name, thumb.words, thumb.refusal, agreement, written && "with a note"]
      .filter(Boolean)
      .join(", ");
    part("button").ariaCurrent = here ? "true" : "false";
    item.classList.toggle("refused", !thumb.picture);
  }

  function draw() {
    const { thumbs, first, total } = data;
    while (strip.children.length > thumbs.length) strip.lastElementChild.remove();
    while (strip.children.length < thumbs.length) strip.append(root.querySelector("template").content.cloneNode(true));
    thumbs.forEach((thumb, i) => fill(strip.children[i], thumb, first + i));
    find("worklist-title").textContent = data.title;
    const n = (number) => number.toLocaleString("en-GB");
    find("worklist-place").textContent = at !== null ? `${n(at + 1)} of ${n(total)}` : total ? `none of ${n(total)} is open` : "";
    find("previous").disabled = at === null || at === 0;
    find("next").disabled = !total || at === total - 1;
    const open = at === null ? null : entry(at);
    const silent = !open || !data.readable || waits;
    for (const button of judges) {
      button.disabled = silent;
      button.ariaPressed = open !== null && open !== undefined && opinion(open.id).agreement === button.dataset.agreement;
    }
    note.disabled = silent;
    if (root.getRootNode().activeElement !== note || note.dataset.of !== open?.id) {
      note.value = open ? opinion(open.id).note : "";
      note.dataset.of = open?.id ?? "";
    }
    root.ariaBusy = waits;
    const current = strip.children[(at ?? first) - first];
    if (current) strip.scrollLeft = current.offsetLeft - (strip.clientWidth - current.clientWidth) / 2;
  }

  function show(next) {
    component = next;
    document.addEventListener("keydown", press); // once: it is the same listener
    if (data?.scope !== next.data.scope) given = {};
    // While several steps are under way, an answer to an earlier one does not take the mark back.
    const wanted = waits ? entry(at)?.id : null;
    data = next.data;
    const place = data.thumbs.findIndex(({ id }) => id === wanted);
    waits = wanted !== null && place >= 0 && data.first + place !== data.at;
    at = waits ? data.first + place : data.at;
    if (waits) clearTimeout(draw.late);
    if (waits) draw.late = setTimeout(giveUp, 20_000); // what was asked for never came: the server's word holds
    draw();
  }
  function giveUp() {
    if (!waits) return;
    waits = false;
    at = data.at;
    draw();
  }

  return { show, leave: () => document.removeEventListener("keydown", press) };
}
