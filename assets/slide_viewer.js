// The deep-zoom viewer: the slide, its map with an opacity that no server is asked for, outline, scale bar, and a click
// that says where. OpenSeadragon comes from the server; a rerun of the page keeps zoom and place.

const SCRIPT = "/slide-viewer/openseadragon.min.js";
const LENGTHS = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];
const BAR = 120; // px that a scale bar takes at most

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

  function show(next) {
    component = next;
    const before = data;
    data = next.data;
    if (token !== data.token) {
      token = data.token;
      open();
      return;
    }
    if (!osd) return;
    if (before?.map !== data.map) drawMap();
    if (before?.outline !== data.outline) drawOutline();
    if (data.goTo && before?.goTo?.number !== data.goTo.number) go(data.goTo);
    mark();
  }

  function open() {
    osd?.destroy();
    osd = null;
    library().then((OpenSeadragon) => {
      osd = OpenSeadragon({
        element: stage,
        drawer: "canvas",
        showNavigator: true,
        navigatorPosition: "TOP_RIGHT",
        showNavigationControl: false,
        gestureSettingsMouse: { clickToZoom: false },
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
      osd.addHandler("open", () => { drawMap(); drawOutline(); mark(); if (data.goTo) go(data.goTo); });
      osd.addHandler("canvas-click", clicked);
      osd.addHandler("animation", scale);
      osd.addHandler("open", scale);
      osd.addHandler("tile-load-failed", () => { status.textContent = "Some tiles could not be read."; });
    }).catch((error) => { status.textContent = `Not shown: ${error.message}.`; });
  }

  const tissue = () => osd.world.getItemAt(0);

  function clicked(event) {
    if (!event.quick) return;
    const place = tissue().viewerElementToImageCoordinates(event.position);
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
      success: ({ item }) => { if (data.map === mine) map = item; else osd.world.removeItem(item); },
    });
  }

  function drawOutline() {
    osd.clearOverlays();
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${data.width} ${data.height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.classList.add("outline");
    for (const [kind, paths] of [["tissue", data.outline ?? []], ["area", data.areas ?? []]]) {
      for (const points of paths) {
        const line = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
        line.setAttribute("points", points.map((place) => place.join(",")).join(" "));
        line.classList.add(kind);
        svg.append(line);
      }
    }
    svg.hidden = !outline.checked;
    osd.addOverlay({ element: svg, location: new window.OpenSeadragon.Rect(0, 0, 1, data.height / data.width) });
  }

  function mark() {
    osd.removeOverlay("nl-mark");
    if (!data.mark) return;
    const box = Object.assign(document.createElement("div"), { id: "nl-mark", className: "mark" });
    const [x, y, width, height] = data.mark.map((value) => value / data.width);
    osd.addOverlay({ element: box, location: new window.OpenSeadragon.Rect(x, y, width, height) });
  }

  function go({ x, y, width, height }) {
    const Rect = window.OpenSeadragon.Rect;
    const [left, top, wide, high] = [x, y, width, height].map((value) => value / data.width);
    osd.viewport.fitBoundsWithConstraints(new Rect(left - wide / 2, top - high / 2, 2 * wide, 2 * high));
  }

  function scale() {
    const bar = find("slide-scale");
    bar.hidden = !data.um;
    if (!data.um) return;
    const perScreenPixel = data.um / tissue().viewportToImageZoom(osd.viewport.getZoom(true));
    const long = LENGTHS.findLast((length) => length / perScreenPixel <= BAR) ?? LENGTHS[0];
    bar.style.width = `${long / perScreenPixel}px`;
    bar.textContent = long < 1000 ? `${long} µm` : `${long / 1000} mm`;
  }

  opacity.addEventListener("input", () => {
    find("map-opacity-words").textContent = `${opacity.value} %`;
    map?.setOpacity(opacity.value / 100);
  });
  outline.addEventListener("change", () => {
    const svg = root.querySelector(".outline");
    if (svg) svg.hidden = !outline.checked;
  });

  const leave = () => {
    osd?.destroy();
    osd = null;
    token = null;
    delete root.viewer;
  };
  return { show, leave };
}
