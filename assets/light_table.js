// The light table: linked pictures of patches, with controls that answer without the server. Where something is drawn
// from what was chosen, as a figure to keep, the server is told as pointer or focus leave the table.
// The DOM and its listeners are made once per mount; every later call of the default export only swaps content.
// What is chosen lives in one form and, for the browser tab, in sessionStorage; zoom and pan live here. CSS does the rest:
// this file sets custom properties and data attributes on the root, so all panels stay linked by construction.

const STORE = "nodelens.light-table"; // one for all light tables: opacity chosen on one page holds on the next
const MAX_ZOOM = 8;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".table");
  root.table ??= createTable(root); // on the element, so that it is as long-lived as its listeners
  root.table.show(data, setStateValue);
  return root.table.leave;
}

function createTable(root) {
  const find = (id) => root.querySelector(`[data-testid="${id}"]`);
  const form = root.querySelector("form");
  const panels = root.querySelector(".panels");
  const hold = find("hold");
  const view = { zoom: 1, x: 0, y: 0 }; // x, y: left and top edge of what is seen, as fractions of the patch
  let data = null;

  // Choices ---------------------------------------------------------------------------------------------------------
  const load = () => JSON.parse(sessionStorage.getItem(STORE) ?? "{}");

  function restore() {
    const stored = load();
    for (const name of ["opacity", "grid", "tissue"]) {
      if (stored[name] !== undefined) form.elements[name].value = stored[name];
    }
    form.elements.box.checked = stored.box ?? data.label_box;
    apply();
  }

  function apply() {
    const { opacity, grid, tissue, box } = form.elements;
    root.style.setProperty("--opacity", opacity.value / 100);
    find("opacity-value").textContent = `${opacity.value} %`;
    Object.assign(root.dataset, { grid: grid.value, tissue: tissue.value, box: box.checked });
  }

  let tell = null; // null where nobody is to be told
  let told = "";
  function tellLook() {
    const { opacity, grid, tissue, box } = form.elements;
    const look = { opacity: Number(opacity.value), grid: grid.value, tissue: tissue.value, box: box.checked };
    const words = JSON.stringify(look);
    if (!tell || words === told) return;
    told = words;
    tell("look", look);
  }
  form.addEventListener("focusout", ({ relatedTarget }) => form.contains(relatedTarget) || tellLook());
  root.addEventListener("pointerleave", ({ buttons }) => {
    if (buttons) document.addEventListener("pointerup", tellLook, { once: true }); // a slider that is still dragged
    else tellLook();
  });

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    const choice = target.type === "checkbox" ? target.checked : target.value;
    sessionStorage.setItem(STORE, JSON.stringify({ ...load(), [target.name]: choice }));
    apply();
  });

  // Hold to hide ----------------------------------------------------------------------------------------------------
  function hide(held) {
    root.toggleAttribute("data-held", held);
    hold.setAttribute("aria-pressed", held);
  }
  const pressed = ({ key }) => key === " " || key === "Enter";
  hold.addEventListener("pointerdown", () => hide(true));
  hold.addEventListener("keydown", (event) => pressed(event) && hide(true));
  hold.addEventListener("keyup", (event) => pressed(event) && hide(false));
  for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) hold.addEventListener(end, () => hide(false));
  // H hides while it is held, wherever the focus is but in a field.
  const typing = (event) => event.composedPath().some(({ tagName, type, isContentEditable }) =>
    isContentEditable || tagName === "TEXTAREA" || tagName === "SELECT" || tagName === "DIALOG"
    || (tagName === "INPUT" && !["range", "radio", "checkbox"].includes(type)));
  function held(event) {
    if (event.key.toLowerCase() !== "h" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.type === "keyup") hide(false);
    else if (!typing(event)) hide(true);
  }
  const listenForH = (call) => {
    for (const type of ["keydown", "keyup"]) document[`${call}EventListener`](type, held);
  };
  hold.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press on a touch screen

  // Zoom and pan ----------------------------------------------------------------------------------------------------
  function look(zoom, x, y) {
    view.zoom = clamp(zoom, 1, MAX_ZOOM);
    view.x = clamp(x, 0, 1 - 1 / view.zoom);
    view.y = clamp(y, 0, 1 - 1 / view.zoom);
    for (const [name, value] of Object.entries(view)) root.style.setProperty(`--${name}`, value);
    root.toggleAttribute("data-zoomed", view.zoom > 1);
    find("zoom").textContent = `${Math.round(view.zoom * 100)} %`;
    find("zoom-out").disabled = find("zoom-reset").disabled = view.zoom === 1;
    find("zoom-in").disabled = view.zoom === MAX_ZOOM;
  }
  const pan = (right, down) => look(view.zoom, view.x + right / view.zoom, view.y + down / view.zoom);

  // Zoom by a factor; the tissue under (u, v), fractions of the stage, stays where it is.
  function zoomBy(factor, u = 0.5, v = 0.5) {
    const zoom = clamp(view.zoom * factor, 1, MAX_ZOOM);
    const shift = 1 / view.zoom - 1 / zoom;
    look(zoom, view.x + u * shift, view.y + v * shift);
  }
  find("zoom-in").addEventListener("click", () => zoomBy(Math.SQRT2));
  find("zoom-out").addEventListener("click", () => zoomBy(Math.SQRT1_2));
  find("zoom-reset").addEventListener("click", () => look(1, 0, 0));

  const KEYS = {
    ArrowLeft: () => pan(-0.125, 0),
    ArrowRight: () => pan(0.125, 0),
    ArrowUp: () => pan(0, -0.125),
    ArrowDown: () => pan(0, 0.125),
    "+": () => zoomBy(Math.SQRT2),
    "-": () => zoomBy(Math.SQRT1_2),
  };

  function listen(stage) {
    const place = ({ clientX, clientY }) => {
      const { left, top, width, height } = stage.getBoundingClientRect();
      return [(clientX - left) / width, (clientY - top) / height];
    };
    stage.addEventListener("keydown", (event) => {
      const scrollsThePage = event.key.startsWith("Arrow") && view.zoom === 1;
      if (!KEYS[event.key] || scrollsThePage || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      KEYS[event.key]();
    });
    stage.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return; // the plain wheel scrolls the page
      event.preventDefault();
      zoomBy(2 ** (-event.deltaY / 200), ...place(event));
    }, { passive: false });
    let last = [0, 0];
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      last = place(event);
    });
    stage.addEventListener("pointermove", (event) => {
      const [u, v] = place(event);
      if (event.buttons & 1) pan(last[0] - u, last[1] - v);
      last = [u, v];
      readAt(view.x + u / view.zoom, view.y + v / view.zoom);
    });
    stage.addEventListener("pointerleave", () => readAt(null));
  }

  // Values ----------------------------------------------------------------------------------------------------------
  const size = (value) => (value && value < 0.095 ? value.toPrecision(2) : value.toFixed(2));
  const signed = (value) => `${value < 0 ? "\u2212" : "+"}${size(Math.abs(value))}`;

  // Why a cell is hatched, in words.
  const doubt = ({ hatched, reflected }, row, column) =>
    (reflected?.[row][column] ? ", by reflected tissue" : "") + (hatched?.[row][column] ? ", sign open" : "");

  // All panels tell their evidence at one place of the patch, x and y as fractions of it.
  function readAt(x, y) {
    for (const [i, shown] of data.panels.entries()) {
      const { values, unit } = shown;
      const readout = panels.children[i].querySelector(".readout");
      if (!values || x === null) {
        readout.textContent = "";
        continue;
      }
      const row = clamp(Math.floor(y * values.length), 0, values.length - 1);
      const column = clamp(Math.floor(x * values[0].length), 0, values[0].length - 1);
      readout.textContent = `cell row ${row + 1}, column ${column + 1}: ${signed(values[row][column])} ${unit}${doubt(shown, row, column)}`;
    }
  }

  // Content ---------------------------------------------------------------------------------------------------------
  const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

  function fill(panel, shown) {
    const { title, tissue, alt, inset, smooth, cells, values, hatching, message, verdict, caption, unit, box, inset_of_box, unusable, scale_bar } = shown;
    const part = (name) => panel.querySelector(name);
    part("h3").textContent = title;
    part(".stage").ariaLabel = `${title}. Plus and minus zoom, arrow keys pan.`;
    Object.assign(part(".tissue"), { src: tissue, alt });
    part(".inset").hidden = !inset;
    if (inset) part(".inset").src = inset;
    part(".heatmap").hidden = !values;
    part(".label-box").hidden = !box;
    part(".label-box").ariaLabel = `Label box: the ${box} pixels`;
    panel.toggleAttribute("data-unusable", unusable);
    part(".scale-bar").hidden = !scale_bar;
    if (scale_bar) {
      part(".scale-bar").style.setProperty("--share", scale_bar.share);
      part(".scale-bar span").textContent = scale_bar.words;
    }
    part(".label-box").style.inset = `${100 * inset_of_box}%`;
    if (values) {
      part(".smooth").src = smooth;
      part(".cells").src = cells;
    }
    part(".hatching").hidden = !hatching;
    if (hatching) part(".hatching").src = hatching;
    part(".message").textContent = message;
    part(".verdict").textContent = verdict;
    part(".caption").textContent = caption;
    // The numbers behind the colours, for those who read with a screen reader.
    const rows = (values ?? []).map((row, i) => {
      const line = make("tr");
      line.append(...row.map((value, j) => make("td", signed(value) + doubt(shown, i, j))));
      return line;
    });
    part("table").replaceChildren(make("caption", `${title}: ${unit} per cell, from the top left`), ...rows);
    part(".values").hidden = !values;
  }

  function bar({ gradient, ticks, note }) {
    const figure = make("div");
    figure.className = "bar";
    figure.append(make("div"), ...ticks.map((tick) => make("span", tick)), make("p", note));
    figure.firstChild.style.backgroundImage = gradient;
    return figure;
  }

  function show(next, setStateValue) {
    data = next;
    listenForH("add"); // once: it is the same listener
    while (panels.children.length > data.panels.length) panels.lastElementChild.remove();
    while (panels.children.length < data.panels.length) {
      panels.append(root.querySelector("template").content.cloneNode(true));
      listen(panels.lastElementChild.querySelector(".stage"));
    }
    data.panels.forEach((panel, i) => fill(panels.children[i], panel));
    root.style.setProperty("--panels", data.panels.length);
    root.toggleAttribute("data-pair", data.panels.length === 2 && data.panels.every(({ inset }) => inset));
    if (data.controls_first && root.firstElementChild !== form) root.prepend(form);
    root.toggleAttribute("data-bare", data.bars.length === 0); // no heatmap, no controls for it
    root.querySelector(".bars").replaceChildren(...data.bars.map(bar));
    root.querySelector(".tick").hidden = !data.boxes;
    root.querySelector(".where").textContent = `Label box (${data.boxes})`;
    root.querySelector(".grids").textContent = `Cells (${data.grids})`;
    readAt(null);
    restore();
    tell = data.look ? setStateValue : null;
    told ||= JSON.stringify(data.look); // what the server believes when the table is made
    tellLook();
  }

  look(1, 0, 0);
  return { show, leave: () => listenForH("remove") };
}
