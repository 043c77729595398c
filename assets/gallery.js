// The gallery: a grid of patches. Tiles are made once and refilled; two listeners serve them all. Ticks are told until
// they were heard: of two messages that meet the server may see the later alone.

const OUTCOMES = ["true positive", "true negative", "false positive", "false negative", "refer"];

export default function (component) {
  const root = component.parentElement.querySelector(".gallery");
  if (!root.component) listen(root);
  root.component = component; // the listeners speak through the latest one
  root.unheard = root.unheard.filter(({ number }) => number > component.data.heard);
  root.classList.toggle("tickable", component.data.tickable);
  show(root, component.data.tiles);
}

function listen(root) {
  let number = 0;
  root.unheard = []; // ticks
  const indexOf = (element) => Number(element.closest(".tile").dataset.index);
  const tellTicks = () => root.unheard.length && root.component.setTriggerValue("ticked", root.unheard);
  root.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    tellTicks();
    root.component.setTriggerValue("opened", indexOf(button));
  });
  root.addEventListener("change", ({ target }) => {
    number = 1 + Math.max(number, root.component.data.heard);
    root.unheard = [...root.unheard, { number, index: indexOf(target), ticked: target.checked }];
    tellTicks();
  });
  root.addEventListener("keydown", (event) => {
    const tiles = root.querySelector(".tiles");
    const columns = getComputedStyle(tiles).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (!step || event.target.tagName !== "BUTTON") return;
    event.preventDefault();
    const here = [...tiles.children].indexOf(event.target.closest(".tile"));
    tiles.children[here + step]?.querySelector("button").focus();
  });
}

function show(root, tiles) {
  const grid = root.querySelector(".tiles");
  while (grid.children.length > tiles.length) grid.lastElementChild.remove();
  while (grid.children.length < tiles.length) grid.append(root.querySelector("template").content.cloneNode(true));
  const wanted = new Map(root.unheard.map(({ index, ticked }) => [index, ticked]));
  tiles.forEach((tile, i) => fill(grid.children[i], { ...tile, ticked: wanted.get(tile.index) ?? tile.ticked }));

  const present = OUTCOMES.filter((outcome) => tiles.some((tile) => tile.outcome === outcome));
  root.querySelector(".legend").replaceChildren("Borders:", ...present.map((outcome) => {
    const word = line(outcome);
    word.dataset.outcome = outcome;
    return word;
  }));
  root.querySelector(".legend").hidden = present.length === 0;
}

const line = (text) => Object.assign(document.createElement("span"), { textContent: text });

function fill(element, { index, tissue, heatmap, title, plate, words, outcome, ticked }) {
  const part = (selector) => element.querySelector(selector);
  element.dataset.index = index;
  part(".tissue").src = tissue;
  part(".heatmap").hidden = !heatmap;
  if (heatmap) part(".heatmap").src = heatmap;
  part(".plate").replaceChildren(...plate.map(line));
  part(".words").replaceChildren(...words.map(line));
  part("button").dataset.outcome = outcome;
  part("button").ariaLabel = ["Open", title, ...plate, outcome].filter(Boolean).join(", ");
  part("input").checked = ticked;
  part("input").ariaLabel = `Compare ${title}`;
}
