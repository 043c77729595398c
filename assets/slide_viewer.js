// The deep-zoom viewer: the slide, its map with an opacity that no server is asked for, outline, scale bar, keys, and a
// click that says where. OpenSeadragon comes from the server; a rerun of the page keeps zoom and place.

const SCRIPT = "/slide-viewer/openseadragon.min.js";
const LENGTHS = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];
const BAR = 120; // px that a scale bar takes at most
const ZOOM = 1.5;
const BRUSH = 24; // px of the screen, its radius
const APART = 0.25; // of its radius, between two places of a stroke
const FULL = (most) => `No more strokes are taken: a slide has ${most} at most. Undo one to paint another.`;
const STEP = 0.2; // of the view, by an arrow key
const AROUND = 1.6; // the view of an area, in its sides
const [LEAST, MOST] = [0.02, 0.5]; // of the slide's width, in the view of an area

let loading = null;
function library() {
  loading ??= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: SCRIPT });
    script.onload = () => resolve(window.OpenSeadragon);
    script.onerror = () => reject(new Error("the viewer could not be loaded"));
    document.head.append(script);
  });
  return loading;
}

export default function (component) {
  const root = component.parentElement.querySelector(".slide");
  root.viewer ??= createViewer(root);
  root.viewer.show(component);
  return root.viewer.leave;
}

