// The window picker: a frame of one patch on a larger picture, moved by pointer or arrow keys.
// All places are in pixels of the picture; CSS turns them into the screen's. The server hears of a place once, when the
// frame has come to rest: a drag ended, a click, or a pause after the last key.

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STRIDE = 32; // pixels a key moves with Shift
const PAUSE = 300; // ms without a key
const SLOP = 3; // screen pixels a click may tremble
const clamp = (value, high) => Math.min(Math.max(Math.round(value), 0), high);

export default function (component) {
  const root = component.parentElement.querySelector(".picker");
  // On the element, so that it is as long-lived as its listeners; another picture has another key, so another element.
  root.picker ??= createPicker(root, component.data);
  root.picker.show(component);
}

function createPicker(root, { picture, width, height, side }) {
  const stage = root.querySelector(".stage");
  const frame = root.querySelector(".frame");
  const text = root.querySelector(".position");
  const centre = [side / 2, side / 2];
  let component = null; // the listeners speak through the latest one
  let at = null; // where the frame is
  let sent = null; // where the server knows it to be
  let moved = false; // from here on the reader's place counts, not the server's, which may lag behind
  let drag = null;
  let timer;

  root.querySelector("img").src = picture;
  for (const [name, value] of Object.entries({ width, height, side })) root.style.setProperty(`--${name}`, value);
  frame.ariaLabel = `Window of ${side} x ${side} px`;

  function show(next) {
    component = next;
    if (moved) return;
    place(next.data.left, next.data.top);
    sent = at;
  }

  function place(left, top) {
    at = { left: clamp(left, width - side), top: clamp(top, height - side) };
    for (const [name, value] of Object.entries(at)) root.style.setProperty(`--${name}`, value);
    text.textContent = `window at left ${at.left}, top ${at.top} of ${width} x ${height} px`;
  }

  function move(left, top) {
    clearTimeout(timer);
    moved = true;
    text.ariaBusy = "true"; // announced once, like the message to the server
    place(left, top);
  }

  function settle() {
    text.ariaBusy = "false";
    if (!root.isConnected || (at.left === sent.left && at.top === sent.top)) return;
    sent = at;
    component.setStateValue("window", at);
  }

  frame.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || drag || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const [right, down] = KEYS[event.key].map((step) => step * (event.shiftKey ? STRIDE : 1));
    move(at.left + right, at.top + down);
    timer = setTimeout(settle, PAUSE);
  });

  function pixelUnder({ clientX, clientY }) {
    const box = stage.getBoundingClientRect();
    return [((clientX - box.left) / box.width) * width, ((clientY - box.top) / box.height) * height];
  }
  function follow(event, grip) {
    const [x, y] = pixelUnder(event);
    move(x - grip[0], y - grip[1]);
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    stage.setPointerCapture(event.pointerId);
    clearTimeout(timer);
    const [x, y] = pixelUnder(event);
    const grip = event.target === frame ? [x - at.left, y - at.top] : centre;
    drag = { from: at, grip, press: event, moving: false };
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    drag.moving ||= Math.hypot(event.clientX - drag.press.clientX, event.clientY - drag.press.clientY) > SLOP;
    if (drag.moving) follow(event, drag.grip);
  });
  stage.addEventListener("pointerup", (event) => {
    if (!drag) return;
    if (!drag.moving) follow(event, centre);
    drag = null;
    frame.focus({ preventScroll: true });
    settle();
  });
  stage.addEventListener("pointercancel", () => { // a finger that scrolls the page
    if (!drag) return;
    place(drag.from.left, drag.from.top);
    drag = null;
    settle();
  });

  return { show };
}