function createViewer(root) {
  const find = (id) => root.querySelector(`[data-testid="${id}"]`);
  const stage = root.querySelector(".stage");
  const opacity = find("map-opacity");
  const outline = find("show-outline");
  const status = find("viewer-status");
  let component = null;
  let data = null;
  let osd = null;
  let token = null;
  let map = null;
  let clicks = 0;
  let brush = null; // true paints tissue in, false out
  let strokes = [];
  let drawing = null; // the strokes under the pointer: a long one is several
  let went = 0; // the number of the press that the view followed last
  let current = 0; // the area that was gone to last, from 1; 0 for none

  function show(next) {
    component = next;
    const before = data;
    data = next.data;
    legend();
    if (token !== data.token) {
      token = data.token;
      current = 0;
      status.textContent = "";
      strokes = data.strokes;
      find("paint-undo").disabled = !strokes.length;
      take(null);
      open();
      return;
    }
    if (current && String(before.areas[current - 1]?.hot) !== String(data.areas[current - 1]?.hot)) {
      current = 0; // another map's areas: the one that was gone to is none of them, or not in that place
      status.textContent = "";
    } else if (current && before.areas[current - 1].words !== data.areas[current - 1].words) sayArea();
    if (!osd?.isOpen()) return;
    if (before?.map !== data.map) drawMap();
    drawOutline();
    follow();
    mark();
  }

  function follow() {
    if (!data.goTo || data.goTo.number === went) return;
    went = data.goTo.number;
    go(data.goTo.area);
  }

  function open() {
    osd?.destroy();
    osd = null;
    map = null;
    stage.style.aspectRatio = `${data.width} / ${data.height}`;
    const mine = token;
    library().then((OpenSeadragon) => {
      if (mine !== token) return;
      osd = OpenSeadragon({
        element: stage,
        drawer: "canvas",
        tabIndex: -1, // the stage has the focus, and the keys
        showNavigator: true,
        navigatorPosition: "TOP_RIGHT",
        navigatorSizeRatio: 0.18,
        navigatorAutoFade: false,
        showNavigationControl: false,
        gestureSettingsMouse: { clickToZoom: false },
        gestureSettingsTouch: { clickToZoom: false },
        imageSmoothingEnabled: true,
        maxZoomPixelRatio: 4,
        tileSources: {
          width: data.width,
          height: data.height,
          tileSize: data.tile,
          minLevel: 0,
          maxLevel: data.levels - 1,
          getTileUrl: (level, x, y) => `/slide-tiles/${data.token}/${level}/${x}/${y}`,
        },
      });
      osd.addHandler("open", () => {
        drawMap();
        drawOutline();
        mark();
        scale();
        went = 0;
        follow();
      });
      osd.addHandler("canvas-click", (event) => { if (event.quick) read(event.position); });
      osd.addHandler("canvas-key", (event) => { event.preventDefaultAction = true; });
      osd.addHandler("animation", scale);
      osd.addHandler("tile-load-failed", () => { status.textContent = "Some tiles could not be read."; });
    }).catch((error) => { status.textContent = `Not shown: ${error.message}.`; });
  }

  const tissue = () => osd.world.getItemAt(0);

  function read(position) {
    const place = tissue().viewerElementToImageCoordinates(position);
    if (place.x < 0 || place.y < 0 || place.x >= data.width || place.y >= data.height) return;
    clicks += 1;
    component.setStateValue("clicked", { x: place.x, y: place.y, number: clicks, token });
  }

  function drawMap() {
    if (map) osd.world.removeItem(map);
    map = null;
    if (!data.map) return;
    const mine = data.map;
    osd.addSimpleImage({
      url: data.map,
      x: 0,
      y: 0,
      width: data.mapWidth / data.width,
      opacity: opacity.value / 100,
      success: ({ item }) => {
        if (data.map !== mine) return osd.world.removeItem(item);
        map = item;
        map.setOpacity(opacity.value / 100);
      },
    });
  }

  function polygon(points, ...kinds) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    line.setAttribute("points", points.map((place) => place.join(",")).join(" "));
    line.classList.add(...kinds);
    return line;
  }

  function drawOutline() {
    osd.clearOverlays();
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${data.width} ${data.height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.classList.add("outline");
    svg.append(...data.outline.map((points) => polygon(points, "tissue")));
    data.areas.forEach((area, index) => {
      const kinds = index + 1 === current ? ["area", "current"] : ["area"];
      svg.append(...area.rings.map((points) => polygon(points, ...kinds)));
    });
    if (drawing) svg.append(...drawing.map(painted));
    svg.toggleAttribute("hidden", !outline.checked);
    osd.addOverlay({ element: svg, location: new window.OpenSeadragon.Rect(0, 0, 1, data.height / data.width) });
  }

  // What is painted is told as a whole, so that no stroke is lost on its way.
  function painted({ adds, radius, places }) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    const all = places.length > 1 ? places : [places[0], places[0]];
    line.setAttribute("points", all.map((place) => place.join(",")).join(" "));
    line.setAttribute("stroke-width", 2 * radius);
    line.classList.add("stroke", adds ? "in" : "out");
    return line;
  }

  function take(next) {
    brush = next;
    find("paint-add").setAttribute("aria-pressed", brush === true);
    find("paint-out").setAttribute("aria-pressed", brush === false);
    stage.classList.toggle("painting", brush !== null);
    osd?.setMouseNavEnabled(brush === null);
  }

  function tell(next) {
    strokes = next;
    find("paint-undo").disabled = !strokes.length;
    status.textContent = isFull() ? FULL(data.mostStrokes) : "";
    component.setStateValue("painted", { token, strokes });
  }

  function isFull(more = 0) {
    return strokes.length + more >= data.mostStrokes;
  }

  function paint(stroke) {
    if (isFull()) status.textContent = FULL(data.mostStrokes);
    else tell([...strokes, stroke]);
  }

  // A place of its own lies a quarter of the brush from the last one; a stroke that is full goes on as another.
  function draw(place) {
    const stroke = drawing.at(-1);
    const last = stroke.places.at(-1);
    if (Math.hypot(place[0] - last[0], place[1] - last[1]) < stroke.radius * APART) return;
    if (stroke.places.length < data.mostPlaces) stroke.places.push(place);
    else if (isFull(drawing.length)) end();
    else drawing.push({ ...stroke, places: [last, place] });
  }

  function end() {
    const drawn = drawing;
    drawing = null;
    if (drawn) tell([...strokes, ...drawn]);
  }

  function placeOf(x, y) {
    const place = tissue().viewerElementToImageCoordinates(new window.OpenSeadragon.Point(x, y));
    return [place.x, place.y];
  }

  function started(x, y) {
    const radius = Math.max(BRUSH / tissue().viewportToImageZoom(osd.viewport.getZoom(true)), data.least);
    return { adds: brush, radius, places: [placeOf(x, y)] };
  }

  function at(event) {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function mark() {
    osd.removeOverlay("nl-mark");
    if (!data.mark) return;
    const box = Object.assign(document.createElement("div"), { id: "nl-mark", className: "mark" });
    const [x, y, width, height] = data.mark.map((value) => value / data.width);
    osd.addOverlay({ element: box, location: new window.OpenSeadragon.Rect(x, y, width, height) });
  }

  function legend() {
    for (const one of root.querySelectorAll(".mapped")) one.hidden = !data.map;
    find("slide-next").hidden = root.querySelector(".area-key").hidden = data.areas.length === 0;
    const { gradient, ticks, words } = data.legend;
    root.querySelector(".colours").style.backgroundImage = gradient;
    const [low, high] = root.querySelectorAll(".ticks i");
    low.textContent = ticks[0];
    high.textContent = ticks[2];
    find("map-words").textContent = words;
  }

  // The view lies about the hottest cell, so that Enter reads it.
  function go(number) {
    const area = data.areas[number - 1];
    if (!area) return;
    current = number;
    const [left, top, width, height] = area.box;
    const [x, y] = area.hot;
    const around = (most) => Math.min(Math.max(AROUND * 2 * most, LEAST * data.width), MOST * data.width);
    const wide = around(Math.max(x - left, left + width - x));
    const high = around(Math.max(y - top, top + height - y));
    const [a, b, c, d] = [x - wide / 2, y - high / 2, wide, high].map((value) => value / data.width);
    osd.viewport.fitBounds(new window.OpenSeadragon.Rect(a, b, c, d));
    sayArea();
    drawOutline();
    mark();
  }

  function sayArea() {
    status.textContent = `Area ${current} of ${data.total.toLocaleString("en")}: ${data.areas[current - 1].words}.`;
  }

  function next(step) {
    const count = data.areas.length;
    if (count) go(((current - 1 + step + count + (current ? 0 : step > 0 ? 0 : 1)) % count) + 1);
    else status.textContent = "There are no areas.";
  }

  function zoom(factor) {
    osd.viewport.zoomBy(factor);
    osd.viewport.applyConstraints();
  }

  function pan(x, y) {
    const bounds = osd.viewport.getBounds();
    osd.viewport.panBy(new window.OpenSeadragon.Point(x * STEP * bounds.width, y * STEP * bounds.height));
    osd.viewport.applyConstraints();
  }

  const keys = {
    "+": () => zoom(ZOOM),
    "=": () => zoom(ZOOM),
    "-": () => zoom(1 / ZOOM),
    0: () => osd.viewport.goHome(),
    ArrowLeft: () => pan(-1, 0),
    ArrowRight: () => pan(1, 0),
    ArrowUp: () => pan(0, -1),
    ArrowDown: () => pan(0, 1),
    n: () => next(1),
    p: () => next(-1),
    " ": () => { if (brush !== null) paint(started(stage.clientWidth / 2, stage.clientHeight / 2)); },
    Escape: () => take(null),
    Enter: () => read(new window.OpenSeadragon.Point(stage.clientWidth / 2, stage.clientHeight / 2)),
  };
  stage.addEventListener("keydown", (event) => {
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || !osd?.isOpen() || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });
  stage.addEventListener("pointerdown", (event) => {
    if (brush === null || !osd?.isOpen() || event.button !== 0) return;
    if (isFull()) {
      status.textContent = FULL(data.mostStrokes);
      return;
    }
    drawing = [started(...at(event))];
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    draw(placeOf(...at(event)));
    for (const line of root.querySelectorAll(".stroke")) line.remove();
    if (drawing) root.querySelector("svg.outline")?.append(...drawing.map(painted));
  });
  for (const over of ["pointerup", "pointercancel"]) stage.addEventListener(over, end);
  stage.addEventListener("pointerup", () => stage.focus({ preventScroll: true, focusVisible: false }));

  function scale() {
    const bar = find("slide-scale");
    bar.hidden = !data.um;
    if (!data.um) return;
    const perScreenPixel = data.um / tissue().viewportToImageZoom(osd.viewport.getZoom(true));
    const long = LENGTHS.findLast((length) => length / perScreenPixel <= BAR) ?? LENGTHS[0];
    bar.style.width = `${long / perScreenPixel}px`;
    bar.textContent = long < 1000 ? `${long} µm` : `${long / 1000} mm`;
  }

  for (const [id, act] of [
    ["slide-zoom-in", () => zoom(ZOOM)],
    ["slide-zoom-out", () => zoom(1 / ZOOM)],
    ["slide-whole", () => osd.viewport.goHome()],
    ["slide-next", () => next(1)],
    ["paint-add", () => take(brush === true ? null : true)],
    ["paint-out", () => take(brush === false ? null : false)],
    ["paint-undo", () => tell(strokes.slice(0, -1))],
  ]) find(id).addEventListener("click", () => { if (osd?.isOpen()) act(); });
  root.querySelector(".paint").addEventListener("toggle", ({ target }) => { if (!target.open) take(null); });
  opacity.addEventListener("input", () => {
    find("map-opacity-words").textContent = `${opacity.value} %`;
    map?.setOpacity(opacity.value / 100);
  });
  outline.addEventListener("change", () => {
    root.querySelector(".outline")?.toggleAttribute("hidden", !outline.checked);
    for (const one of root.querySelectorAll(".lines")) one.style.visibility = outline.checked ? "" : "hidden";
  });

  // Streamlit also calls this when a rerun comes before the one ahead of it was shown: then the viewer stays.
  const leave = () => setTimeout(() => {
    if (root.isConnected) return;
    osd?.destroy();
    osd = null;
    token = null;
    delete root.viewer;
  });
  return { show, leave };
}
